// Tables of experiments in which nothing is there: what choosing the best of several settings makes of p-values.
import { BLUE, INK, ORANGE, add, button, readings, slider } from "./drawing.js";
import { chances } from "./measures.js";
import { best } from "./statistics.js";

const BINS = 20, BATCH = 100, WIDTH = 340, HEIGHT = 220, TOP = 0.4;

export function price(root) {
  let found = [], any = 0;
  const svg = add(root, "svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "explore-chart", role: "img" });
  const panel = add(root, "div", { class: "explore-side" });
  const settings = slider(panel, "λs tried", { min: 1, max: 12, step: 1, value: 6 }, String, () => renew());
  const tables = slider(panel, "networks", { min: 1, max: 20, step: 1, value: 9 }, (n) => `${n} a table`, () => renew());
  const runs = slider(panel, "runs", { min: 2, max: 20, step: 1, value: 10 }, (n) => `${n} a λ`, () => renew());
  const bar = add(panel, "div", { class: "explore-buttons" });
  button(bar, `${BATCH} more tables`, () => (again(), moved()));
  button(bar, "Begin again", () => renew());
  const fill = readings(panel);
  const says = add(panel, "p", { role: "status" });
  const random = chances(7);

  /** So many tables more, of one experiment for each network. */
  function again() {
    for (let k = 0; k < BATCH; k++) {
      const row = Array.from({ length: tables() }, () => best(settings(), runs(), random));
      found.push(...row);
      any += row.some((p) => p < 0.05);
    }
  }

  function renew() {
    [found, any] = [[], 0];
    again();
    moved();
  }

  const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;
  const moved = () => {
    const counts = Array(BINS).fill(0);
    for (const p of found) counts[Math.min(Math.floor(p * BINS), BINS - 1)]++;
    const low = found.filter((p) => p < 0.05).length, number = found.length / tables();
    const box = { left: 40, right: WIDTH - 8, top: 26, bottom: HEIGHT - 36 }, top = Math.max(TOP, ...counts.map((count) => count / found.length));
    const y = (share) => box.bottom - (share / top) * (box.bottom - box.top), step = (box.right - box.left) / BINS;
    svg.replaceChildren();
    svg.setAttribute("aria-label", `histogram of ${found.length} p-values; ${percent(low, found.length)} lie below 0.05`);
    add(svg, "svg:text", { x: WIDTH / 2, y: 14, "text-anchor": "middle" }, `p of the best λ, ${found.length.toLocaleString("en")} experiments`);
    counts.forEach((count, k) => add(svg, "svg:rect", { x: box.left + k * step, y: y(count / found.length), width: step - 1, height: box.bottom - y(count / found.length), fill: k ? BLUE : ORANGE }));
    add(svg, "svg:path", { d: `M${box.left},${y(1 / BINS)}H${box.right}`, stroke: INK, "stroke-dasharray": "4 3" });
    add(svg, "svg:text", { x: box.right, y: y(1 / BINS) - 14, "text-anchor": "end" }, "dashed: without choosing");
    add(svg, "svg:path", { d: `M${box.left},${box.top}V${box.bottom}H${box.right}`, class: "explore-axis" });
    for (const p of [0, 0.25, 0.5, 0.75, 1]) add(svg, "svg:text", { x: box.left + p * (box.right - box.left), y: box.bottom + 14, "text-anchor": "middle" }, String(p));
    add(svg, "svg:text", { x: (box.left + box.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "p-value, one-tailed");
    add(svg, "svg:text", { x: box.left - 4, y: box.top + 4, "text-anchor": "end" }, `${(100 * top).toFixed(0)} %`);
    fill([
      ["p < 0.05 in", percent(low, found.length)],
      [tables() > 1 ? `for at least one of the ${tables()} networks of a table` : "for the one network of a table", percent(any, number)],
    ]);
    says.textContent =
      settings() === 1 ? `With one λ nothing is chosen: about one experiment in twenty is “significant”, as a test at 5 % promises. With ${tables()} to a table that is still some experiment in ${percent(any, number)} of the tables.`
        : `There is no effect in any of these tables. Choosing the best of ${settings()} finds a false one in ${percent(low, found.length)} of the experiments, and for some network in ${percent(any, number)} of the tables.`;
  };
  renew();
}
