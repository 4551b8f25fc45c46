const WIDTH = 40;
const SILENT_MS = 2_000;

/** A bar on the terminal for work of `parts` parts that takes longer than seconds; without a terminal nothing. */
export function progressBar(parts: number) {
  const began = performance.now();
  let done = 0;
  const draw = (share: number) => {
    if (!process.stderr.isTTY || performance.now() - began < SILENT_MS) return;
    const all = Math.min(1, (done + share) / parts);
    const filled = Math.round(all * WIDTH);
    process.stderr.write(`\r[${'#'.repeat(filled)}${'.'.repeat(WIDTH - filled)}] ${Math.floor(all * 100)} %`);
  };
  return {
    /** So much of the part that is under way is done, 0..1. */
    at: (share: number) => draw(share),
    next: () => {
      done += 1;
      draw(0);
    },
    end: () => {
      if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    },
  };
}
