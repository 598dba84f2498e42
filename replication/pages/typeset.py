"""The ledger's formulas as TeX. Claims and tests are plain text, to be read in `claims.yml` and in a terminal too."""

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

# Plain text in the ledger, and how it is set.
_FORMULAS = {
    "H(WX) = H(X) + log(|det W|)": r"H(WX) = H(X) + \log(|\det W|)",
    "H(W'X) = H(X) + log(|det W|)": r"H(W'X) = H(X) + \log(|\det W|)",
    "det(W') = det(W) > 0": r"\det(W') = \det(W) > 0",
    "det(W') = det(W)": r"\det(W') = \det(W)",
    "log|det W'| - log|det W|": r"\log|\det W'| - \log|\det W|",
    "log|det W'| = log|det W|": r"\log|\det W'| = \log|\det W|",
    "-log(|det W|)": r"-\log(|\det W|)",
    "log|det W|": r"\log|\det W|",
    "|det W|": r"|\det W|",
    "Z_F = C_M X_F": r"Z_F = C_M X_F",
    "C'_M X_F": r"C'_M X_F",
    "C'_M X_C": r"C'_M X_C",
    "C'_M X": r"C'_M X",
    "C_M X_F": r"C_M X_F",
    "log(|det C'_M|) = (w - q + 1)(l - p + 1) log(|c11|)": r"\log(|\det C'_M|) = (w - q + 1)(l - p + 1)\log(|c_{11}|)",
    "log|det C'_M| = (l-p+1)(w-q+1) log|c11|": r"\log|\det C'_M| = (l-p+1)(w-q+1)\log|c_{11}|",
    "(l-p+1)(w-q+1)": r"(l-p+1)(w-q+1)",
    "H(C * X) = H(X) + log(|det C'_M|)": r"H(C * X) = H(X) + \log(|\det C'_M|)",
    "H(C*X) - H(X)": r"H(C * X) - H(X)",
    "H(VX) - H(X)": r"H(VX) - H(X)",
    "Σ log|c11|": r"\sum\log|c_{11}|",
    "log|c11|": r"\log|c_{11}|",
    "(-log x)/(1/(x+0.5))": r"(-\log x)/(1/(x+0.5))",
    "1/(x + 0.5)": r"1/(x + 0.5)",
    "1/(x+ε)": r"1/(x+\varepsilon)",
    "1/|x|": r"1/|x|",
    "log(|x|)": r"\log(|x|)",
    "-log x": r"-\log x",
    "x^-0.1": r"x^{-0.1}",
    "λ11": r"\lambda_1^1",
    "λ12": r"\lambda_1^2",
    "λ1": r"\lambda_1",
    "λ2": r"\lambda_2",
    "W'": "W'",
}
_KNOWN = re.compile("|".join(re.escape(plain) for plain in sorted(_FORMULAS, key=len, reverse=True)))
_MINUS = re.compile(r"(?<![\w)-])-(?=\d|∞)")
_POWER = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?)e([+-]?\d+)(?!\w)")
# What is a formula and would be left as plain text.
UNSET = re.compile(r"log\s?[|(]|\bdet\b|_[MFC]\b|\bc\d\d\b|λ\d|\bH\(|W'|\^|(?<![\w.])\d(?:\.\d+)?e[+-]?\d")


def typeset(text: str) -> Markup:
    """HTML of a text of the ledger: formulas for MathJax, powers of ten raised, and minus signs for hyphens."""
    parts, at = [], 0
    for found in _KNOWN.finditer(text):
        parts += [_raised(text[at : found.start()]), _math(_FORMULAS[found[0]])]
        at = found.end()
    return Markup("").join([*parts, _raised(text[at:])])


def left_plain(text: str) -> list[str]:
    """Formulas in a text that :func:`typeset` does not know."""
    return UNSET.findall(_POWER.sub("", _KNOWN.sub("", text)))


def _math(tex: str) -> Markup:
    return Markup(r'<span class="math notranslate nohighlight">\({}\)</span>').format(tex)


def numerals(text: str) -> Iterator[tuple[str, str]]:
    """Pieces of a text with minus signs for hyphens, and the power that is raised after each: `2e-11` as 2·10⁻¹¹."""
    at = 0
    for found in _POWER.finditer(text):
        digits = found[1].replace("-", "−")
        lead = "10" if digits == "1" else f"{digits}·10"
        yield _MINUS.sub("−", text[at : found.start()]) + lead, str(int(found[2])).replace("-", "−")
        at = found.end()
    yield _MINUS.sub("−", text[at:]), ""


def _raised(text: str) -> Markup:
    sup = Markup("<sup>{}</sup>")
    return Markup("").join(escape(piece) + (sup.format(power) if power else "") for piece, power in numerals(text))
