"""Pictures beside each other: qualitative panels (the paper's Figure 4) and levels with their product (Figure 5)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from aseg_bench.analysis.scored_maps import ScoredMaps, small
from aseg_bench.images import HEAT
from aseg_bench.reporting.figures.style import PAGE, TRUTH, new_figure, printed, style

_LEFT, _TOP = 0.4, 0.6  # inches beside and above the cells of a panel
_GAP = 0.02  # around a picture, in cells


def chosen_images(category: Sequence[ScoredMaps]) -> dict[str, int]:
    """The images with anomalous pixels of worst, median and best Dice, by position; ties go to the first name.

    Dice is taken at each method's category threshold and averaged over the methods, so no method chooses its images.

    Returns:
        Position by rank (``worst``, ``median``, ``best``); fewer where there are fewer than three anomalous images.
    """
    dice = np.zeros(len(category[0].samples))
    for maps in category:
        if maps.threshold is not None:
            hits, false_alarms, misses = maps.counts.confusion(maps.threshold)
            dice += 2 * hits / np.maximum(2 * hits + false_alarms + misses, 1)
    has_truth = np.all([maps.counts.anomalous.any(axis=1) for maps in category], axis=0)
    anomalous = [i for i, sample in enumerate(category[0].samples) if sample.is_anomalous and has_truth[i]]
    order = sorted(anomalous, key=lambda i: (dice[i], category[0].samples[i].name))
    if not order:
        return {}
    ranked = {"worst": order[0], "best": order[-1], "median": order[(len(order) - 1) // 2]}
    kept = {position: rank for rank, position in ranked.items()}
    return {rank: position for position, rank in sorted(kept.items(), key=lambda item: order.index(item[0]))}


def panels_figure(category: Sequence[ScoredMaps], labels: Mapping[str, str]) -> Figure | None:
    """Image with the truth's outline, then each method's heat map and binary prediction at its category threshold.

    Heat maps run from the least to the greatest score of the shown image's map.

    Args:
        category: one entry per method, on the same samples.
        labels: names of methods in print; a missing one prints as it is.

    Returns:
        The figure; None where no image is anomalous.
    """
    chosen = chosen_images(category)
    if not chosen:
        return None
    columns = 1 + 2 * len(category)
    edge = min(1.2, (PAGE - _LEFT) / columns)
    width, height = _LEFT + edge * columns, _TOP + edge * len(chosen)
    with style():
        figure = Figure(figsize=(width, height))
        # one axis for all cells: one for each takes three times as long
        axis = figure.add_axes((_LEFT / width, 0, edge * columns / width, 1 - _TOP / height))
        for row, (rank, position) in enumerate(chosen.items()):
            sample, mask = category[0].samples[position], category[0].masks[position]
            _show_in(axis, (row, 0), category[0].picture(position), mask)
            name = f"{rank}\n{printed(sample.defect, 12)}\n{printed(sample.stem, 12)}"
            axis.text(-0.03, row + 0.5, name, fontsize=5.5, rotation=90, ha="right", va="center", ma="center")
            for number, maps in enumerate(category):
                scores, mask = maps.scores[position], maps.masks[position]
                threshold = np.inf if maps.threshold is None else maps.threshold
                _show_in(axis, (row, 1 + 2 * number), scores, mask, cmap=HEAT)
                _show_in(axis, (row, 2 + 2 * number), scores >= threshold, mask, cmap="gray_r", vmin=0, vmax=1.6)
        for number, maps in enumerate(category):
            name = printed(labels.get(maps.case.method, maps.case.method), 16)
            axis.text(1 + 2 * number + _GAP, -0.03, name, fontsize=7, va="bottom")
        axis.set(xlim=(0, columns), ylim=(len(chosen), 0))
        axis.set_axis_off()
        figure.suptitle(
            f"{printed(category[0].case.category)}: worst, median and best image by the methods' mean Dice;\n"
            "the truth's outline, heat maps and predictions at each method's threshold",
            y=1 - 0.04 / height,
            va="top",
        )
    return figure


def _show_in(axis: Axes, cell: tuple[int, int], picture: NDArray[Any], mask: NDArray[np.bool_], **look: Any) -> None:
    """A picture with the truth's outline in a row and a column of an axis whose unit is a cell."""
    picture, mask = small(picture), small(mask)
    n_rows, n_columns = mask.shape
    scale = (1 - 2 * _GAP) / max(n_rows, n_columns)
    left, top = cell[1] + (1 - scale * n_columns) / 2, cell[0] + (1 - scale * n_rows) / 2
    right, bottom = left + scale * n_columns, top + scale * n_rows
    axis.imshow(picture, interpolation="nearest", aspect="auto", extent=(left, right, bottom, top), **look)
    axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=0.5))
    if mask.any() and not mask.all():
        x, y = left + scale * (np.arange(n_columns) + 0.5), top + scale * (np.arange(n_rows) + 0.5)
        axis.contour(x, y, mask, levels=[0.5], colors=TRUTH, linewidths=0.7)


def levels_figure(
    rows: Sequence[tuple[NDArray[np.uint8], Mapping[str, NDArray[np.floating]], NDArray[np.bool_]]],
) -> Figure:
    """Maps of single levels beside their product and the truth, one image per row.

    Args:
        rows: per image, the image (height, width, 3), the map of each level by its name, coarse to fine, and the mask,
            all of one height and width. The levels are the same in all rows.
    """
    names = list(rows[0][1])
    columns = len(names) + 3
    edge = PAGE / columns
    with style():
        figure = new_figure(PAGE, 0.25 + (edge + 0.05) * len(rows))
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for row, (image, levels, mask) in zip(axes, rows, strict=True):
            product = np.prod(np.stack([levels[name] for name in names]).astype(np.float64), axis=0)
            _show(row[0], image, mask)
            for axis, picture in zip(row[1:], [*(levels[name] for name in names), product], strict=False):
                _show(axis, picture, None, cmap=HEAT)
            truth = np.ma.filled(mask.astype(np.float32), 0.5)  # void is grey
            _show(row[-1], truth, None, cmap="gray", vmin=0, vmax=1)
        for axis, title in zip(axes[0], ["image", *names, "product", "truth"], strict=True):
            axis.set_title(printed(title, 14))
    return figure


def _show(axis: Axes, picture: NDArray[Any], mask: NDArray[np.bool_] | None, **look: Any) -> None:
    axis.imshow(small(picture), interpolation="nearest", **look)
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.spines[:].set_visible(True)
    if mask is not None and mask.any() and not mask.all():
        axis.contour(small(mask), levels=[0.5], colors=TRUTH, linewidths=0.7)
