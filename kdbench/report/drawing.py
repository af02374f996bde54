"""What all figures share: colours, style, the axis of parameters, and the way into a file or a page."""

from __future__ import annotations

import io
import re

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kdbench.report.number import millions

# Okabe and Ito's palette without black and yellow, told apart with all common kinds of colour blindness; the marker
# repeats the colour for print in grey. 6 colours and 7 markers: 42 levels before a pair comes back.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT, PAPER = "#1b1f24", "#d5d8dc", "#fffffe"  # replaced by the colours of the page around a figure
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # travels with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.facecolor": "none",
    "figure.constrained_layout.w_pad": 0.1,
    "svg.fonttype": "path",
    "svg.hashsalt": "kdbench",
}


def svg(figure: Figure) -> str:
    """The figure as SVG text, the same for the same numbers."""
    stream = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    return stream.getvalue()


def inline_svg(figure: Figure, name: str) -> str:
    """The SVG element alone, its ink and grid in the colours of the page around it, light or dark.

    Args:
        figure: the figure.
        name: unique in the page; it goes before every id, since several figures share a page.
    """
    text = svg(figure)
    head, rest = text[text.index("<svg") :].split(">", 1)
    # A width in points would keep a phone from shrinking it, and none at all would blow up a single panel.
    attributes = [word for word in head.split() if not word.startswith(("width=", "height="))]
    points = 72 * figure.get_figwidth()
    size = f'style="max-width: {1.5 * points:.0f}px; min-width: {min(0.9 * points, 560):.0f}px"'
    rest = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", rest)
    return (
        f"{' '.join(attributes)} {size}>{rest}".replace(INK, "currentColor")
        .replace(FAINT, "var(--rule)")
        .replace(PAPER, "var(--paper)")
    )


def log_parameters(panel: Axes, parameters: pd.Series) -> None:
    """A logarithmic axis of parameter counts with a few round ticks and room on both sides."""
    if len(parameters):  # matplotlib draws no logarithmic axis without values
        panel.set_xscale("log")
        low, high = float(parameters.min()), float(parameters.max())
        room = max(1.25, (high / low) ** 0.12)
        panel.set_xlim(low / room, high * room)
        # Few ticks of round numbers; a narrow range needs finer ones than a decade has.
        fine = (1, 1.5, 2, 3, 4, 5, 6, 8) if high / low < 4 else (1, 2, 5)
        panel.xaxis.set_major_locator(LogLocator(subs=fine, numticks=99))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{float(millions(value)):g} M"))
