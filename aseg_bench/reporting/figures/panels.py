"""Pictures beside each other: qualitative panels (the paper's Figure 4) and levels with their product (Figure 5)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aseg_bench.analysis.scored_maps import ScoredMaps, small
from aseg_bench.images import HEAT
from aseg_bench.reporting.figures.style import PAGE, TRUTH, new_figure, printed, style


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
    edge = min(1.2, (PAGE - 0.4) / columns)
    with style():
        figure = new_figure(0.4 + edge * columns, 0.65 + (edge + 0.05) * len(chosen))
        axes = figure.subplots(len(chosen), columns, squeeze=False)
        for row, (rank, position) in zip(axes, chosen.items(), strict=True):
            sample = category[0].samples[position]
            _show(row[0], category[0].picture(position), category[0].masks[position])
            row[0].set_ylabel(f"{rank}\n{printed(sample.defect, 12)}\n{printed(sample.stem, 12)}", fontsize=5.5)
            for maps, heat, binary in zip(category, row[1::2], row[2::2], strict=True):
                scores, mask = maps.scores[position], maps.masks[position]
                _show(heat, scores, mask, cmap=HEAT)
                threshold = np.inf if maps.threshold is None else maps.threshold
                _show(binary, scores >= threshold, mask, cmap="gray_r", vmin=0, vmax=1.6)
        for maps, heat in zip(category, axes[0, 1::2], strict=True):
            name = printed(labels.get(maps.case.method, maps.case.method), 16)
            heat.set_title(name, fontsize=7, loc="left").set_in_layout(False)
        figure.suptitle(
            f"{printed(category[0].case.category)}: worst, median and best image by the methods' mean Dice;\n"
            "the truth's outline, heat maps and predictions at each method's threshold"
        )
    return figure


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
