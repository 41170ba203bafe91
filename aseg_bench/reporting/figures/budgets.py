"""What the methods reach in their minutes of training."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from aseg_bench.reporting.figures.style import COLUMN, looks, new_figure, printed, style


def budgets_figure(trainings: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """One line per method and run, which is a point where the run kept no earlier moments.

    Args:
        trainings: from ``training_points``, of one data set.
        labels: names of methods in print; a missing one prints as it is.
    """
    with style():
        figure = new_figure(1.5 * COLUMN, 2.4)
        axes = figure.subplots()
        for method, look in looks(list(trainings["method"])).items():
            label = printed(labels.get(method, method))
            for _, own in trainings[trainings["method"] == method].groupby("run"):
                minutes, scores = own["minutes"], 100 * own["pixel_ap"]
                axes.plot(minutes, scores, marker=look.marker, color=look.colour, label=label)
                label = ""  # once per method
        n_images = ", ".join(map(str, sorted(set(trainings["n_images"]))))
        axes.set(xlabel="training (minutes)", ylabel="pixel AP (%)", xlim=(0, None), ylim=(0, None))
        axes.set_title(f"{n_images} test images")
        figure.legend(loc="outside right upper")
    return figure
