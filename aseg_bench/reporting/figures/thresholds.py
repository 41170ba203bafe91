"""How far a threshold that was found on normal images lies from the best one."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from aseg_bench.metrics import METRICS
from aseg_bench.records import Score
from aseg_bench.reporting.figures.style import PAGE, Look, new_figure, printed, style
from aseg_bench.reporting.tables import FOUND

_BEST = "pixel_f1_max"
_SPREAD = 0.7  # share of a category's height over which the methods are spread
_N_BESIDE = 4  # entries in a line of the legend


def thresholds_figure(scores: Sequence[Score], looks: Mapping[str, Look], labels: Mapping[str, str]) -> Figure | None:
    """F1 at the threshold that was found (filled) and at the best one (hollow), a line between, by category and method.

    Args:
        scores: of one data set, of its categories.
        looks: by method.
        labels: names of methods in print; a missing one prints as it is.

    Returns:
        The figure; None where no threshold was found.
    """
    values = {(one.case.method, one.case.category, one.metric): one.value for one in scores if one.value is not None}
    pairs = {(method, category): (found, values[method, category, _BEST])
             for (method, category, metric), found in values.items()
             if metric == FOUND and (method, category, _BEST) in values}  # fmt: skip
    if not pairs:
        return None
    methods, categories = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    with style():
        room = 0.8 * -(-(len(methods) + 2) // _N_BESIDE)  # above the categories, for the legend
        figure = new_figure(PAGE, 0.9 + (0.12 + 0.09 * len(methods)) * (len(categories) + room))
        axes = figure.subplots()
        for number, method in enumerate(methods):
            look, beside = looks[method], _SPREAD * ((number + 0.5) / len(methods) - 0.5)
            own = {place: pairs[method, name] for place, name in enumerate(categories) if (method, name) in pairs}
            heights = [place + beside for place in own]
            at_found, at_best = (100 * np.array(column) for column in zip(*own.values(), strict=True))
            axes.hlines(heights, at_found, at_best, color=look.colour, linewidth=1)
            for each, fill, label in ((at_best, "white", ""), (at_found, look.colour, labels.get(method, method))):
                axes.plot(
                    each,
                    heights,
                    linestyle="",
                    marker=look.marker,
                    markersize=4.5,
                    color=look.colour,
                    markerfacecolor=fill,
                    label=printed(label) if label else None,
                )
        for name, fill in ((METRICS[FOUND].label, "black"), (METRICS[_BEST].label, "white")):
            axes.plot([], [], linestyle="", marker="o", color="black", markersize=4.5, markerfacecolor=fill, label=name)
        axes.set(xlim=(-2, 102), ylim=(len(categories) - 0.5, -0.5 - room), xlabel="F1 of all pixels (%)")
        axes.set_yticks(range(len(categories)), [printed(name, 36) for name in categories])
        axes.legend(loc="upper center", ncols=_N_BESIDE)
        figure.suptitle("At the threshold found on normal images, and at the best one for the test images")
    return figure
