"""Slices of a category: how well each kind and each size of defect is found."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.errors import listed
from aseg_bench.metrics import METRICS
from aseg_bench.reporting.figures.style import PAGE, Look, new_figure, printed, style

_N_BESIDE = 3  # entries in a line of the legend
_PARTS = {"kind": "kind of defect", "light": "light", "size": "size of the defect"}  # in their order
_SPREAD = 0.6  # share of a row's height over which the methods are spread


class SliceScore(NamedTuple):
    """How a method does on a slice: its AP among these and all normal images, and the recall of its defect pixels."""

    method: str
    slice_name: str
    by: str
    n_images: int
    pixel_ap: float
    recall: float


def slice_scores(maps: ScoredMaps) -> list[SliceScore]:
    """AP and recall at the category's threshold, per slice that holds an anomalous pixel."""
    if maps.threshold is None:
        return []
    hits, _, misses = maps.counts.confusion(maps.threshold)
    rows = []
    for name, by, positions, pixel_ap in maps.counts.slices:
        n_anomalous = int((hits + misses)[positions].sum())
        if n_anomalous and pixel_ap is not None:
            recall = float(hits[positions].sum() / n_anomalous)
            rows.append(SliceScore(maps.case.method, name, by, len(positions), pixel_ap, recall))
    return rows


def slices_figure(
    category: str, rows: Sequence[SliceScore], looks: Mapping[str, Look], labels: Mapping[str, str]
) -> Figure | None:
    """AP and recall of every slice and method, slices from top to bottom: kinds of defect, lights, then sizes.

    Args:
        category: name of the category.
        rows: from ``slice_scores``, of all methods.
        looks: by method.
        labels: names of methods in print; a missing one prints as it is.

    Returns:
        The figure; None without rows.
    """
    if not rows:
        return None
    places = {
        key: i
        for i, key in enumerate(dict.fromkeys((r.by, r.slice_name, r.n_images) for r in sorted(rows, key=_order)))
    }
    with style():
        names = list(dict.fromkeys(row.method for row in rows))
        room = 0.8 * -(-len(names) // _N_BESIDE)  # above the slices, for the legend
        figure = new_figure(PAGE, 0.9 + 0.24 * (len(places) + room))
        axes = figure.subplots(1, 2, sharey=True)
        for number, name in enumerate(names):
            own = [row for row in rows if row.method == name]
            beside = _SPREAD * ((number + 0.5) / len(names) - 0.5)  # so that equal values do not hide each other
            heights = [places[row.by, row.slice_name, row.n_images] + beside for row in own]
            for axis, values in zip(axes, ([r.pixel_ap for r in own], [r.recall for r in own]), strict=True):
                axis.plot(
                    100 * np.array(values),
                    heights,
                    linestyle="",
                    color=looks[name].colour,
                    marker=looks[name].marker,
                    markersize=5,
                    markeredgecolor="white",
                    markeredgewidth=0.4,
                    label=printed(labels.get(name, name)),
                )
        parts = list(dict.fromkeys(by for by, _, _ in places))
        ends = np.cumsum([sum(by == part for by, _, _ in places) for part in parts])[:-1]
        for axis in axes:
            for end in ends:
                axis.axhline(end - 0.5, color="black", linewidth=0.6)
            axis.set(xlim=(-2, 102), ylim=(len(places) - 0.5, -0.5 - room))
        axes[0].set_yticks(list(places.values()), [f"{printed(name, 36)} ({n_images})" for _, name, n_images in places])
        axes[0].set_xlabel(f"{METRICS['pixel_ap'].label} (%), with all normal images")
        axes[1].set_xlabel("recall of pixels at the category's threshold (%)")
        axes[1].legend(loc="upper center", ncols=_N_BESIDE)
        by = listed([_PARTS[part] for part in parts])
        figure.suptitle(f"{printed(category)}: by {by}, from top to bottom; images in brackets")
    return figure


def _order(row: SliceScore) -> int:
    return list(_PARTS).index(row.by)
