"""SymPy and mpmath as one archive of compiled modules: their import takes half the time of that of the sources.

Run by Pyodide in Node, so that the code is that of its Python; `source` is a site-packages folder.
The archive is the same, byte for byte, each time.
"""

import importlib._bootstrap_external as bootstrap
import io
import zipfile
from pathlib import Path


def archive(source):
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(path for name in ("sympy", "mpmath") for path in (Path(source) / name).rglob("*.py")):
            within = path.relative_to(source)
            if {"tests", "benchmarks"} & set(within.parts):
                continue
            code = compile(path.read_bytes(), str(within), "exec", dont_inherit=True, optimize=0)
            raw = bytes(bootstrap._code_to_hash_pyc(code, bytes(8), checked=False))
            packed.writestr(zipfile.ZipInfo(str(within.with_suffix(".pyc"))), raw, zipfile.ZIP_DEFLATED)
    return found.getvalue()


archive  # noqa: B018
