// Determinants and volumes of matrices, which are rows of numbers.

/**
 * Eliminates in place with the largest pivot of each column, below it or all around; returns log|det| of the square that
 * the rows begin with, -Infinity where a pivot is lost in the rounding of the entries.
 */
function eliminated(rows, everywhere) {
  const n = rows.length, least = 1e-13 * Math.max(...rows.map((row) => Math.max(...row.subarray(0, n).map(Math.abs))));
  let log = 0;
  for (let k = 0; k < n; k++) {
    let top = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[top][k])) top = i;
    [rows[k], rows[top]] = [rows[top], rows[k]];
    const pivot = rows[k];
    if (Math.abs(pivot[k]) <= least) return -Infinity;
    log += Math.log(Math.abs(pivot[k]));
    for (let i = everywhere ? 0 : k + 1; i < n; i++) {
      const row = rows[i], factor = row[k] / pivot[k];
      if (i !== k && factor) for (let j = k; j < row.length; j++) row[j] -= factor * pivot[j];
    }
  }
  return log;
}

/** log|det| of a square matrix and its inverse, by Gauss and Jordan. */
export function inverted(matrix) {
  const n = matrix.length, rows = matrix.map((row, i) => Float64Array.from({ length: 2 * n }, (_, j) => (j < n ? row[j] : +(j === n + i))));
  const log = eliminated(rows, true);
  return { log, inverse: rows.map((row, i) => row.subarray(n).map((value) => value / row[i])) };
}

/** log|det| of a square matrix. */
export const logDet = (matrix) => eliminated(matrix.map((row) => Float64Array.from(row)), false);

/** 1/2 log det(M Mᵀ): the logarithm of the volume that the rows span. */
export const logVolume = (matrix) => logDet(matrix.map((a) => matrix.map((b) => a.reduce((sum, x, j) => sum + x * b[j], 0)))) / 2;
