/** After so many milliseconds without a coordinator's beat nobody was there for the agents. */
export const GAP_MS = 5_000;
