"""The bar chart of a run: students trained in an hour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.line import Line

COLOURS = ("#1b6ca8", "#c9c9c9")


def draw(lines: Sequence[Line], path: Path) -> bool:
    """Write one pair of bars for every line that counted students; False where none did."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    drawn = [line for line in lines if "students_per_hour" in line.details]
    if not drawn:
        return False
    figure, axes = pyplot.subplots(figsize=(7, 0.9 + 0.75 * len(drawn)), layout="constrained")
    for place, line in enumerate(drawn):
        counts = line.details["students_per_hour"]
        for side, (name, count) in enumerate(counts.items()):
            bars = axes.barh(place + 0.38 * side, count, 0.36, color=COLOURS[side], label=None if place else name)
            axes.bar_label(bars, [f"{count:.0f}"], padding=3, fontsize=8)
    axes.set_yticks([place + 0.19 for place in range(len(drawn))], [f"{line.id}\n{line.peer}" for line in drawn])
    axes.tick_params(axis="y", labelsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("students trained in an hour of one core")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    figure.legend(frameon=False, loc="outside upper right", ncols=2, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True
