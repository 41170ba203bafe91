"""Critical-difference diagram: which methods' mean ranks over categories lie too close to call."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aseg_bench.metrics import METRICS
from aseg_bench.rank_tests import rank_tests
from aseg_bench.records import MEAN, Score
from aseg_bench.reporting.figures.style import COLUMN, new_figure, printed, style


def metric_table(scores: Sequence[Score], metric: str) -> pd.DataFrame:
    """Values of a metric: one row per (data set, category) that all methods define, one column per method."""
    rows = [
        (score.case.dataset, score.case.category, score.case.method, score.value)
        for score in scores
        if score.metric == metric and score.case.category != MEAN
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
    n_side = (len(ranks) + 1) // 2
    with style():
        figure = new_figure(COLUMN, 1.15 + 0.17 * n_side + 0.08 * len(groups))
        axis = figure.subplots()
        axis.set_axis_off()
        axis.set(xlim=(1 - 0.45 * len(ranks), len(ranks) + 0.45 * len(ranks)))
        axis.set(ylim=(-1.2 - 0.45 * len(groups) - n_side, 2.3))
        axis.plot([1, len(ranks)], [0, 0], color="black", linewidth=1)
        for tick in range(1, len(ranks) + 1, 1 + len(ranks) // 11):
            axis.plot([tick, tick], [0, 0.25], color="black", linewidth=1)
            axis.text(tick, 0.4, str(tick), ha="center", va="bottom", fontsize=7)
        span = min(difference, len(ranks) - 1)
        axis.plot([1, 1 + span], [1.5, 1.5], color="black", linewidth=1.5)
        axis.text(1 + span + 0.05, 1.5, f"critical difference {difference:.2f}", va="center", fontsize=7)
        for row, (first, last) in enumerate(groups):
            height = -0.45 * (row + 1)
            axis.plot([ranks.iloc[first] - 0.03, ranks.iloc[last] + 0.03], [height] * 2, color="black", linewidth=3)
        _draw_names(axis, ranks, labels, start=-0.45 * len(groups) - 0.9)
        figure.suptitle(
            f"Mean ranks by {METRICS[metric].label} over {len(values)} categories;\n"
            "bars join methods that do not differ (Nemenyi, 5 %)",
            fontsize=8,
        )
    return figure


def _tied_groups(ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """First and last position of each largest group within the critical difference; ``ranks`` ascend."""
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = int(np.searchsorted(ranks, rank + difference, side="right")) - 1
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups


def _draw_names(axis: Axes, ranks: pd.Series, labels: Mapping[str, str], start: float) -> None:
    """The better half to the left, the others to the right, each tied to its rank by a line."""
    half = (len(ranks) + 1) // 2
    for position, (name, rank) in enumerate(ranks.items()):
        left = position < half
        row = position if left else len(ranks) - 1 - position
        height = start - row
        edge = 1 - 0.05 * len(ranks) if left else len(ranks) + 0.05 * len(ranks)
        axis.plot([rank, rank, edge], [0, height, height], color="black", linewidth=0.7)
        text = f"{printed(labels.get(str(name), str(name)))}  {rank:.2f}"
        axis.text(edge, height, f"{text} " if left else f" {text}", ha="right" if left else "left", va="center")
