// What figures that answer to the reader are drawn with.

const SVG = "http://www.w3.org/2000/svg";

export function add(parent, tag, attributes = {}, text = "") {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return parent.appendChild(node);
}

/** A labelled range input; `shown(value)` is what stands beside it. Returns a function that reads its value; its `set` moves it. */
export function slider(parent, label, { min, max, step, value }, shown, moved) {
  const line = add(parent, "label", { class: "explore-slider" });
  add(line, "span", {}, label);
  const input = add(line, "input", { type: "range", min, max, step, value });
  const output = add(line, "output");
  const renew = () => {
    output.textContent = shown(+input.value);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => (renew(), moved()));
  renew();
  return Object.assign(() => +input.value, { set: (wanted) => ((input.value = wanted), renew(), moved()) });
}

/** A button; returns its element. */
export function button(parent, text, pressed) {
  const made = add(parent, "button", { type: "button" }, text);
  made.addEventListener("click", pressed);
  return made;
}

/** Call `redraw` when the reader changes the theme: a canvas, unlike SVG, does not follow the page's colours. */
export function onTheme(redraw) {
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
}

/** A choice of one among several words; returns a function that reads which. */
export function choice(parent, legend, words, chosen, moved) {
  const field = add(parent, "fieldset", { class: "explore-choice" });
  add(field, "legend", {}, legend);
  const name = `explore-choice-${(choice.count = (choice.count ?? 0) + 1)}`;
  const inputs = Object.entries(words).map(([value, text]) => {
    const label = add(field, "label");
    const input = add(label, "input", { type: "radio", name, value });
    input.checked = value === chosen;
    input.addEventListener("change", () => moved());
    add(label, "span", {}, text);
    return input;
  });
  return () => inputs.find((input) => input.checked).value;
}

/** Sliders for the entries of a matrix, each with its name: blue where they are positive. Returns ways to read and to set them. */
export function board(parent, values, name, { min, max, step }, moved) {
  const grid = add(parent, "div", { class: "explore-board", style: `--columns: ${values[0].length}` });
  const cells = values.map((row, i) => row.map((value, j) => {
    const cell = add(grid, "label");
    const title = add(cell, "span", {}, name(i, j));
    const input = add(cell, "input", { type: "range", min, max, step, value });
    const output = add(cell, "output");
    input.addEventListener("input", () => (renew(), moved()));
    return { cell, title, input, output };
  }));
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const renew = () =>
    cells.flat().forEach(({ cell, input, output }) => {
      output.textContent = (+input.value).toFixed(digits).replace("-", "−");
      cell.style.setProperty("--size", Math.abs(input.value) / max);
      cell.classList.toggle("negative", input.value < 0);
    });
  const set = (wanted) => {
    cells.forEach((row, i) => row.forEach(({ input }, j) => (input.value = wanted[i][j])));
    renew();
  };
  renew();
  return { cells, set, read: () => cells.map((row) => row.map(({ input }) => +input.value)) };
}

/** A table of names and numbers; returns a function that fills it. */
export function readings(parent) {
  const body = add(add(parent, "table"), "tbody");
  return (rows) => {
    body.replaceChildren();
    for (const [name, value] of rows) {
      const row = add(body, "tr");
      add(row, "th", { scope: "row" }, name);
      add(row, "td", {}, value);
    }
  };
}

/** Nats with three digits behind the point. */
export const nats = (value) => (value < -1e3 ? "−∞" : value.toFixed(3).replace("-0.000", "0.000").replace("-", "−"));

/** Three digits; two and a power of ten where the number is large or small. */
export function rounded(x) {
  if (x === 0 || (Math.abs(x) < 1e4 && Math.abs(x) >= 1e-3)) return String(+x.toPrecision(3));
  const [digits, power] = x.toExponential(1).split("e");
  const raised = [...power.replace("+", "")].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[+c])).join("");
  return digits === "1.0" ? `10${raised}` : `${digits}·10${raised}`;
}

/** Axes of a line chart; returns a function that draws lines, points and bands over them anew. */
export function chart(parent, { title, x, y, width = 340, height = 240 }) {
  const box = { left: 52, right: width - 10, top: 24, bottom: height - 40 };
  const svg = add(parent, "svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, class: "explore-chart" });
  const place = (axis, value, from, to) => {
    const scale = axis.log ? Math.log10 : (v) => v;
    return from + ((scale(value) - scale(axis.from)) / (scale(axis.to) - scale(axis.from))) * (to - from);
  };
  const at = (px, py) => [place(x, px, box.left, box.right), place(y, py, box.bottom, box.top)];
  const ticks = (axis) => {
    const [low, high] = axis.log ? [Math.log10(axis.from), Math.log10(axis.to)] : [axis.from, axis.to];
    const step = axis.log ? Math.max(1, Math.ceil((high - low) / 5)) : niceStep((high - low) / 4);
    const found = [];
    for (let t = Math.ceil(low / step) * step; t <= high + 1e-9; t += step) found.push(axis.log ? 10 ** t : t);
    return found;
  };
  add(svg, "svg:text", { x: width / 2, y: 14, "text-anchor": "middle" }, title);
  add(svg, "svg:path", { d: `M${box.left},${box.top}V${box.bottom}H${box.right}`, class: "explore-axis" });
  for (const t of ticks(x)) add(svg, "svg:text", { x: at(t, y.from)[0], y: box.bottom + 15, "text-anchor": "middle" }, rounded(t));
  for (const t of ticks(y)) add(svg, "svg:text", { x: box.left - 5, y: at(x.from, t)[1] + 4, "text-anchor": "end" }, rounded(t));
  add(svg, "svg:text", { x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, x.label);
  const layer = add(svg, "svg:g");
  return (items) => {
    layer.replaceChildren();
    for (const { line, point, band, colour, faint, label } of items) {
      if (band) {
        const [a, b] = band.map((v) => Math.min(Math.max(at(v, y.from)[0], box.left), box.right));
        add(layer, "svg:rect", { x: a, y: box.top, width: b - a, height: box.bottom - box.top, class: "explore-band" });
      }
      if (line) {
        const path = line.map(([px, py]) => at(px, py).map((v) => v.toFixed(1)).join(",")).join("L");
        add(layer, "svg:path", { d: `M${path}`, stroke: colour, class: faint ? "explore-line faint" : "explore-line" });
        if (label) {
          const [px, py] = at(...line[label.at]);
          add(layer, "svg:text", { x: px + label.dx, y: py + label.dy, fill: colour }, label.text);
        }
      }
      if (point) {
        const [px, py] = at(...point);
        add(layer, "svg:circle", { cx: px, cy: py, r: 4.5, fill: colour });
      }
    }
  };
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((k) => k * power >= rough) * power;
}

export const BLUE = "var(--explore-blue)", ORANGE = "var(--explore-orange)", INK = "var(--pst-color-text-base)";
