// Runs cells as a live page does, without a page: node check.mjs LIVE < chapters.json > outputs.json
// In: {chapter: [source, ...]}; out: {chapter: [{ok, outputs: [[kind, text], ...]}, ...]}.
import { readFileSync } from "node:fs";
import { loadPyodide } from "pyodide";

const [live] = process.argv.slice(2);
const pyodide = await loadPyodide();
pyodide.unpackArchive(new Uint8Array(readFileSync(`${live}/sympy.zip`)), "zip", { extractDir: "/lib/python3.13/site-packages" });
const session = readFileSync(`${live}/session.txt`, "utf8");
const found = {};
for (const [chapter, sources] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  const run = pyodide.runPython(`${session}\nrun`); // its names are new for every chapter
  found[chapter] = sources.map((source) => {
    const outputs = [];
    const ok = run(source, (kind, text) => outputs.push([kind, text]));
    return { ok, outputs };
  });
}
process.stdout.write(JSON.stringify(found));
