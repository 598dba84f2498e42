// From a kernel to the matrix of its convolution: which tap stands where, what its determinant sees, and the picture.
import { add, board, button, choice, nats, onTheme, readings, slider } from "./drawing.js";
import { ADDED, NOTHING, corollary, exact, filtered, placed } from "./layouts.js";

const START = [[0.1, 0.3, 0], [-0.4, 1, 0.2], [0, 0.3, -0.5]];
const CENTRE = [[0, 0, 0], [0, 1, 0], [0, 0, 0]];
const PADDINGS = {
  completed: "C′_M, as the paper completes it", valid: "C_M: inner pixels only", causal: "zeros below and to the right",
  circular: "circular", same: "zeros all around",
};
const named = (k, m) => `c${"₁₂₃"[k]}${"₁₂₃"[m]}`;

export function convolution(root, { picture }) {
  let lit = 0;
  const panel = add(root, "div", { class: "explore-side" });
  const taps = board(panel, START, named, { min: -1, max: 1, step: 0.05 }, () => moved());
  taps.cells.flat().forEach(({ cell }, tap) => {
    for (const event of ["pointerdown", "focusin"]) cell.addEventListener(event, () => ((lit = tap), moved()));
  });
  const bar = add(panel, "div", { class: "explore-buttons" });
  for (const [name, kernel] of Object.entries({ "start again": START, "the centre alone": CENTRE }))
    button(bar, name, () => (taps.set(kernel), moved()));
  const fill = readings(panel);
  const says = add(panel, "p", { role: "status" });

  const right = add(root, "div", { class: "explore-side" });
  const canvas = add(right, "canvas", { class: "explore-matrix", role: "img" });
  const side = slider(right, "n", { min: 3, max: 6, step: 1, value: 4 }, (n) => `${n} × ${n} pixels`, () => moved());
  const padding = choice(right, "The edge of the image:", PADDINGS, "completed", () => moved());
  const pair = add(right, "div", { class: "explore-pair" });
  const [before, after] = ["a digit", "filtered"].map((name) => {
    const frame = add(pair, "div");
    const drawn = add(frame, "canvas", { role: "img", "aria-label": name });
    add(frame, "span", {}, name);
    return drawn;
  });
  canvas.addEventListener("pointerdown", (event) => {
    const places = placed(3, side(), padding()), { left, top, width, height } = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - top) / height) * places.length), column = Math.floor(((event.clientX - left) / width) * places[0].length);
    if (places[row]?.[column] >= 0) (lit = places[row][column]), moved();
  });

  /** Each place in the colour of its tap's sign; the places of one tap are lit. */
  function paint(places, kernel) {
    const size = Math.floor(432 / places[0].length), context = canvas.getContext("2d");
    [canvas.width, canvas.height] = [places[0].length * size, places.length * size];
    const style = getComputedStyle(root), [blue, orange] = ["blue", "orange"].map((name) => style.getPropertyValue(`--explore-${name}`));
    places.forEach((line, r) => line.forEach((tap, s) => {
      const value = kernel.flat()[tap];
      context.fillStyle = tap < 0 ? "gray" : value < 0 ? orange : blue;
      context.globalAlpha = tap === NOTHING ? 0.08 : tap === ADDED ? 0.6 : tap === lit ? 1 : 0.3 + 0.35 * Math.abs(value);
      context.fillRect(s * size, r * size, size - 1, size - 1);
    }));
    const count = places.flat().filter((tap) => tap === lit).length, diagonal = places.filter((line, r) => line[r] === lit).length;
    canvas.setAttribute("aria-label", `matrix of ${places.length} rows and ${places[0].length} columns; ${named(Math.floor(lit / 3), lit % 3)} stands in ${count} places`);
    return { count, diagonal };
  }

  function show(target, pixels) {
    const n = pixels.length, all = pixels.flat(), low = Math.min(...all), top = Math.max(1e-9, ...all.map(Math.abs));
    [target.width, target.height] = [n, n];
    const data = target.getContext("2d").createImageData(n, n);
    all.forEach((value, i) => data.data.set([...Array(3).fill(low < -1e-9 ? 127 + (128 * value) / top : (255 * value) / top), 255], 4 * i));
    target.getContext("2d").putImageData(data, 0, 0);
  }

  const moved = () => {
    const kernel = taps.read(), n = side(), edge = padding(), places = placed(3, n, edge);
    taps.cells.flat().forEach(({ cell }, tap) => cell.classList.toggle("lit", tap === lit));
    const { count, diagonal } = paint(places, kernel);
    const paper = corollary(kernel, n), found = exact(kernel, n, edge), name = named(Math.floor(lit / 3), lit % 3);
    fill([
      [`Corollary 6: ${(n - 2) ** 2} log|c₁₁|`, nats(paper)],
      [edge === "valid" ? "½ log det C_M C_Mᵀ, the volume of its rows" : edge === "completed" ? "log|det C′_M|, computed" : edge === "causal" ? `log|det| of this matrix, ${n ** 2} log|c₁₁|` : "log|det| of this matrix", nats(found)],
    ]);
    const square = places.length === places[0].length;
    says.textContent =
      `${name} (lit) stands in ${count} places, ${square ? (diagonal ? `${diagonal} of them on the main diagonal. ` : "none of them on the main diagonal. ") : "in a matrix that is not square. "}` +
      (edge === "completed" ? "Nothing stands below that diagonal, so the determinant sees c₁₁ alone. Grey: the ones that the paper adds; the last rows and columns of the picture are what they make, sums and copies."
        : edge === "causal" ? "Here, too, nothing stands below it: the determinant is c₁₁ once for each of the pixels."
        : edge === "valid" ? "Its rows span a volume that depends on every tap."
        : "Taps stand below the diagonal as well: the determinant may depend on all of them.");
    show(before, picture);
    show(after, filtered(kernel, picture, edge));
  };
  moved();
  onTheme(moved);
}
