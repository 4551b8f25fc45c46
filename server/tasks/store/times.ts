/** The longest a run may take, in seconds: no longer than what is left of its task's whole time. */
export const runTimeout = (now: string, most = 'timeout_seconds'): string => `
  case when task_timeout_seconds is null then ${most}
    else greatest(1, least(${most}, ceil(extract(epoch from run_at + make_interval(secs => task_timeout_seconds) - ${now}))))::int end`;

/** Rank: run_at moved earlier by five minutes per priority step. Ageing without ever touching a row again. */
export const RANK = `run_at - priority * interval '5 minutes'`;
