// Makes the folder that the live pages fetch from: node build.mjs SITE_PACKAGES OUT
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { build } from "esbuild";
import { loadPyodide } from "pyodide";

const [sitePackages, out] = process.argv.slice(2);
mkdirSync(out, { recursive: true });
for (const name of ["pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"])
  copyFileSync(`node_modules/pyodide/${name}`, `${out}/${name}`);
copyFileSync("session.py", `${out}/session.txt`); // by its own name some servers execute it, and others refuse it

await build({
  entryPoints: ["page.js", "editor.js"], outdir: out, bundle: true, format: "esm", minify: true, logLevel: "warning",
});
// Classic scripts, which run from file:// too.
await build({ entryPoints: ["figures.js", "trainer.js", "claims.js"], outdir: out, bundle: true, format: "iife", minify: true, logLevel: "warning" });

const pyodide = await loadPyodide();
pyodide.FS.mkdir("/host");
pyodide.FS.mount(pyodide.FS.filesystems.NODEFS, { root: sitePackages }, "/host");
const archive = pyodide.runPython(readFileSync("precompile.py", "utf8"));
writeFileSync(`${out}/sympy.zip`, archive("/host").toJs());

// The worker knows how many bytes it fetches, so that it can say how far it has come; servers that compress do not tell.
const fetched = ["pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json", "session.txt", "sympy.zip"];
const bytes = fetched.reduce((sum, name) => sum + statSync(`${out}/${name}`).size, 0);
await build({ entryPoints: ["worker.js"], outdir: out, bundle: true, format: "iife", minify: true, logLevel: "warning", define: { BYTES: String(bytes) } });
