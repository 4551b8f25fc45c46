import type { Checked, Evidence } from './score.ts';

/** Numbers in [0, 1). */
export type Random = () => number;

/**
 * Thompson's draw of how useful an agent will be (Thompson 1933): one sample of each posterior, whose product has the shown score
 * as its mean. Who is given work by the greatest draw is tried as often as it may be the best.
 */
export const drawUtility = ({ dependable, undependable, right, wrong }: Evidence & Checked, random: Random): number =>
  drawBeta(1 + dependable, 1 + undependable, random) * (wrong > 0 ? drawBeta(4 + right, wrong, random) : 1);

/** A sample of Beta(a, b), a and b > 0. */
export function drawBeta(a: number, b: number, random: Random): number {
  const [x, y] = [drawGamma(a, random), drawGamma(b, random)];
  return x / (x + y);
}

/** A sample of Gamma(shape, 1) by squeezing a normal one (Marsaglia & Tsang 2000). */
function drawGamma(shape: number, random: Random): number {
  if (shape < 1) return drawGamma(shape + 1, random) * (1 - random()) ** (1 / shape);
  const d = shape - 1 / 3;
  for (;;) {
    const normal = drawNormal(random);
    const square = normal * normal;
    const root = 1 + normal / Math.sqrt(9 * d);
    const v = root * root * root;
    if (v <= 0) continue;
    const uniform = 1 - random();
    // Nearly all pass here already, without a logarithm.
    if (uniform < 1 - 0.0331 * square * square) return d * v;
    if (Math.log(uniform) < square / 2 + d - d * v + d * Math.log(v)) return d * v;
  }
}

/** A standard normal sample (Box & Muller 1958). */
const drawNormal = (random: Random): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
