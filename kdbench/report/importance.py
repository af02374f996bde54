"""How much each axis matters: its share of the variance of the score that tasks leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from kdbench.report.block import UNIT, Factor
from kdbench.report.interval import UNKNOWN, Values, bootstrap_interval, resampled_counts

COLUMNS = ["source", "share", "low", "high", "degrees", "sum_of_squares", "runs", "units"]
REST = "interactions and seeds"
RESAMPLES = 500  # each solves a dozen least-squares problems


@dataclass(frozen=True)
class Moments:
    """The sums that least squares needs, of each unit: (units, p, p), (units, p), (units,), and runs, (units,)."""

    products: Values
    targets: Values
    squares: Values
    runs: Values

    def drawn(self, counts: Values) -> Moments:
        """The sums over units, each taken as often as the counts say: (samples, units) to (samples, ...)."""
        parts = (self.products, self.targets, self.squares, self.runs)
        return Moments(*(np.tensordot(counts, part, 1) for part in parts))


def importance(runs: pd.DataFrame, found: Sequence[Factor]) -> pd.DataFrame:
    """The share of every factor and of every two of them together, most important first, and what they leave.

    The model is additive: score = task + one constant for each level of each axis, by least squares. A factor's sum of
    squares is what the fit loses without that factor alone, so that no order of the axes matters. Of this, the part
    that as many constants would take from pure noise is subtracted (degrees x residual variance, as in epsilon squared,
    Kelley 1935) and the rest divided by the sum of squares around the tasks' means: an axis without effect has a share
    of 0 on average instead of one that grows with its levels. An interaction (`a x b`, or `a x task`) is what the
    cells of two factors add to the additive model. Shares below 0 are shown as 0.

    Intervals resample the units (task, seed), as those of `effects` do. Columns: `source`, `share` with `low` to
    `high`, `degrees` of freedom, `sum_of_squares`, `runs`, `units`.
    """
    if not found or len(runs) < 3:
        return pd.DataFrame(columns=COLUMNS)
    main = {factor.axis: [factor.axis] for factor in found}
    several = ["task"] if runs["task"].nunique() > 1 else []
    crossed = {f"{one} x {other}": [one, other] for one, other in combinations([*main, *several], 2)}
    moments, blocks = _moments(runs, {"": [], "task": ["task"], **main, **crossed})
    units = len(moments.squares)
    shares, degrees, sums = _shares(moments.drawn(np.ones((1, units))), blocks, list(main), list(crossed))
    resampled, _, _ = _shares(moments.drawn(resampled_counts(units, RESAMPLES)), blocks, list(main), list(crossed))
    rows = []
    for source in shares:
        share = float(shares[source][0])
        if not math.isfinite(share) or (source in crossed and degrees[source][0] == 0):
            continue
        low, high = bootstrap_interval(share, resampled[source], units) if len(runs) > units else UNKNOWN
        inside = np.clip([share, low, high], 0, 1)
        rows.append([source, *inside, int(degrees[source][0]), float(sums[source][0]), len(runs), units])
    frame = pd.DataFrame(rows, columns=COLUMNS)
    last = frame["source"] == REST
    return pd.concat(
        [frame[~last].sort_values("share", ascending=False, kind="stable"), frame[last]], ignore_index=True
    )


def _moments(runs: pd.DataFrame, sources: dict[str, list[str]]) -> tuple[Moments, dict[str, list[int]]]:
    """The sums of each unit, and the columns of the design that belong to each source (one a level or a cell)."""
    design, blocks, width = [], {}, 0
    for source, columns in sources.items():
        cells = runs.groupby(columns, dropna=False, sort=False).ngroup() if columns else runs["score"] * 0
        hot = (cells.to_numpy()[:, None] == np.unique(cells)).astype(float)
        blocks[source] = list(range(width, width := width + hot.shape[1]))
        design.append(hot)
    rows = np.concatenate(design, axis=1)
    score = runs["score"].to_numpy(dtype=float)
    score = score - score.mean()
    unit = runs.groupby(UNIT, dropna=False, sort=False).ngroup().to_numpy()
    members = [unit == place for place in range(unit.max() + 1)]
    return Moments(
        np.stack([rows[own].T @ rows[own] for own in members]),
        np.stack([rows[own].T @ score[own] for own in members]),
        np.array([score[own] @ score[own] for own in members]),
        np.array([float(own.sum()) for own in members]),
    ), blocks


def _shares(
    sums: Moments, blocks: dict[str, list[int]], main: Sequence[str], crossed: Sequence[str]
) -> tuple[dict[str, Values], dict[str, Values], dict[str, Values]]:
    """Share, degrees and sum of squares of every source in every sample, each (samples,)."""
    base = ["", "task"]
    around, rank_around = _residual(sums, blocks, base)
    left, rank = _residual(sums, blocks, [*base, *main])
    fits = {name: _residual(sums, blocks, [*base, *(other for other in main if other != name)]) for name in main}
    terms = {name: (lost - left, rank - smaller, left, rank) for name, (lost, smaller) in fits.items()}
    for name in crossed:
        less, larger = _residual(sums, blocks, [*base, *main, name])
        terms[name] = (left - less, larger - rank, less, larger)
    shares, degrees, squares = {}, {}, {}
    for name, (gained, freedom, residual, used) in terms.items():
        noise = _ratio(residual, sums.runs - used)
        shares[name], degrees[name], squares[name] = _ratio(gained - freedom * noise, around), freedom, gained
    noise = _ratio(left, sums.runs - rank)
    shares[REST] = _ratio(noise * (sums.runs - rank_around), around)
    return shares, degrees | {REST: sums.runs - rank}, squares | {REST: left}


def _residual(sums: Moments, blocks: dict[str, list[int]], sources: Sequence[str]) -> tuple[Values, Values]:
    """The residual sum of squares of a model and its rank, each (samples,); levels may be aliased or absent."""
    columns = [column for source in sources for column in blocks[source]]
    values, vectors = np.linalg.eigh(sums.products[:, columns][:, :, columns])
    kept = values > 1e-9 * values[:, -1:]
    along = np.einsum("spk,sp->sk", vectors, sums.targets[:, columns]) ** 2
    explained = np.divide(along, values, out=np.zeros_like(along), where=kept).sum(axis=1)
    return np.maximum(sums.squares - explained, 0), kept.sum(axis=1).astype(float)


def _ratio(above: Values, below: Values) -> Values:
    return np.divide(above, below, out=np.full(above.shape, math.nan), where=below > 1e-12)
