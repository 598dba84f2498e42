// Trains guided autoencoders while the reader watches: one network without the entropy loss, others with it.
import { INK, ORANGE, add, button, chart, choice, rounded, slider } from "./drawing.js";
import { stopped } from "./training.js";

const BASE = document.currentScript.src;
const PARTS = { first: "the first (the paper's)", least: "those with the least ink", most: "those with the most" };
const named = (coefficient) => `λ = ${coefficient}`;
const percent = (share) => `${(100 * share).toFixed(0)} %`;

/** Images of numbers between 0 and 1 from the text in which the page holds their levels. */
function unpacked({ text, levels, pixels }) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Array.from({ length: bytes.length / pixels }, (_, i) => Float64Array.from(bytes.subarray(i * pixels, (i + 1) * pixels), (v) => v / levels));
}

export function train(root, { images, latents, coefficients, opens, rate, batch, horizon, patience }) {
  const all = Object.fromEntries(Object.entries(images).map(([split, packed]) => [split, unpacked(packed)]));
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let worker, moments = [], trained = [], began, seed = 1;

  const panel = add(root, "div", { class: "explore-side" });
  const strength = slider(panel, "λ", { min: 1, max: coefficients.length - 1, step: 1, value: coefficients.indexOf(opens.coefficient) },
    (k) => String(coefficients[k]), () => (trained.includes(coefficients[strength()]) ? show() : renew()));
  const latent = slider(panel, "d", { min: 0, max: latents.length - 1, step: 1, value: latents.indexOf(opens.latent) },
    (k) => `${latents[k]} units`, () => renew());
  const patient = slider(panel, "patience", { min: 1, max: 30, step: 1, value: patience }, (n) => (n > 1 ? `${n} epochs` : "1 epoch"), () => show());
  const part = choice(panel, "The square part reads d pixels:", PARTS, "first", () => renew());
  const bar = add(panel, "div", { class: "explore-buttons" });
  button(bar, "Train", () => start([0, coefficients[strength()]]));
  button(bar, "Train with every λ", () => start(coefficients));
  button(bar, "Another start", () => (seed++, renew()));
  const halt = button(bar, "Stop", () => end());
  const key = add(panel, "p", { class: "explore-key" });
  const progress = add(panel, "p", { class: "explore-progress" });
  const says = add(panel, "p", { role: "status" });

  const gallery = add(root, "div", { class: "explore-gallery" });
  const charts = add(root, "div", { class: "explore-charts" });
  const board = add(root, "table", { class: "explore-runs" });
  const head = add(add(board, "thead"), "tr");
  for (const title of ["λ", "stopped at epoch", "error there", ""]) add(head, "th", { scope: "col" }, title);
  const rows = add(board, "tbody");
  let draw;

  /** Forgets what was trained, and draws empty charts for the settings that are chosen now. */
  function renew() {
    end();
    [moments, trained] = [[], []];
    const d = latents[latent()], x = { from: 0, to: horizon, label: "epoch" }, height = 190;
    charts.replaceChildren();
    draw = {
      validation: chart(charts, { title: "validation error", x, y: { from: 1e-3, to: 0.2, log: true }, height }),
      log: chart(charts, { title: "log|det W|", x, y: { from: -3 * d, to: 5 * d }, height }),
      share: chart(charts, { title: "the square part's share of the hidden signal", x, y: { from: 0, to: 1 }, height }),
    };
    says.textContent = `Press Train: two networks start alike and see the same digits, one without guidance and one with ${named(coefficients[strength()])}.`;
    show();
  }

  function start(chosen) {
    renew();
    [trained, began] = [chosen, performance.now()];
    const fail = () => (end(), (says.textContent = "Training needs a worker, and this page may start none; a page from a file may not: serve the book, for instance with make serve."));
    try {
      worker = new Worker(new URL("trainer.js", BASE));
    } catch {
      return fail();
    }
    worker.onerror = fail;
    worker.onmessage = ({ data }) => {
      moments.push(data);
      if (data.epoch === horizon) end();
      else if (!calm || data.epoch % 20 === 0) show();
    };
    halt.disabled = false;
    says.textContent = "";
    worker.postMessage({ images: all, seed, settings: { latent: latents[latent()], which: part(), coefficients: chosen, rate, batch, horizon } });
  }

  function end() {
    if (document.activeElement === halt) bar.firstChild.focus();
    halt.disabled = true;
    if (!worker) return;
    worker.terminate();
    worker = undefined;
    show();
  }

  const curve = (k, name) => moments.slice(1).map(({ networks }) => networks[k][name]);
  const mine = () => Math.max(trained.indexOf(coefficients[strength()]), 0);
  const stop = (k) => stopped(curve(k, "validation"), patient());

  /** What came of it, for one who cannot see the charts, too. */
  function told() {
    const [free, guided] = [0, mine()].map((k) => ({ ...moments.at(-1).networks[k], ...stop(k), errors: curve(k, "validation") }));
    const at = guided.errors[guided.epoch - 1], there = free.errors[guided.epoch - 1], ratio = at / there;
    const where = guided.late ? `${named(trained[mine()])} is not stopped by epoch ${guided.epoch}; its error is` : `${named(trained[mine()])} is stopped at epoch ${guided.epoch} with an error of`;
    const compared = ratio > 1.05 ? `${rounded(ratio)} times` : ratio < 0.95 ? "less than" : "about";
    return (
      `${where} ${rounded(at)}, ${compared} that of the unguided network at that epoch. ` +
      (guided.validation < 1.05 * free.validation ? "Here guidance makes the network no worse. " : "") +
      `At epoch ${moments.length - 1} the square part's share of the hidden signal is ${percent(guided.share)} (unguided: ${percent(free.share)}), ` +
      `and the tenth of the test images that differ most from the mean in its pixels have ${rounded(guided.unusual / guided.others)} times the error of the others (unguided: ${rounded(free.unusual / free.others)}).`
    );
  }

  function show() {
    const epoch = Math.max(moments.length - 1, 0), shown = trained.map((_, k) => k).filter((k) => k !== 0 && k !== mine());
    const rate = (1000 * epoch) / (performance.now() - began);
    key.replaceChildren();
    add(key, "span", { style: `color: ${INK}` }, "━ λ = 0");
    add(key, "span", { style: `color: ${ORANGE}` }, `━ ${named(coefficients[strength()])}`);
    if (shown.length) add(key, "span", {}, "faint: the others");
    progress.textContent = !trained.length ? `Epoch 0 of ${horizon}` : worker ? `Epoch ${epoch} of ${horizon}, ${rounded(rate)} a second` : `Epoch ${epoch} of ${horizon}`;
    for (const [name, over] of Object.entries(draw)) {
      const line = (k) => curve(k, name).map((value, i) => [i + 1, value]);
      const items = epoch < 2 ? [] : [...shown.map((k) => ({ line: line(k), colour: INK, faint: true })),
        { line: line(0), colour: INK }, { line: line(mine()), colour: ORANGE }];
      const dots = epoch < 2 || name !== "validation" ? [] : [0, mine()].flatMap((k) => {
        const { epoch: at, late } = stop(k);
        return late ? [] : [{ point: [at, curve(k, name)[at - 1]], colour: k ? ORANGE : INK }];
      });
      over([...items, ...dots]);
    }
    pictures();
    const found = epoch ? trained.map((coefficient, k) => ({ coefficient, ...stop(k) })) : [];
    const errors = found.map(({ epoch: at }, k) => curve(k, "validation")[at - 1]);
    rows.replaceChildren();
    found.forEach(({ coefficient, epoch: at, late }, k) => {
      const row = add(rows, "tr");
      add(row, "th", { scope: "row" }, String(coefficient));
      add(row, "td", {}, late ? `not by ${at}` : String(at));
      add(row, "td", {}, errors[k].toFixed(4));
      add(add(row, "td"), "div", { class: "explore-bar", style: `width: ${(100 * errors[k]) / Math.max(...errors)}%` });
    });
    board.hidden = !epoch;
    if (!worker && epoch > 1) says.textContent = told();
  }

  /** Test images in rows: as they are, with the square part's pixels tinted, and as two of the networks make them. */
  function pictures() {
    const now = moments.at(-1);
    gallery.hidden = !now;
    gallery.replaceChildren();
    if (!now) return;
    const inside = new Set(now.columns), side = Math.sqrt(now.originals[0].length);
    add(gallery, "p", {}, "Left: test images that differ most from the mean in the square part (tinted); right: those that differ least.");
    const lines = { "test image": now.originals, "λ = 0": now.networks[0].pictures, [named(trained[mine()])]: now.networks[mine()].pictures };
    for (const [name, row] of Object.entries(lines)) {
      const line = add(gallery, "div"), width = row.length * (side + 1) + 3;
      add(line, "span", {}, name);
      const canvas = add(line, "canvas", { width, height: side, role: "img", "aria-label": `eight digits, ${name}` });
      const context = canvas.getContext("2d");
      row.forEach((image, i) => {
        const data = context.createImageData(side, side);
        image.forEach((value, p) => {
          const ink = 255 * value, tint = row === now.originals && inside.has(p) ? 0.35 : 0;
          data.data.set([ink + tint * (213 - ink), ink + tint * (94 - ink), ink * (1 - tint), 255], 4 * p);
        });
        context.putImageData(data, i * (side + 1) + (i >= row.length / 2 ? 3 : 0), 0);
      });
    }
  }

  renew();
}
