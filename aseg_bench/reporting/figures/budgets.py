"""What the methods reach in their minutes of training."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from aseg_bench.reporting.figures.style import COLUMN, looks, new_figure, printed, style


def budgets_figure(trainings: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """One point per method and run.

    Args:
        trainings: ``method``, ``minutes`` and ``pixel_ap`` (a fraction), one row per point.
        labels: names of methods in print; a missing one prints as it is.
    """
    with style():
        figure = new_figure(COLUMN, 2.4)
        axes = figure.subplots()
        for method, look in looks(list(trainings["method"])).items():
            own = trainings[trainings["method"] == method]
            label = printed(labels.get(method, method))
            axes.plot(own["minutes"], 100 * own["pixel_ap"], look.marker, color=look.colour, label=label)
        axes.set(xlabel="training (minutes)", ylabel="pixel AP (%)", xlim=(0, None), ylim=(0, None))
        axes.legend()
    return figure
