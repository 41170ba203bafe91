"""Curves of a category with the chosen threshold, and the score distributions of normal and anomalous pixels."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.reporting.figures.style import ANOMALOUS, NORMAL, PAGE, Look, new_figure, printed, style

_PRO_LIMIT = 30  # per cent: where the area under the PRO curve ends, Bergmann et al. (2021), section 5.1
_LEVELS_PER_BIN = 5
_ROOM = 0.4  # above the curves, for the legend, in heights of these
_LOGARITHMIC_FROM = 30  # a largest score this many times that of the median normal pixel needs a logarithmic axis


def curves_figure(category: Sequence[ScoredMaps], looks: Mapping[str, Look], labels: Mapping[str, str]) -> Figure:
    """ROC, precision-recall and PRO curves of all methods on a category; a mark where the threshold lies.

    Args:
        category: one entry per method; those without a threshold are left out.
        looks: by method.
        labels: names of methods in print; a missing one prints as it is.
    """
    with style():
        figure = new_figure(PAGE, 2.8)
        roc, pr, pro = figure.subplots(1, 3)
        for maps in category:
            if maps.threshold is None:
                continue
            name, points, at = maps.case.method, maps.counts.curves, maps.counts.code(maps.threshold)
            look = looks[name]
            for axis, x, y in (
                (roc, points.fpr, points.recall),
                (pr, points.recall, points.precision),
                (pro, points.fpr, points.overlap),
            ):
                axis.plot(
                    100 * x,
                    100 * y,
                    color=look.colour,
                    linestyle=look.dashes,
                    marker=look.marker,
                    markevery=[at],
                    markersize=5,
                    markeredgecolor="white",
                    markeredgewidth=0.5,
                    label=printed(labels.get(name, name)),
                )
        roc.set(title="ROC", xlabel="false-positive rate (%)", ylabel="recall (%)")
        pr.set(title="precision-recall", xlabel="recall (%)", ylabel="precision (%)")
        pro.set(title="PRO", xlabel="false-positive rate (%)", ylabel="mean overlap per region (%)")
        for axis in (roc, pr, pro):
            axis.set(xlim=(-2, 102), ylim=(-2, 102))
        pro.set(xlim=(-0.02 * _PRO_LIMIT, _PRO_LIMIT))
        roc.legend(loc="lower right")
        figure.suptitle(f"{printed(category[0].case.category)}: curves; the mark is the threshold of DSC")
    return figure


def distributions_figure(category: Sequence[ScoredMaps], labels: Mapping[str, str]) -> Figure:
    """Density of the scores of normal and of anomalous pixels, one axis per method; the line is the threshold.

    The outermost 0.001 % of the scores is cut. The score axis is logarithmic where scores span magnitudes.

    Args:
        category: one entry per method.
        labels: names of methods in print; a missing one prints as it is.
    """
    columns = min(3, len(category))
    rows = -(-len(category) // columns)
    with style():
        figure = new_figure(PAGE, 0.6 + 1.7 * rows)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, maps in zip(axes, category, strict=False):
            _draw_distributions(axis, maps)
            axis.set_title(printed(labels.get(maps.case.method, maps.case.method)))
        for axis in axes[len(category) :]:
            axis.set_axis_off()
        for axis in axes[::columns]:
            axis.set_ylabel("density")
        for axis in [axis for axis in axes if axis.get_legend_handles_labels()[0]][:1]:
            low, high = axis.get_ylim()
            axis.set_ylim(low, high * (high / low) ** _ROOM)
            axis.legend(loc="upper right")
        figure.suptitle(f"{printed(category[0].case.category)}: scores of normal and anomalous pixels")
    return figure


def _draw_distributions(axis: Axes, maps: ScoredMaps) -> None:
    counts = maps.counts
    edges = counts.levels[::_LEVELS_PER_BIN]
    if len(edges) < 2:
        axis.text(0.5, 0.5, "too few distinct scores", ha="center", transform=axis.transAxes)
        return
    below = counts.normal.sum(axis=0).cumsum()
    middle = counts.levels[: np.searchsorted(below, below[-1] / 2) + 1][-1]
    logarithmic = edges[0] > 0 and edges[-1] > _LOGARITHMIC_FROM * middle
    axis.set(xscale="log" if logarithmic else "linear", yscale="log", xlabel="score")
    axis.yaxis.set_major_locator(LogLocator(numticks=5))
    for each in (axis.yaxis, axis.xaxis) if logarithmic else (axis.yaxis,):
        each.set_major_formatter("{x:g}")
    axis.minorticks_off()
    for kind, colour, dashes, label in (
        (counts.normal, NORMAL, "-", "normal pixels"),
        (counts.anomalous, ANOMALOUS, (0, (4, 1.5)), "anomalous pixels"),
    ):
        density = _density(kind.sum(axis=0), np.diff(np.log10(edges) if logarithmic else edges))
        axis.stairs(density, edges, color=colour, linestyle=dashes, label=label, linewidth=1.2)
    if maps.threshold is not None:
        axis.axvline(maps.threshold, color="black", linewidth=0.8, linestyle=":", label="threshold of DSC")


def _density(by_code: NDArray[np.int64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of all pixels per unit of the axis; an empty bin is NaN, as it has no place on a logarithmic axis."""
    starts = np.arange(len(widths) + 1) * _LEVELS_PER_BIN + 1
    inside = np.add.reduceat(by_code, starts)[:-1]
    return np.where(inside > 0, inside / max(by_code.sum(), 1) / widths, np.nan)
