// A cloud of points and the linear map that moves it: area, log|det W|, and an entropy that is estimated from points alone.
import { BLUE, INK, ORANGE, add, board, button, nats, readings } from "./drawing.js";
import { logDet } from "./linear.js";
import { chances } from "./measures.js";
import { estimated, normal } from "./statistics.js";

const START = [[1.3, 0.6], [-0.2, 0.9]], COUNT = 600, REACH = 4, SIDE = 340;
const MAPS = { "as above": START, identity: [[1, 0], [0, 1]], "double one side": [[2, 0], [0, 1]], turn: [[0.8, -0.6], [0.6, 0.8]], shear: [[1, 1], [0, 1]], squash: [[1, 0.5], [0, 0]] };

/** Points scattered around a spiral. */
export function spiral(count, random) {
  return Array.from({ length: count }, () => {
    const turn = (0.5 + 2.5 * random()) * Math.PI;
    return [Math.cos, Math.sin].map((f) => (turn * f(turn)) / 6 + 0.1 * normal(random));
  });
}

export function cloud(root) {
  const points = spiral(COUNT, chances(1)), before = estimated(points);
  const svg = add(root, "svg:svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, class: "explore-chart explore-plane", role: "img", "aria-label": "a cloud of points, as it was and moved" });
  const at = ([x, y]) => [(SIDE * (x + REACH)) / (2 * REACH), (SIDE * (REACH - y)) / (2 * REACH)];
  add(svg, "svg:path", { d: `M0,${SIDE / 2}H${SIDE}M${SIDE / 2},0V${SIDE}`, class: "explore-axis", opacity: 0.4 });
  const dots = (colour, faint) => add(svg, "svg:path", { stroke: colour, "stroke-width": faint ? 2 : 2.5, "stroke-linecap": "round", fill: "none", opacity: faint ? 0.25 : 0.8 });
  const drawn = (cloud) => cloud.map((point) => `M${at(point).map((v) => v.toFixed(1))}h0`).join("");
  dots(INK, true).setAttribute("d", drawn(points));
  const moving = dots(BLUE);
  const area = add(svg, "svg:path", { fill: ORANGE, opacity: 0.35 });
  const handles = [0, 1].map((column) => {
    const handle = add(svg, "svg:circle", { r: 9, fill: ORANGE, class: "explore-handle" });
    const name = add(svg, "svg:text", { fill: INK }, `We${"₁₂"[column]}`);
    handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const { left, top, width, height } = svg.getBoundingClientRect(), values = weight.read();
      values[0][column] = ((event.clientX - left) / width) * 2 * REACH - REACH;
      values[1][column] = REACH - ((event.clientY - top) / height) * 2 * REACH;
      weight.set(values);
      moved();
    });
    return { handle, name };
  });
  const panel = add(root, "div", { class: "explore-side" });
  const weight = board(panel, START, (i, j) => `w${"₁₂"[i]}${"₁₂"[j]}`, { min: -2, max: 2, step: 0.05 }, () => moved());
  const bar = add(panel, "div", { class: "explore-buttons" });
  for (const [name, values] of Object.entries(MAPS))
    button(bar, name, () => (weight.set(values), moved()));
  const fill = readings(panel);
  const says = add(panel, "p", { role: "status" });

  const moved = () => {
    const W = weight.read(), map = ([x, y]) => W.map(([a, b]) => a * x + b * y), mapped = points.map(map);
    moving.setAttribute("d", drawn(mapped));
    area.setAttribute("d", `M${[[0, 0], [1, 0], [1, 1], [0, 1]].map((corner) => at(map(corner)).map((v) => v.toFixed(1))).join("L")}Z`);
    handles.forEach(({ handle, name }, column) => {
      const [x, y] = at(map(column ? [0, 1] : [1, 0]));
      for (const [node, where] of [[handle, { cx: x, cy: y }], [name, { x: x + 12, y: y + 4 }]])
        for (const [key, value] of Object.entries(where)) node.setAttribute(key, value);
    });
    const log = logDet(W), change = estimated(mapped) - before;
    fill([
      ["area of the unit square afterwards, |det W|", Math.exp(log).toFixed(2)],
      ["its logarithm, log|det W|", nats(log)],
      ["H(WX) − H(X), estimated from the points", nats(change)],
    ]);
    says.textContent = !Number.isFinite(change) ? "The map squashes the plane into a point: nothing is left to measure."
      : !Number.isFinite(log) ? "The map squashes the plane into a line: there is no density any more, and the entropy is −∞. The estimate falls, too, but from finitely many points it stays finite."
      : Math.abs(log) < 0.005 ? "The area stays as it was, and so does the entropy, whatever becomes of the shape."
      : `Each area is multiplied by ${Math.exp(log).toFixed(2)}, and the entropy ${log > 0 ? "rises" : "falls"} by ${Math.abs(log).toFixed(3)} nats${Math.abs(change - log) > 0.005 ? `; the estimate is off because it knows ${COUNT} points only` : ""}.`;
  };
  moved();
}
