// Run, Edit, Reset and Stop on every cell tagged `live`, Check on every answer. Python is fetched when somebody comes near
// the first of them.
const BASE = new URL(".", import.meta.url);

/** Python in a worker. Stopping it loses every name that was defined. */
class Python {
  /** Fetch and start it before anything is asked of it; what goes wrong is said when something is. */
  warm(place = "worker") {
    try {
      this[place] ??= this.begin();
    } catch {}
  }

  begin() {
    const worker = new Worker(new URL("worker.js", BASE));
    const drop = () => {
      worker.terminate();
      if (this.worker === worker) this.worker = undefined;
      if (this.spare === worker) this.spare = undefined;
    };
    worker.onmessage = ({ data }) => data.kind === "broken" && drop();
    worker.onerror = drop;
    worker.postMessage({});
    return worker;
  }

  /** Run `{source}` or judge `{answer}`; `output` gets what comes of it. True unless it failed. */
  run(request, output) {
    return new Promise((resolve) => {
      let patience;
      this.finish = (ok) => (clearTimeout(patience), resolve(ok));
      const fail = (reason) => {
        output({ kind: "error", text: `Python could not be started: ${reason}` });
        this.stop();
      };
      try {
        this.worker ??= this.begin();
      } catch (error) {
        return fail(`${error.message}; the host's content policy must allow worker-src 'self'`);
      }
      this.worker.onmessage = ({ data }) => {
        if (data.kind === "done") this.finish(data.ok);
        else if (data.kind === "running") {
          output({ kind: "progress", text: "running …" });
          // What runs for long may have to be stopped: then another Python stands by.
          patience = setTimeout(() => this.warm("spare"), 5000);
        } else if (data.kind === "broken") this.stop(); // the next Run starts another worker
        else output(data);
      };
      this.worker.onerror = (error) =>
        fail(error.message ?? "worker.js was not loaded; the server did not send it, or a content policy forbids it");
      this.worker.postMessage(request);
    });
  }

  stop() {
    this.worker?.terminate();
    [this.worker, this.spare] = [this.spare, undefined];
    for (const cell of cells) cell.fresh = false; // its memory is gone
    this.finish?.(false);
  }
}

/** What this browser has kept under a name; nothing where it keeps nothing. */
function kept(name) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? {};
  } catch {
    return {};
  }
}

function keep(name, value) {
  try {
    if (value) localStorage.setItem(name, JSON.stringify(value));
    else localStorage.removeItem(name);
  } catch {}
}

const python = new Python();
const cells = [];
let queue = Promise.resolve(); // Python runs one cell at a time
let stops = 0;

class Cell {
  constructor(element) {
    this.element = element;
    this.input = element.querySelector(".cell_input");
    this.listing = this.input.querySelector("div.highlight");
    this.printedCode = this.listing.querySelector("pre").innerHTML;
    this.original = this.listing.querySelector("pre").textContent.replace(/\n$/, "");
    this.source = this.original;
    this.printed = element.querySelector(".cell_output"); // what stood here when the book was built
    this.output = this.printed;
    this.fresh = false; // whether what it defines is in Python's memory
    this.bar = document.createElement("div");
    this.bar.className = "live-bar";
    this.buttons = Object.fromEntries(
      ["Run", "Edit", "Reset", "Stop"].map((name) => [name, this.button(name, this[name.toLowerCase()])]),
    );
    this.status = this.bar.appendChild(document.createElement("span"));
    this.status.setAttribute("role", "status");
    this.input.after(this.bar);
    for (const [come, go] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
      // Somebody who scrolls past does not want Python.
      this.bar.addEventListener(come, () => (this.near = setTimeout(() => python.warm(), 150)));
      this.bar.addEventListener(go, () => clearTimeout(this.near));
    }
    this.restore();
  }

  /** An edit that was made in this browser, to the text that still stands here, is shown as it was left. */
  restore() {
    const { original, source } = kept(this.key);
    if (original !== this.original) return;
    this.source = source;
    this.listing.querySelector("pre").textContent = `${source}\n`;
    this.element.classList.add("live-edited");
    this.status.textContent = "edited, as you left it; Reset brings the text of the book back";
  }

  get key() {
    return `live ${location.pathname} ${[...document.querySelectorAll("div.cell.tag_live")].indexOf(this.element)}`;
  }

  button(name, action) {
    const button = this.bar.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => action.call(this));
    return button;
  }

  run() {
    const asked = stops;
    this.status.textContent = "waiting for another cell …";
    queue = queue
      .then(() => asked === stops && this.runWithAbove())
      .catch((error) => (this.status.textContent = `failed: ${error.message}`)); // and the next cell has its turn
  }

  async runWithAbove() {
    const above = cells.slice(0, cells.indexOf(this)).filter((cell) => !cell.fresh);
    for (const [position, cell] of above.entries()) {
      this.status.textContent = `running ${position + 1} of ${above.length} cells above …`;
      if (!(await cell.execute(this.status))) {
        if (this.status.textContent.endsWith("…")) this.status.textContent = "not run: a cell above failed";
        return;
      }
    }
    this.status.textContent = "running …";
    const started = performance.now();
    const finished = await this.execute(this.status);
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    if (this.status.textContent.endsWith("…")) this.status.textContent = finished ? `ran in ${seconds} s` : "failed";
  }

  /** Run this cell alone; what it prints takes the place of the printed output. True unless it failed. */
  async execute(status) {
    const output = document.createElement("div");
    output.className = "cell_output live-output";
    const { source } = this;
    const finished = await python.run({ source }, ({ kind, text }) => {
      if (kind === "progress") status.textContent = text;
      else append(output, kind, text);
    });
    this.show(output);
    this.fresh = finished && source === this.source; // it may have been edited meanwhile
    for (const cell of cells.slice(cells.indexOf(this) + 1)) cell.fresh = false;
    await window.MathJax?.typesetPromise?.([output])?.catch(() => {}); // untypeset a formula can still be read
    return finished;
  }

  show(output) {
    if (this.output) this.output.replaceWith(output ?? "");
    else if (output) this.bar.after(output);
    this.output = output;
  }

  async edit() {
    if (this.view) return this.view.focus();
    let editor;
    try {
      ({ editor } = await import(new URL("editor.js", BASE)));
    } catch (error) {
      this.status.textContent = `the editor could not be loaded: ${error.message}`;
      return;
    }
    this.listing.hidden = true;
    this.element.classList.add("live-edited");
    this.view = editor(this.input, this.source, {
      changed: (source) => {
        this.source = source;
        keep(this.key, source !== this.original && { original: this.original, source });
        for (const cell of cells.slice(cells.indexOf(this))) cell.fresh = false;
      },
      run: () => (this.run(), true),
    });
  }

  reset() {
    this.view?.destroy();
    this.view = undefined;
    this.listing.hidden = false;
    this.listing.querySelector("pre").innerHTML = this.printedCode;
    this.element.classList.remove("live-edited");
    this.source = this.original;
    keep(this.key);
    this.show(this.printed);
    this.status.textContent = "";
    for (const cell of cells.slice(cells.indexOf(this))) cell.fresh = false;
  }

  stop() {
    stops += 1;
    python.stop();
    python.warm(); // while the reader thinks
    for (const cell of cells)
      if (cell.status.textContent.endsWith("…")) cell.status.textContent = "stopped; Python has forgotten what was run";
  }
}

/** Text goes on in one block; formulas and errors have their own. */
function append(output, kind, text) {
  const last = output.lastElementChild;
  if (kind === "text" && last?.className === "live-text") {
    last.textContent += text;
    return;
  }
  const block = output.appendChild(document.createElement(kind === "latex" ? "div" : "pre"));
  block.className = kind === "latex" ? "math notranslate nohighlight" : `live-${kind}`;
  block.textContent = kind === "latex" ? `\\[${text.replace(/^\$\$?|\$\$?$/g, "")}\\]` : text;
}

/** A field under an exercise: SymPy says whether its content equals the right answer. */
function answer(form) {
  const [input, says] = [form.querySelector("input"), form.querySelector("output")];
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    says.textContent = "waiting for a cell …";
    queue = queue.then(() =>
      python.run({ answer: { given: input.value, ...form.dataset } }, ({ text }) => {
        says.textContent = text;
        form.classList.toggle("right", text === "Right.");
      }),
    );
  });
  input.addEventListener("focus", () => python.warm());
  input.addEventListener("keydown", (event) => event.stopPropagation());
}

/** Every cell that has not run as it stands, from above, until one fails. */
function runAll() {
  const asked = stops, waiting = cells.filter((cell) => !cell.fresh);
  for (const cell of waiting) cell.status.textContent = "waiting for another cell …";
  queue = queue.then(async () => {
    for (const cell of waiting) {
      if (asked !== stops) return;
      if (!cell.fresh) await cell.runWithAbove();
      if (!cell.fresh) break;
    }
    for (const cell of waiting) if (cell.status.textContent.startsWith("waiting")) cell.status.textContent = "";
  }).catch((error) => (waiting[0].status.textContent = `failed: ${error.message}`));
}

for (const form of document.querySelectorAll("form.answer")) answer(form);
for (const element of document.querySelectorAll("div.cell.tag_live")) cells.push(new Cell(element));
cells[0]?.button("Run all", runAll);
document.documentElement.classList.add("live-ready");
