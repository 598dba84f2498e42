// Determinants and volumes of matrices, which are rows of numbers.

/** log|det| of a square matrix and its inverse, by Gauss and Jordan with the largest pivot of each column. */
export function inverted(matrix) {
  const n = matrix.length, rows = matrix.map((row, i) => Float64Array.from({ length: 2 * n }, (_, j) => (j < n ? row[j] : +(j === n + i))));
  let log = 0;
  for (let k = 0; k < n; k++) {
    let top = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[top][k])) top = i;
    [rows[k], rows[top]] = [rows[top], rows[k]];
    const pivot = rows[k][k];
    log += Math.log(Math.abs(pivot));
    for (let j = k; j < 2 * n; j++) rows[k][j] /= pivot;
    for (let i = 0; i < n; i++) {
      const factor = rows[i][k];
      if (i !== k && factor) for (let j = k; j < 2 * n; j++) rows[i][j] -= factor * rows[k][j];
    }
  }
  return { log, inverse: rows.map((row) => row.subarray(n)) };
}

/** log|det| of a square matrix; -Infinity where a pivot is lost in the rounding of the entries. */
export function logDet(matrix) {
  const n = matrix.length, rows = matrix.map((row) => Float64Array.from(row));
  const least = 1e-13 * Math.max(...matrix.flat().map(Math.abs));
  let log = 0;
  for (let k = 0; k < n; k++) {
    let top = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[top][k])) top = i;
    [rows[k], rows[top]] = [rows[top], rows[k]];
    if (Math.abs(rows[k][k]) <= least) return -Infinity;
    log += Math.log(Math.abs(rows[k][k]));
    for (let i = k + 1; i < n; i++) {
      const factor = rows[i][k] / rows[k][k];
      if (factor) for (let j = k; j < n; j++) rows[i][j] -= factor * rows[k][j];
    }
  }
  return log;
}

/** 1/2 log det(M Mᵀ): the logarithm of the volume that the rows span. */
export const logVolume = (matrix) => logDet(matrix.map((a) => matrix.map((b) => a.reduce((sum, x, j) => sum + x * b[j], 0)))) / 2;
