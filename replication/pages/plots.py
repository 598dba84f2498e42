"""One figure style for the whole book; needs no torch.

Figures are transparent SVG in dark ink; the page's stylesheet turns the ink light in dark mode
(hue is kept). The palette is Okabe and Ito's, distinguishable with any colour vision.
"""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

from replication.pages.typeset import typeset

_GREY = "#767676"
_PHONE = 4.4  # inches: ten points of text stay as large on a phone as the page's own
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]


def use_style() -> None:
    """Set the book's defaults; the first cell of every chapter with figures calls it."""
    set_matplotlib_formats("svg")
    mpl.rcParams.update(
        {
            "figure.figsize": (7.2, 3.4), "figure.facecolor": "none", "axes.facecolor": "none",
            "savefig.facecolor": "none", "savefig.bbox": "tight", "figure.constrained_layout.use": True,
            "font.size": 10, "axes.titlesize": 10.5, "axes.spines.top": False, "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=PALETTE), "legend.frameon": False, "lines.linewidth": 1.6,
            "svg.hashsalt": "entropy", "svg.fonttype": "path",
        }
    )  # fmt: skip


def show(figure: Figure, records: str | None = None) -> None:
    """Display a figure once; `records` names the records that it was drawn from, for what unfolds below it.

    Its form for a phone goes along, if it has one: the panels of one row, one under another.
    """
    about = {"records": records} if records else {}
    if any(panel.images for panel in figure.axes):
        _neutral(figure)
    with io.StringIO() as wide:  # laid out and drawn before anything is moved
        figure.savefig(wide, format="svg", metadata={"Date": None})
        drawn = wide.getvalue()
    if narrow := _narrow(figure):
        about["narrow"] = narrow
    display({"image/svg+xml": drawn, "text/plain": ""}, metadata=about, raw=True)
    plt.close(figure)


def _neutral(figure: Figure) -> None:
    """Letters beside pictures, which dark mode leaves as they are, in a grey that can be read on either ground."""
    for panel in figure.axes:
        labels = [panel.title, panel.xaxis.label, panel.yaxis.label, *panel.get_xticklabels(), *panel.get_yticklabels()]
        for text in labels:
            text.set_color(_GREY)


def _narrow(figure: Figure) -> str:
    """The figure as SVG with its panels one under another; empty for many panels and for rows of pictures."""
    grids = {place.get_gridspec() if place else None for place in (panel.get_subplotspec() for panel in figure.axes)}
    former = grids.pop()
    panels = [panel for panel in figure.axes if panel.has_data() or panel.patches or panel.images]
    if grids or former is None or len(panels) > 8 or (former.nrows > 1 and any(panel.images for panel in panels)):
        return ""
    for panel in set(figure.axes) - set(panels):
        panel.remove()
    height = figure.get_figheight() / former.nrows
    grid = figure.add_gridspec(len(panels), 1)
    for place, panel in enumerate(panels):
        panel.set_subplotspec(grid[place])
        panel.tick_params(labelleft=True, labelbottom=True)
        shared = panel.get_shared_y_axes().joined(panel, panels[0])
        if shared and not panel.get_ylabel():
            panel.set_ylabel(panels[0].get_ylabel())
    for legend in list(figure.legends):
        handles = [handle for handle in legend.legend_handles if handle is not None]
        labels = [text.get_text() for text in legend.get_texts()]
        legend.remove()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    each = min(height, 3.0) if len(panels) > 1 else height
    figure.set_size_inches(_PHONE, max(each, 2.4) * len(panels) + 0.3 * len(figure.legends))
    with io.StringIO() as narrow:
        figure.savefig(narrow, format="svg", metadata={"Date": None})
        return narrow.getvalue()


def source(*lines: str) -> None:
    """Display where the numbers above come from, as a line that unfolds."""
    text = html.escape("; ".join(lines))
    display(HTML(f'<details class="origin"><summary>Where these numbers come from</summary>{text}</details>'))


def table(frame: pd.DataFrame, digits: Mapping[str, str] | None = None, fold: str = "") -> None:
    """Display a table that scrolls sideways; `digits` gives formats to columns, NaN is a dash.

    An index with a name is the first column, one without is left out. `fold` is the line under which the table unfolds.
    """
    frame = (frame.reset_index() if frame.index.name else frame).rename_axis(columns=None)
    style = frame.style.hide(axis="index").format(lambda v: _number(v, "g") if isinstance(v, float) else v, na_rep="–")
    for column, form in (digits or {}).items():
        if column in frame:
            style = style.format(partial(_number, form=form), subset=column, na_rep="–")
    whole = f'<div class="wide" tabindex="0">{style.to_html()}</div>'
    display(HTML(f"<details><summary>{html.escape(fold)}</summary>{whole}</details>" if fold else whole))


def _number(value: float, form: str) -> str:
    """A number as the ledger's texts have theirs; a zero needs no power of ten."""
    text = format(value, form)
    return typeset("0" if value == 0 and "e" in text else text)


def explore(kind: str, fallback: str, data: Mapping | None = None) -> None:
    """Display a figure that answers to the reader, by `live/figures.js`; `fallback` stands there without scripts."""
    kept = f'<script type="application/json">{json.dumps(data)}</script>' if data else ""
    note = f'<p class="explore-note">{html.escape(fallback)}</p>'
    display(HTML(f'<div class="explore" data-kind="{kind}">{note}{kept}</div>'))


def strip(images: Sequence[np.ndarray] | np.ndarray) -> str:
    """Images `(n, l, w)` or `(n, l, w, 3)` of bytes side by side, as the address of a PNG within a page."""
    raw = io.BytesIO()
    plt.imsave(raw, np.concatenate(list(images), axis=1), cmap="gray", vmin=0, vmax=255, format="png")
    return f"data:image/png;base64,{base64.b64encode(raw.getvalue()).decode()}"


# From violet to orange at a middling lightness, which dark mode's inversion leaves as it is.
_RAMP = mpl.colors.LinearSegmentedColormap.from_list(
    "middling", ["#8250a8", "#3d6fc0", "#1f8a93", "#3a8a3f", "#8a7a14", "#c05a1c"]
)


def ramp(count: int) -> list[object]:
    """As many colours in order, each of which can be read on a light and on a dark ground."""
    return list(_RAMP(np.linspace(0, 1, count))) if count > 1 else [_RAMP(0.0)] * count


def coefficient_colours(coefficients: list[float]) -> dict[float, object]:
    """The page's ink for λ = 0, a scale for the others."""
    guided = [c for c in coefficients if c != 0]
    return {0.0: "#000000", **dict(zip(guided, ramp(len(guided)), strict=True))}


def coefficient_label(value: float) -> str:
    return "λ = 0" if value == 0 else f"λ = {value:g}"


def matrix(axes: Axes, values: np.ndarray, colours: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Draw a matrix as a grid of cells; `colours` holds indices into the palette, -1 for blank."""
    rows, columns = values.shape
    for i in range(rows):
        for j in range(columns):
            index = colours[i, j]
            face = PALETTE[index % len(PALETTE)] if index >= 0 else "none"
            axes.add_patch(mpl.patches.Rectangle((j, i), 1, 1, facecolor=face, edgecolor="#9999", linewidth=0.4))
            text = labels[i, j] if labels is not None else ""
            if text:
                ink = "white" if index >= 0 and index != 4 else "black"
                axes.text(j + 0.5, i + 0.54, text, ha="center", va="center", color=ink, fontsize=7)
    axes.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="equal")
    axes.axis("off")


def sign_grid(axes: Axes, grid: pd.DataFrame, title: str, reference: pd.DataFrame | None = None) -> None:
    """A t-test grid as in Figs 3(b)-6(b); cells that differ from `reference` get a frame."""
    colour = {"+": 1, "-": 0, ".": -1}
    shown = grid.replace({"-": "−", ".": ""}).to_numpy()
    matrix(axes, grid.to_numpy(), grid.map(colour.get).to_numpy(), shown)
    ticks = [f"{c:g}" for c in grid.index]
    for k, text in enumerate(ticks):
        axes.text(k + 0.5, -0.25, text, ha="center", va="bottom", fontsize=7, rotation=45)
        axes.text(-0.2, k + 0.5, text, ha="right", va="center", fontsize=7)
    if reference is not None:
        for i, j in np.argwhere(grid.to_numpy() != reference.to_numpy()):
            axes.add_patch(mpl.patches.Rectangle((j, i), 1, 1, fill=False, edgecolor="black", linewidth=1.6))
    axes.set_title(title, pad=36)
