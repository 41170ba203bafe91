"""What the methods reach on small and on large defects."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from aseg_bench.analysis.slices import AREAS
from aseg_bench.reporting.areas import MISSED, SHOWN, AreaMean
from aseg_bench.reporting.figures.style import PAGE, Look, new_figure, printed, style


def areas_figure(
    by_method: Mapping[str, Mapping[str, AreaMean]], looks: Mapping[str, Look], labels: Mapping[str, str]
) -> Figure:
    """AP, AUPRO, recall and DSC over the area of defects, a line per method.

    Args:
        by_method: from ``area_means``, of one data set.
        looks: by method.
        labels: names of methods in print; a missing one prints as it is.
    """
    shown = [area for area in AREAS if any(area in means for means in by_method.values())]
    n_defects = [max(means[area].n_defects for means in by_method.values() if area in means) for area in shown]
    names = [f"{_short(area)}\n({n})" for area, n in zip(shown, n_defects, strict=True)]
    drawn = {metric: title for metric, title in SHOWN.items() if metric != MISSED}
    with style():
        figure = new_figure(PAGE, 2.4)
        for axes, (metric, title) in zip(figure.subplots(1, len(drawn), sharey=True), drawn.items(), strict=True):
            for method, means in by_method.items():
                there = [(place, means[area]) for place, area in enumerate(shown) if area in means]
                axes.plot(
                    [place for place, _ in there],
                    [100 * getattr(mean, metric) for _, mean in there],
                    color=looks[method].colour,
                    marker=looks[method].marker,
                    linestyle=looks[method].dashes,
                    label=printed(labels.get(method, method)),
                )
            axes.set_xticks(range(len(shown)), names, fontsize=6)
            axes.set(title=title, xlim=(-0.3, len(shown) - 0.7), ylim=(0, 100))
        figure.axes[0].set_ylabel("mean of the categories (%)")
        figure.supxlabel("area of the defect, % of its image (defects in brackets)", fontsize=8)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    return figure


def _short(area: str) -> str:
    for words, sign in {" %": "", "below ": "<", " to ": "–", " and more": "+"}.items():
        area = area.replace(words, sign)
    return area
