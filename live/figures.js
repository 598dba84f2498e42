// Figures that answer to the reader: plain SVG and range inputs, so that a keyboard moves them too.
import { cloud } from "./cloud.js";
import { columns } from "./columns.js";
import { convolution } from "./convolution.js";
import { BLUE, INK, ORANGE, add, board, button, chart, nats, readings, rounded, slider } from "./drawing.js";
import { chances, circular, crossings, mahler, outputs, recalled, slopes } from "./measures.js";
import { price } from "./price.js";
import { train } from "./train.js";

/** ε against the slopes of both losses. */
function losses(root) {
  const grid = Array.from({ length: 161 }, (_, i) => 10 ** (-8 + i / 20));
  const draw = chart(root, {
    title: "size of the derivative at |x|",
    x: { from: 1e-8, to: 1, log: true, label: "|x|" },
    y: { from: 1e-1, to: 1e9, log: true },
  });
  const side = add(root, "div", { class: "explore-side" });
  const moved = () => {
    const eps = 10 ** power(), x = 10 ** place();
    const lines = { log: BLUE, reciprocal: ORANGE };
    const [low, high] = crossings(eps);
    draw([
      { band: low ? [low, high] : [1, 1] },
      ...Object.entries(lines).map(([form, colour], k) => ({
        line: grid.map((v) => [v, Math.min(slopes(v, eps)[form], 1e9)]), colour,
        label: { at: k ? 20 : 60, dx: 6, dy: k ? -6 : -4, text: form },
      })),
      ...Object.entries(lines).map(([form, colour]) => ({ point: [x, Math.min(slopes(x, eps)[form], 1e9)], colour })),
    ]);
    const { log, reciprocal } = slopes(x, eps);
    says.textContent =
      `At |x| = ${rounded(x)} the logarithm pushes with ${rounded(log)}, the reciprocal with ${rounded(reciprocal)}, ` +
      `${rounded(reciprocal / log)} times as much. ` +
      (low ? `The reciprocal is steeper only between ${rounded(low)} and ${rounded(high)}.` : "The logarithm is steeper everywhere.");
  };
  const power = slider(side, "ε", { min: -4, max: 0, step: 0.05, value: -3 }, (v) => rounded(10 ** v), () => moved());
  const place = slider(side, "|x|", { min: -8, max: 0, step: 0.05, value: -4 }, (v) => rounded(10 ** v), () => moved());
  const says = add(side, "p", { role: "status" });
  moved();
}

const KERNELS = {
  "corner": [[1, 0, 0], [0, 0, 0], [0, 0, 0]],
  "centre": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
  "blur": [[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]],
  "edge": [[-0.1, -0.2, -0.1], [0, 0.1, 0], [0.1, 0.2, 0.1]],
};

/** A 3 x 3 kernel, and three readings of what it does to entropy. */
function kernel(root) {
  const taps = board(root, KERNELS.blur, (k, m) => `c${"₁₂₃"[k]}${"₁₂₃"[m]}`, { min: -1, max: 1, step: 0.05 }, () => moved());
  const side = add(root, "div", { class: "explore-side" });
  const bar = add(side, "div", { class: "explore-buttons" });
  for (const [name, values] of Object.entries(KERNELS))
    button(bar, name, () => (taps.set(values), moved()));
  const fill = readings(side);
  const says = add(side, "p", { role: "status" });
  const moved = () => {
    const values = taps.read();
    const found = [
      ["log|c₁₁|, the paper's", Math.log(Math.abs(values[0][0]))],
      ["circular, 8 x 8, per pixel", circular(values, 8)],
      ["circular, 32 x 32, per pixel", circular(values, 32)],
      ["Mahler measure (logarithm)", mahler(values)],
    ];
    fill(found.map(([name, value]) => [name, nats(value < -30 ? -Infinity : value)]));
    const gap = found[0][1] - found[3][1];
    says.textContent = !Number.isFinite(found[3][1]) ? "A kernel of zeros destroys everything."
      : Math.abs(gap) < 0.005 ? "Here the first tap tells the change of entropy."
      : gap < -30 ? "The first tap says that all is lost; it is not."
      : `The first tap is ${Math.abs(gap).toFixed(2)} nats per pixel too ${gap < 0 ? "low" : "high"}.`;
  };
  moved();
}

/** One λ against λ = 0: error by epoch, where the run is stopped, what its networks reconstruct. */
function coefficients(root, data) {
  const all = data.runs.flatMap(({ error }) => error);
  const draw = chart(root, {
    title: data.title,
    x: { from: 0, to: data.runs[0].error.length, label: "epoch" },
    y: { from: Math.min(...all) * 0.9, to: Math.max(...all) * 1.1, log: true },
  });
  const side = add(root, "div", { class: "explore-side" });
  const moved = () => {
    const run = data.runs[chosen()], free = data.runs[0];
    const curve = ({ error }) => error.map((value, k) => [k + 1, value]);
    const stop = ({ error, stop }) => [stop, error[stop - 1]];
    draw([
      ...data.runs.map((other) => ({ line: curve(other), colour: INK, faint: true })),
      // What the horizon cuts off has no point: it was not stopped.
      ...[free, run].filter((one, k) => k === 0 || one !== free).flatMap((one, k) => [
        { line: curve(one), colour: k ? ORANGE : INK },
        ...(one.late ? [] : [{ point: stop(one), colour: k ? ORANGE : INK }]),
      ]),
    ]);
    picture.src = run.picture;
    picture.alt = `reconstructions by networks with ${run.label}`;
    says.textContent =
      `${run.label}: ${run.late ? "not stopped at the horizon, epoch" : "stopped at epoch"} ${run.stop}, with an error of ${rounded(run.error[run.stop - 1])}` +
      (run === free ? "." : `; without guidance the error of that epoch is ${rounded(free.error[run.stop - 1])}.`) +
      ` log|det W| ends at ${rounded(run.log_abs_det)}.`;
  };
  const chosen = slider(side, "λ", { min: 0, max: data.runs.length - 1, step: 1, value: data.runs.length - 1 },
    (k) => data.runs[k].label, () => moved());
  add(side, "img", { src: data.originals, alt: "test images", class: "explore-strip" });
  const picture = add(side, "img", { class: "explore-strip" });
  const says = add(side, "p", { role: "status" });
  moved();
}

/** A curved network recalls a picture, and where it stands in the phase diagram: at its own temperature and at that felt. */
function memory(root, { picture, side, ends }) {
  const SWEEPS = 40;
  const boards = add(root, "div", { class: "explore-side" });
  const canvas = add(boards, "canvas", { width: side, height: side, class: "explore-state", role: "img", "aria-label": "the network's state" });
  const course = chart(boards, {
    title: "overlap with the picture", x: { from: 0, to: SWEEPS, label: "sweeps" }, y: { from: -0.2, to: 1 }, height: 190,
  });
  const phases = chart(root, {
    title: "recall below the line", x: { from: 0, to: 0.16, label: "load α" }, y: { from: 0, to: 1.2 },
  });
  const panel = add(root, "div", { class: "explore-side" });
  let playing, draws = 1;
  const paint = (state) => {
    const pixels = canvas.getContext("2d").createImageData(side, side);
    state.forEach((sign, i) => pixels.data.set(sign > 0 ? [213, 94, 0, 255] : [128, 128, 128, 60], 4 * i));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  };
  const moved = () => {
    const law = { beta: 1 / warmth(), curvature: bend() }, count = Math.max(1, Math.round(load() * picture.length));
    const random = chances(draws);
    const others = Array.from({ length: count - 1 }, () => picture.map(() => (random() < 0.5 ? -1 : 1)));
    const start = picture.map((sign) => (random() < (1 + cue()) / 2 ? sign : -sign));
    const found = recalled([picture, ...others], start, law, SWEEPS, random);
    const line = found.map(({ overlaps }, k) => [k, Math.max(overlaps[0], -0.2)]);
    const felt = found.map(({ s }) => (1 + (law.curvature / 2) * s) / law.beta);
    const late = (values) => values.slice(SWEEPS / 2).reduce((sum, v) => sum + v, 0) / (values.length - SWEEPS / 2);
    const overlap = late(line.map(([, m]) => m)), warm = late(felt), alpha = count / picture.length;
    const edge = (curvature) => ends.map(([t, a, s]) => [a, t / (1 + (curvature / 2) * s)]).filter(([, t]) => t <= 1.2);
    phases([
      { line: edge(0), colour: INK, label: { at: 10, dx: -54, dy: 12, text: "Hopfield" } },
      { line: edge(law.curvature), colour: ORANGE },
      { point: [alpha, warmth()], colour: ORANGE },
      { point: [alpha, Math.min(warm, 1.2)], colour: BLUE },
    ]);
    let frame = 0;
    clearInterval(playing);
    const show = () => {
      paint(found[frame].state);
      course([{ line, colour: INK, faint: true }, { line: line.slice(0, frame + 1), colour: ORANGE }, { point: line[frame], colour: ORANGE }]);
      if (frame++ === SWEEPS) clearInterval(playing);
    };
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) frame = SWEEPS;
    else playing = setInterval(show, 60);
    show();
    says.textContent =
      `${count} patterns in ${picture.length} spins: ${overlap >= 0.7 ? "recalled" : "not recalled"}, with an overlap of ${overlap.toFixed(2)}. ` +
      `At T = ${warmth().toFixed(2)} (orange dot) the spins feel T′ = ${warm.toFixed(2)} (blue dot): a Hopfield network there is in the same state, and the line beside it is its own.`;
  };
  const bend = slider(panel, "γ′", { min: -1.2, max: 0.8, step: 0.1, value: -0.8 }, (v) => v.toFixed(1), () => moved());
  const warmth = slider(panel, "T", { min: 0.05, max: 1.2, step: 0.05, value: 0.5 }, (v) => v.toFixed(2), () => moved());
  const load = slider(panel, "α", { min: 0.01, max: 0.15, step: 0.01, value: 0.06 }, (v) => v.toFixed(2), () => moved());
  const cue = slider(panel, "cue", { min: 0.1, max: 1, step: 0.1, value: 0.5 }, (v) => `m = ${v.toFixed(1)}`, () => moved());
  const bar = add(panel, "div", { class: "explore-buttons" });
  button(bar, "other patterns", () => (draws++, moved()));
  const says = add(panel, "p", { role: "status" });
  moved();
}

/** Where two networks of one training loss put the border between two arms: one in equilibrium, one that Adam found. */
function spiral(root, { widths, points, levels }) {
  const SIDE = 90, REACH = 6, SCALE = 3;
  const boards = [["equilibrium", "in equilibrium"], ["trained", "found by Adam"]].map(([kind, name]) => {
    const figure = add(root, "div", { class: "explore-board-of-points" });
    add(figure, "p", {}, name);
    const canvas = add(figure, "canvas", { width: SIDE * SCALE, height: SIDE * SCALE, role: "img", "aria-label": `classes of the plane, ${name}` });
    return { kind, canvas, note: add(figure, "p") };
  });
  const panel = add(root, "div", { class: "explore-side" });
  const paint = (canvas, state) => {
    const context = canvas.getContext("2d"), step = (2 * REACH) / SIDE;
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (let row = 0; row < SIDE; row++)
      for (let column = 0; column < SIDE; column++) {
        const [first, second] = outputs(state, widths, [(column + 0.5) * step - REACH, REACH - (row + 0.5) * step]);
        context.fillStyle = first > second ? "#0072b255" : "#d55e0055";
        context.fillRect(column * SCALE, row * SCALE, SCALE, SCALE);
      }
    for (const [x, y, arm] of points) {
      context.beginPath();
      context.arc(((x + REACH) / step) * SCALE, ((REACH - y) / step) * SCALE, 4, 0, 2 * Math.PI);
      context.fillStyle = arm ? "#d55e00" : "#0072b2";
      context.fill();
      context.strokeStyle = "#fff";
      context.stroke();
    }
  };
  const minus = (value) => String(value).replace("-", "−");
  const percent = (value) => `${(100 * value).toFixed(0)} %`;
  const moved = () => {
    const level = levels[depth()];
    for (const { kind, canvas, note } of boards) {
      const { states, accuracies } = level[kind], k = which() % states.length;
      paint(canvas, states[k]);
      note.textContent = `test accuracy ${percent(accuracies[k])}`;
    }
    says.textContent =
      `ln L between ${minus(level.from)} and ${minus(level.to)}: networks in equilibrium are right on ${percent(level.equilibrium.mean)} of new points on average, ` +
      `those that Adam brought there on ${percent(level.trained.mean)}.`;
  };
  const depth = slider(panel, "ln L", { min: 0, max: levels.length - 1, step: 1, value: Math.floor(levels.length / 2) },
    (k) => minus(levels[k].from), () => moved());
  const which = slider(panel, "no.", { min: 0, max: Math.max(...levels.map((level) => level.equilibrium.states.length)) - 1, step: 1, value: 0 },
    (k) => String(k + 1), () => moved());
  const says = add(panel, "p", { role: "status" });
  moved();
}

const KINDS = { cloud, columns, convolution, losses, kernel, coefficients, train, price, memory, spiral };
for (const root of document.querySelectorAll("div.explore")) {
  const data = root.querySelector("script")?.textContent;
  root.querySelector(".explore-note").remove();
  KINDS[root.dataset.kind](root, data && JSON.parse(data));
}
