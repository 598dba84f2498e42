// Python in its own thread: takes {source}, or {answer} to an exercise, and says with {kind, text} for each output and {kind: "done", ok};
// with neither it only starts.
// When Python cannot be started it says why and answers {kind: "broken"}: the page then starts another worker.
const PATIENCE = 120; // seconds after which a start that nothing is heard of is given up

const fetchPlain = self.fetch.bind(self);
let giveUp; // rejects the start that is under way
let heard = 0; // when something last came or was begun
let arrived = 0; // of the bytes that a start fetches; BYTES, their number, is filled in when the book is built

/** The same answer, whose bytes are counted as they come. */
function counted(response) {
  const through = new TransformStream({
    transform(chunk, controller) {
      [arrived, heard] = [arrived + chunk.byteLength, Date.now()];
      controller.enqueue(chunk);
    },
  });
  const { status, statusText, headers } = response;
  return new Response(response.body.pipeThrough(through), { status, statusText, headers });
}

/** As fetch, but an answer that is an error, or none, is one here too, with the name of the file. */
async function fetched(address, options) {
  const name = String(address.url ?? address).split("/").pop();
  try {
    const response = await fetchPlain(address, options).catch((error) => {
      throw new Error(`${name} could not be fetched (${error.message})`);
    });
    if (!response.ok) throw new Error(`the server answered ${response.status} to the request for ${name}`);
    return counted(response);
  } catch (error) {
    giveUp(error); // Pyodide waits for ever for a file that it does not get
    throw error;
  }
}

/** From bytes, whatever type the server gives the file; Pyodide would wait for ever after a failure. */
async function instantiated(source, imports) {
  try {
    return await WebAssembly.instantiate(await (await source).arrayBuffer(), imports);
  } catch (error) {
    giveUp(error);
    throw error;
  }
}

/** Eight bytes of an empty module: whether the page may run WebAssembly at all is known before 10 MB are fetched. */
async function checkPolicy() {
  try {
    await WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  } catch (error) {
    throw new Error(`the host's content policy must allow script-src 'wasm-unsafe-eval' (${error.message})`);
  }
}

async function load() {
  await checkPolicy();
  say("fetching Python");
  self.fetch = fetched;
  WebAssembly.instantiateStreaming = instantiated;
  const archive = fetched("sympy.zip").then((response) => response.arrayBuffer());
  const code = fetched("session.txt").then((response) => response.text());
  try {
    importScripts("pyodide.js");
  } catch (error) {
    throw new Error(`pyodide.js could not be loaded (${error.message})`);
  }
  const pyodide = await loadPyodide();
  say("unpacking SymPy");
  pyodide.unpackArchive(await archive, "zip", { extractDir: "/lib/python3.13/site-packages" });
  say("starting SymPy");
  return pyodide.runPython(`${await code}\nimport sympy\n{"run": run, "answered": answered}`).toJs({ dict_converter: Object.fromEntries });
}

let said = "", began; // what a start is doing, and since when

/** Tells the page, with the share of the bytes that have come and, after some seconds, the time. */
function say(text = said) {
  if (text !== said) [said, heard] = [text, Date.now()];
  const seconds = Math.round((Date.now() - began) / 1000), share = Math.min(100, Math.round((100 * arrived) / BYTES));
  const details = [said.startsWith("fetching") ? `${share} %` : "", seconds >= 5 ? `${seconds} s` : ""].filter(Boolean).join(", ");
  postMessage({ kind: "progress", text: `${said}${details && ` (${details})`} …` });
}

async function start() {
  began = Date.now();
  const failed = new Promise((_, reject) => (giveUp = reject));
  const clock = setInterval(() => {
    say();
    const seconds = Math.round((Date.now() - heard) / 1000);
    if (seconds >= PATIENCE) giveUp(new Error(`nothing came of "${said}" in ${seconds} seconds`));
  }, 250);
  try {
    return await Promise.race([load(), failed]);
  } finally {
    clearInterval(clock);
  }
}

let started;

onmessage = async ({ data }) => {
  let python;
  try {
    python = await (started ??= start());
  } catch (error) {
    postMessage({ kind: "error", text: `Python could not be started: ${error.message ?? error}` });
    return postMessage({ kind: "broken" });
  }
  if (!data.answer && data.source === undefined) return;
  postMessage({ kind: "running" });
  try {
    if (data.answer) {
      const { given, right, names } = data.answer;
      postMessage({ kind: "text", text: python.answered(given, right, names) });
      return postMessage({ kind: "done", ok: true });
    }
    postMessage({ kind: "done", ok: python.run(data.source, (kind, text) => postMessage({ kind, text })) });
  } catch (error) {
    postMessage({ kind: "error", text: `Python stopped: ${error}` });
    postMessage({ kind: "broken" });
  }
};
