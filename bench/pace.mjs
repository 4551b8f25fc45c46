// How work is handed out: by the clock, or as fast as it goes. Imports nothing of ours, as the peers use it too.

/** Milliseconds on the system's monotonic clock: two processes may compare theirs. */
export const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

/**
 * Calls `act(n)` for n from 0 to `count` at so many a second, whatever becomes of the calls before, and waits for all of them.
 * Who is late catches up at once.
 */
export function atPace(perSecond, count, act) {
  const began = nowMs();
  const acts = [];
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const due = Math.min(count, ((nowMs() - began) * perSecond) / 1_000);
      while (acts.length < due) acts.push(act(acts.length));
      if (acts.length < count) return;
      clearInterval(timer);
      resolve(Promise.all(acts));
    }, 1);
  });
}

/** Has `lanes` call `act` one call after another until there were `calls`; how long that took in milliseconds. */
export async function inLanes(lanes, calls, act) {
  const began = nowMs();
  let begun = 0;
  const lane = async () => {
    while (begun < calls) {
      begun += 1;
      await act();
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return nowMs() - began;
}
