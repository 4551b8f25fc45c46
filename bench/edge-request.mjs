// What every round of the edge benchmark sends: a task as people submit them, about 400 bytes.
export const BODY = JSON.stringify({
  task_type: 'word-count',
  capability_required: 'word-count:v1',
  input_data: {
    text: 'muster the agents and call the roll, then count what every one of them has done since the last time',
    options: { language: 'en', min_length: 3, stop_words: ['the', 'and', 'of'] },
  },
  priority: 5,
  timeout_seconds: 120,
  max_retries: 2,
  client_id: 'reports-nightly',
  tags: ['reports', 'nightly'],
  metadata: { team: 'data', ticket: 'OPS-1234' },
});
