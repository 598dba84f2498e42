// Python in its own thread: takes {source}, answers with {kind, text} for each output and {kind: "done", ok}.
importScripts("pyodide.js");

let started;

async function start() {
  const say = (text) => postMessage({ kind: "progress", text });
  say("fetching Python …");
  const archive = fetch("sympy.zip").then((response) => response.arrayBuffer());
  const code = fetch("session.py").then((response) => response.text());
  const pyodide = await loadPyodide();
  say("fetching SymPy …");
  pyodide.unpackArchive(await archive, "zip", { extractDir: "/lib/python3.13/site-packages" });
  say("running …");
  return pyodide.runPython(`${await code}\nrun`);
}

onmessage = async ({ data }) => {
  try {
    started ??= start();
    const run = await started;
    const ok = run(data.source, (kind, text) => postMessage({ kind, text }));
    postMessage({ kind: "done", ok });
  } catch (error) {
    postMessage({ kind: "error", text: `Python could not be started: ${error}` });
    postMessage({ kind: "done", ok: false });
  }
};
