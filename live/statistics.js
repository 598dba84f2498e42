// Statistics that figures compute as the reader moves them.

/** ψ(x) for x > 0: shifted up until its asymptotic series is exact enough. */
export function digamma(x) {
  let below = 0;
  for (; x < 10; x++) below -= 1 / x;
  const inverse = 1 / (x * x);
  return below + Math.log(x) - 1 / (2 * x) - inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse / 240)));
}

/** Entropy of a sample in nats, from the distance of each point to its fourth neighbour, as the replication estimates it. */
export function estimated(points, neighbour = 4) {
  const n = points.length, d = points[0].length, nearest = new Float64Array(neighbour + 1);
  let logs = 0;
  for (const point of points) {
    nearest.fill(Infinity); // the nearest of all is the point itself
    for (const other of points) {
      let far = 0;
      for (let k = 0; k < d; k++) far = Math.max(far, Math.abs(point[k] - other[k]));
      if (far >= nearest[neighbour]) continue;
      let at = neighbour;
      for (; at > 0 && nearest[at - 1] > far; at--) nearest[at] = nearest[at - 1];
      nearest[at] = far;
    }
    logs += Math.log(2 * nearest[neighbour]);
  }
  return digamma(n) - digamma(neighbour) + (d * logs) / n;
}

/** A standard normal number, by Box and Muller. */
export const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

/** log Γ(x), x > 0, by Stirling's series beyond 10. */
export function logGamma(x) {
  let below = 0;
  for (; x < 10; x++) below -= Math.log(x);
  const inverse = 1 / (x * x);
  return below + (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / x;
}

/** The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22) from the end inwards. */
export function beta(x, a, b) {
  if (x > (a + 1) / (a + b + 2)) return 1 - beta(1 - x, b, a);
  if (x === 0) return 0;
  let fraction = 1;
  for (let m = 200; m > 0; m--) {
    const half = Math.floor(m / 2);
    const d = m % 2 ? (-(a + half) * (a + b + half) * x) / ((a + m - 1) * (a + m)) : (half * (b - half) * x) / ((a + m - 1) * (a + m));
    fraction = 1 + d / fraction;
  }
  const front = a * Math.log(x) + b * Math.log1p(-x) + logGamma(a + b) - logGamma(a) - logGamma(b);
  return Math.exp(front) / (a * fraction);
}

/** P(T > t) for Student's T. */
export function tail(t, freedom) {
  const half = beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2;
  return t > 0 ? half : 1 - half;
}

/** The p-value, one-tailed, of the best of some groups against one more, all of the same normal distribution. */
export function best(groups, runs, random) {
  const moments = Array.from({ length: groups + 1 }, () => {
    const values = Array.from({ length: runs }, () => normal(random)), mean = values.reduce((sum, v) => sum + v, 0) / runs;
    return { mean, variance: values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (runs - 1) };
  });
  const [free, ...guided] = moments;
  const t = guided.map(({ mean, variance }) => (mean - free.mean) / Math.sqrt((variance + free.variance) / runs));
  return tail(Math.max(...t), 2 * runs - 2);
}
