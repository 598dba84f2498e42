// The matrices of a convolution by a p × p kernel on n × n pixels, counted row by row, as `entropy_lib` lays them out.
import { logDet, logVolume } from "./linear.js";

export const NOTHING = -1, ADDED = -2;

/** Where an output pixel (i, j) finds tap (k, m): at (i + k - shift, j + m - shift), modulo n if circular. */
const shifted = (padding, p) => (padding === "same" ? (p - 1) / 2 : 0);

/**
 * The number of the tap, counted row by row, at each place of the matrix: NOTHING for a zero, ADDED for a one that
 * completes it. `completed` is the paper's C'_M (Eqs. 16 and 17), `valid` its C_M.
 */
export function placed(p, n, padding) {
  const own = n - p + 1, rows = padding === "valid" ? own : n, shift = shifted(padding, p);
  const wrapped = (v) => (padding === "circular" ? (v + n) % n : v);
  const within = (v) => v >= 0 && v < p;
  const matrix = [];
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < rows; j++) {
      const line = [];
      for (let a = 0; a < n; a++)
        for (let b = 0; b < n; b++) {
          const k = wrapped(a - i + shift), m = wrapped(b - j + shift);
          if (padding === "completed" && i >= own) line.push(a === i && b === j ? ADDED : NOTHING);
          else if (padding === "completed" && j >= own) line.push(within(k) && b === j ? ADDED : NOTHING);
          else line.push(within(k) && within(m) ? k * p + m : NOTHING);
        }
      matrix.push(line);
    }
  return matrix;
}

/** The same matrix with numbers. */
export const filled = (places, kernel) => places.map((line) => line.map((tap) => (tap === NOTHING ? 0 : tap === ADDED ? 1 : kernel.flat()[tap])));

/** What Corollary 6 says: as many log|c₁₁| as there are output pixels. */
export const corollary = (kernel, n) => (n - kernel.length + 1) ** 2 * Math.log(Math.abs(kernel[0][0]));

/** log|det| of the matrix; of `valid`, which is not square, the logarithm of the volume of its rows. */
export function exact(kernel, n, padding) {
  const matrix = filled(placed(kernel.length, n, padding), kernel);
  return padding === "valid" ? logVolume(matrix) : logDet(matrix);
}

/** What the matrix makes of a picture, row by row. */
export function filtered(kernel, picture, padding) {
  const p = kernel.length, n = picture.length, own = n - p + 1, rows = padding === "valid" ? own : n, shift = shifted(padding, p);
  const pixel = (a, b) => (padding === "circular" ? picture[(a + n) % n][(b + n) % n] : (picture[a]?.[b] ?? 0));
  const tapped = (i, j) => kernel.flatMap((line, k) => line.map((tap, m) => tap * pixel(i + k - shift, j + m - shift))).reduce((sum, x) => sum + x);
  return Array.from({ length: rows }, (_, i) => Array.from({ length: rows }, (_, j) =>
    padding !== "completed" || (i < own && j < own) ? tapped(i, j)
      : i < own ? kernel.reduce((sum, _, k) => sum + picture[i + k][j], 0) : picture[i][j]));
}
