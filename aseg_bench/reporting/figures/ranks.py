"""Critical-difference diagram: which methods' mean ranks over categories lie too close to call."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from aseg_bench.analysis.rank_tests import rank_tests
from aseg_bench.metrics import METRICS
from aseg_bench.records import Score
from aseg_bench.reporting.figures.style import COLUMN, PAGE, printed, style

_SIZE = 8  # of the names, in points
_ROW = 0.17  # inches from one name to the next
_MARGIN = 0.12  # inches beside a name
_LEAST = 1.0  # inches of the line of ranks, for which long names need the width of a page


def metric_table(scores: Sequence[Score], metric: str) -> pd.DataFrame:
    """Values of a metric: one row per (data set, category) that all methods define, one column per method."""
    rows = [
        (score.case.dataset, score.case.category, score.case.method, score.value)
        for score in scores
        if score.metric == metric
    ]
    long = pd.DataFrame(rows, columns=["dataset", "category", "method", "value"]).astype({"value": float})
    wide = long.pivot_table(index=["dataset", "category"], columns="method", values="value", sort=False)
    return wide.dropna()


def ranks_figure(scores: Sequence[Score], metric: str, labels: Mapping[str, str]) -> Figure | None:
    """Mean ranks of the methods on a line, with bars over those that Nemenyi's test cannot tell apart.

    Returns:
        The figure; None with fewer than two methods or two common categories.
    """
    values = metric_table(scores, metric)
    if min(values.shape) < 2:
        return None
    by_method = {str(name): column.tolist() for name, column in values.items()}
    tests = rank_tests(by_method, METRICS[metric].higher_is_better is not False)
    ranks = pd.Series(tests.mean_ranks).sort_values()
    difference = tests.critical_difference
    groups = _tied_groups(ranks.to_numpy(), difference)
    names = [f"{printed(labels.get(str(name), str(name)))}  {rank:.2f}" for name, rank in ranks.items()]
    half = (len(ranks) + 1) // 2
    left, right = (max(map(_width, some)) + _MARGIN for some in (names[:half], names[half:]))
    width = COLUMN if COLUMN - left - right >= _LEAST else PAGE
    rows = 0.45 * len(groups) + 0.9 + half
    with style():
        figure = Figure(figsize=(width, height := 0.75 + _ROW * rows))
        axis = figure.add_axes((left / width, 0.0, 1 - (left + right) / width, 1.0))
        axis.set_axis_off()
        axis.set(xlim=(1, len(ranks)), ylim=(-rows, height / _ROW - rows))
        axis.plot([1, len(ranks)], [0, 0], color="black", linewidth=1)
        for tick in range(1, len(ranks) + 1, 1 + len(ranks) // 11):
            axis.plot([tick, tick], [0, 0.25], color="black", linewidth=1, clip_on=False)
            axis.text(tick, 0.3, str(tick), ha="center", va="bottom", fontsize=7)
        span = min(difference, len(ranks) - 1)
        axis.plot([1, 1 + span], [1.4, 1.4], color="black", linewidth=1.5, clip_on=False)
        axis.text(1, 1.5, f"critical difference {difference:.2f}", va="bottom", fontsize=7)
        for row, (first, last) in enumerate(groups):
            ends = [ranks.iloc[first], ranks.iloc[last]]
            axis.plot(ends, [-0.45 * (row + 1)] * 2, color="black", linewidth=3, clip_on=False)
        _draw_names(axis, ranks, names, start=-0.45 * len(groups) - 0.9)
        figure.suptitle(
            f"Mean ranks by {METRICS[metric].label} over {len(values)} categories;\n"
            "bars join methods that do not differ (Nemenyi, 5 %)",
            fontsize=8,
            y=1 - 0.04 / height,
            va="top",
        )
    return figure


def _width(text: str) -> float:
    """Inches that a name takes in print."""
    return float(TextPath((0, 0), text, size=_SIZE).get_extents().width) / 72


def _tied_groups(ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """First and last position of each largest group within the critical difference; ``ranks`` ascend."""
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = int(np.searchsorted(ranks, rank + difference, side="right")) - 1
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups


def _draw_names(axis: Axes, ranks: pd.Series, names: Sequence[str], start: float) -> None:
    """The better half to the left, the others to the right, each tied to its rank by a line."""
    half = (len(ranks) + 1) // 2
    for position, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        is_left = position < half
        height = start - (position if is_left else len(ranks) - 1 - position)
        edge = 1 if is_left else len(ranks)
        axis.plot([rank, rank, edge], [0, height, height], color="black", linewidth=0.7, clip_on=False)
        side = "right" if is_left else "left"
        offset = (-3 if is_left else 3, 0)
        axis.annotate(name, (edge, height), offset, textcoords="offset points", ha=side, va="center", fontsize=_SIZE)
