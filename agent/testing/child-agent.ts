import { createAgent } from '../agent.ts';

/** An agent in a process of its own, for what a test cannot do to its own process: block it, kill it. */
const [url = '', key_dir = ''] = process.argv.slice(2);

const agent = createAgent({
  url,
  key_dir,
  enrollment_token: 'enrol-me',
  slots: 2,
  enable: { script: {} },
  handlers: {
    block: ({ input_data }) => {
      const end = performance.now() + (input_data as number);
      while (performance.now() < end);
    },
  },
});
await agent.start();
await agent.done;
