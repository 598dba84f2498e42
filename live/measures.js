// What the figures compute as the reader moves them, in nats.

/** Derivatives' sizes at x of -log x and of 1 / (x + ε). */
export const slopes = (x, eps) => ({ log: 1 / x, reciprocal: 1 / (x + eps) ** 2 });

/** Where the two slopes are equal, from below; none for ε > 1/4. */
export function crossings(eps) {
  const root = Math.sqrt(1 - 4 * eps);
  // The smaller root by Vieta: their product is ε².
  const high = (1 - 2 * eps + root) / 2;
  return eps > 0.25 ? [] : [eps ** 2 / high, high];
}

/**
 * Mean of log|K̂(f)| over n x n frequencies of a 3 x 3 kernel: the change of entropy per pixel of its
 * circular convolution on an n x n image. With a shift of half a step the frequencies miss the
 * axes, where simple filters vanish, and the mean tends to the logarithm of the Mahler measure.
 */
export function circular(kernel, n, shift = 0) {
  const [cos, sin] = [Math.cos, Math.sin].map((f) => Array.from({ length: n }, (_, i) => f((2 * Math.PI * (i + shift)) / n)));
  let total = 0;
  for (let u = 0; u < n; u++) {
    // Each column's taps joined at this vertical frequency: c0 + c1 z + c2 z².
    const [c, s] = [cos[u], sin[u]];
    const columns = [0, 1, 2].map((m) => [
      kernel[0][m] + kernel[1][m] * c + kernel[2][m] * (c * c - s * s),
      kernel[1][m] * s + kernel[2][m] * 2 * c * s,
    ]);
    for (let v = 0; v < n; v++) {
      const [c, s] = [cos[v], sin[v]];
      const [c2, s2] = [c * c - s * s, 2 * c * s];
      const re = columns[0][0] + columns[1][0] * c - columns[1][1] * s + columns[2][0] * c2 - columns[2][1] * s2;
      const im = columns[0][1] + columns[1][0] * s + columns[1][1] * c + columns[2][0] * s2 + columns[2][1] * c2;
      total += Math.log(re * re + im * im) / 2;
    }
  }
  return total / n ** 2;
}

export const mahler = (kernel) => circular(kernel, 256, 0.5);

/** The probability of a move that changes S by `change`: Glauber's rule for the exact odds of a curved law. */
export function odds(s, change, beta, curvature, size) {
  const before = 1 + (curvature / 2) * s;
  const x = ((curvature / 2) * change) / before;
  const log = ((size * beta) / 2) * (change / before) * (x ? Math.log1p(x) / x : 1);
  return 1 / (1 + Math.exp(-log));
}

/** Random numbers that are the same each time (mulberry32). */
export function chances(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A curved network that starts at a state: after each sweep that state, its overlaps with the patterns, and S. */
export function recalled(patterns, start, { beta, curvature }, sweeps, random) {
  const size = start.length, state = [...start];
  const sums = patterns.map((pattern) => pattern.reduce((sum, sign, i) => sum + sign * state[i], 0));
  const now = () => {
    const overlaps = sums.map((sum) => sum / size);
    return { state: [...state], overlaps, s: overlaps.reduce((sum, m) => sum + m * m, -patterns.length / size) };
  };
  const course = [now()];
  let { s } = course[0];
  for (let sweep = 0; sweep < sweeps; sweep++) {
    for (let step = 0; step < size; step++) {
      const i = Math.floor(random() * size);
      let field = 0;
      for (let mu = 0; mu < patterns.length; mu++) field += patterns[mu][i] * sums[mu];
      const change = (4 * (patterns.length - state[i] * field)) / size ** 2;
      if (random() < odds(s, change, beta, curvature, size)) {
        for (let mu = 0; mu < patterns.length; mu++) sums[mu] -= 2 * state[i] * patterns[mu][i];
        state[i] = -state[i];
        s += change;
      }
    }
    course.push(now());
  }
  return course;
}

/** Outputs of a network with ReLU at one point; layer by layer the state holds weights, row by row, and then biases. */
export function outputs(state, widths, point) {
  let below = point, at = 0;
  for (let layer = 0; layer + 1 < widths.length; layer++) {
    const fan = widths[layer], count = widths[layer + 1], above = [];
    for (let j = 0; j < count; j++) {
      let sum = state[at + count * fan + j];
      for (let i = 0; i < fan; i++) sum += state[at + j * fan + i] * below[i];
      above.push(layer + 2 < widths.length ? Math.max(sum, 0) : sum);
    }
    at += count * (fan + 1);
    below = above;
  }
  return below;
}
