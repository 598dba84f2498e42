// A wide weight matrix whose columns can be moved: the square part, its completion, and the volume that no order changes.
import { BLUE, INK, ORANGE, add, board, button, nats, readings, slider } from "./drawing.js";
import { logDet, logVolume } from "./linear.js";

// Example 4 of the paper.
const EXAMPLE = [[3, 0, 9, -3, 4], [1, 5, -1, 4, 2], [0, 4, -2, 1, 5]];
const SUB = "₁₂₃₄₅", BOX = [260, 220];

/** All ways to take so many of the numbers below n, in order. */
export function choices(n, many, from = 0) {
  if (many === 0) return [[]];
  return Array.from({ length: n - from }, (_, i) => from + i).flatMap((first) => choices(n, many - 1, first + 1).map((rest) => [first, ...rest]));
}

export const taken = (matrix, columns) => matrix.map((row) => columns.map((j) => row[j]));

export function columns(root) {
  const N = EXAMPLE.length, d = EXAMPLE[0].length;
  let order = Array.from({ length: d }, (_, j) => j); // the number of the column that stands at each place
  const left = add(root, "div", { class: "explore-side" });
  const weights = board(left, EXAMPLE, () => "", { min: -9, max: 9, step: 0.5 }, () => moved());
  const movers = add(left, "div", { class: "explore-board", style: `--columns: ${d}` });
  order.forEach((_, j) => {
    const pair = add(movers, "div", { class: "explore-buttons explore-movers" });
    for (const [sign, step] of [["◀", -1], ["▶", 1]]) {
      const mover = button(pair, sign, () => {
        swap(order.map((_, i) => (i === j ? j + step : i === j + step ? j : i)));
        const next = movers.children[j + step].children; // the column's buttons are where it has gone
        (next[step < 0 ? 0 : 1].disabled ? next[step < 0 ? 1 : 0] : next[step < 0 ? 0 : 1]).focus();
      });
      mover.setAttribute("aria-label", `move column ${j + 1} to the ${step < 0 ? "left" : "right"}`);
      mover.disabled = j + step < 0 || j + step >= d;
    }
  });
  const completed = add(left, "table", { class: "explore-completed" });
  add(completed, "caption", {}, "W′, with its square part");

  const right = add(root, "div", { class: "explore-side" });
  const box = add(right, "svg:svg", { viewBox: `0 0 ${BOX.join(" ")}`, class: "explore-box", role: "img" });
  const turn = slider(right, "turn", { min: 0, max: 360, step: 5, value: 35 }, (v) => `${v}°`, () => moved());
  let held;
  box.addEventListener("pointerdown", (event) => ((held = [event.clientX, turn()]), box.setPointerCapture(event.pointerId)));
  box.addEventListener("pointermove", ({ clientX, pointerId }) => {
    if (box.hasPointerCapture(pointerId)) turn.set((((held[1] + clientX - held[0]) % 360) + 360) % 360);
  });
  const fill = readings(right);
  const says = add(right, "p", { role: "status" });
  const list = add(root, "table", { class: "explore-runs" });
  const head = add(add(list, "thead"), "tr");
  for (const title of ["columns taken", "|det|", ""]) add(head, "th", { scope: "col" }, title);
  const body = add(list, "tbody");
  const rows = choices(d, N).map((numbers) => {
    const row = add(body, "tr");
    button(add(row, "th", { scope: "row" }), numbers.map((number) => number + 1).join(", "), () => front(numbers));
    return { numbers, row, size: add(row, "td"), bar: add(add(row, "td"), "div", { class: "explore-bar" }) };
  });

  /** Columns in another order, by the places at which they stand now. */
  function swap(places) {
    const values = weights.read();
    order = places.map((place) => order[place]);
    weights.set(taken(values, places));
    moved();
  }

  function front(wanted) {
    const first = wanted.map((number) => order.indexOf(number));
    swap([...first, ...order.map((_, place) => place).filter((place) => !first.includes(place))]);
  }

  /** The box that the square part's columns span, from one side; to one scale for all orders of the columns. */
  function draw(square, reach) {
    const angle = (turn() * Math.PI) / 180, tilt = 0.45;
    const corners = Array.from({ length: 8 }, (_, bits) => square.map((row) => row.reduce((sum, value, j) => sum + (bits & (1 << j) ? value : 0), 0)));
    const seen = corners.map(([x, y, z]) => {
      const [across, deep] = [x * Math.cos(angle) - y * Math.sin(angle), x * Math.sin(angle) + y * Math.cos(angle)];
      return [across, -z * Math.cos(tilt) + deep * Math.sin(tilt)];
    });
    const spans = [0, 1].map((k) => [Math.min(...seen.map((p) => p[k])), Math.max(...seen.map((p) => p[k]))]);
    const scale = (Math.min(...BOX) - 20) / reach;
    const at = seen.map((p) => p.map((v, k) => (BOX[k] / 2 + (v - (spans[k][0] + spans[k][1]) / 2) * scale).toFixed(1)).join());
    const sides = choices(3, 2).flatMap(([a, b]) => [0, 1 << (3 - a - b)].map((far) => [0, 1 << a, (1 << a) | (1 << b), 1 << b].map((bits) => at[bits | far])));
    const edges = at.flatMap((from, bits) => [0, 1, 2].filter((j) => !(bits & (1 << j))).map((j) => ({ own: !bits, ends: [from, at[bits | (1 << j)]] })));
    box.replaceChildren();
    for (const corners of sides) add(box, "svg:path", { d: `M${corners.join("L")}Z`, fill: BLUE, opacity: 0.12 });
    for (const { own, ends } of edges) add(box, "svg:path", { d: `M${ends.join("L")}`, stroke: own ? ORANGE : INK, "stroke-width": own ? 2.5 : 0.7 });
  }

  const moved = () => {
    const matrix = weights.read(), square = taken(matrix, [0, 1, 2]);
    weights.cells.forEach((row, i) => row.forEach(({ cell, title }, j) => {
      title.textContent = `v${SUB[i]}${SUB[order[j]]}`;
      cell.classList.toggle("lit", j < N);
    }));
    completed.querySelectorAll("tr").forEach((row) => row.remove());
    for (let i = 0; i < d; i++) {
      const line = add(completed, "tr");
      for (let j = 0; j < d; j++) add(line, "td", { class: i < N && j < N ? "lit" : "" }, String(i < N ? matrix[i][j] : +(i === j)).replace("-", "−"));
    }
    const log = logDet(square), volume = logVolume(matrix);
    const sizes = rows.map(({ numbers }) => Math.exp(logDet(taken(matrix, numbers.map((number) => order.indexOf(number))))));
    const largest = Math.max(...sizes, 1e-9), mine = [...order.slice(0, N)].sort().join();
    rows.forEach(({ numbers, row, size, bar }, k) => {
      row.classList.toggle("lit", numbers.join() === mine);
      size.textContent = sizes[k].toFixed(1);
      bar.style.width = `${(100 * sizes[k]) / largest}%`;
    });
    const others = sizes.filter((_, k) => rows[k].numbers.join() !== mine);
    fill([
      ["log|det W′|, of the first three columns", nats(log)],
      ["½ log det VVᵀ, of all five", nats(volume)],
      ["½ log of the sum of the ten squares", nats(Math.log(sizes.reduce((sum, size) => sum + size ** 2, 0)) / 2)],
    ]);
    const taking = [...order.slice(0, N)].map((number) => number + 1).sort().join(", ");
    says.textContent = Number.isFinite(log)
      ? `Columns ${taking} span a box of volume ${Math.exp(log).toFixed(1)}; the other nine choices give ${Math.min(...others).toFixed(1)} to ${Math.max(...others).toFixed(1)}. No order of the columns changes ½ log det VVᵀ.`
      : `Columns ${taking} lie in one plane: the determinant is 0, and its logarithm −∞, whatever the other two columns hold.`;
    box.setAttribute("aria-label", `the box that columns ${taking} span`);
    const lengths = order.map((_, j) => Math.hypot(...matrix.map((row) => row[j]))).sort((a, b) => b - a);
    draw(square, Math.max(lengths[0] + lengths[1] + lengths[2], 1e-9));
  };
  moved();
}
