"""The toy demonstration (the paper's Figure 2): AUROC hardly sees a growing area of false positives; AP and DSC do."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from aseg_bench.images import HEAT
from aseg_bench.metrics import METRICS, evaluate_maps
from aseg_bench.reporting.figures.style import COLUMN, TRUTH, looks, new_figure, style

SIZE = 224  # the paper's image edge, in pixels
EXCESS = (0, 1, 4, 16, 32)  # false-positive area in units of the defect's area
SHOWN = ("pixel_auroc", "pixel_ap", "dsc")


@dataclass(frozen=True)
class Toy:
    """One toy prediction.

    Attributes:
        excess: false-positive area in units of the defect's area.
        scores: (224, 224) float; one level inside what is predicted, one outside.
        values: the metrics of ``SHOWN``, fractions.
    """

    excess: int
    scores: NDArray[np.float64]
    values: dict[str, float]


def toy_truth() -> NDArray[np.bool_]:
    """The mask of a small bent scratch, (224, 224) bool, 0.3 % of the pixels."""
    row, column = np.mgrid[:SIZE, :SIZE]
    along = (column - 120) / 21
    return np.asarray((np.abs(along) < 1) & (np.abs(row - 96 - 9 * along**2) < 2))


def toy_predictions() -> list[Toy]:
    """Predictions that cover the defect and ever more around it, measured by the metric core."""
    truth = toy_truth()
    distance = distance_transform_edt(~truth)
    toys = []
    for excess in EXCESS:
        nearest = np.argsort(distance, axis=None, kind="stable")[: (1 + excess) * int(truth.sum())]
        scores = np.full(truth.shape, 0.05)
        scores.flat[nearest] = 0.9
        values = evaluate_maps(scores[None], truth[None], metrics=list(SHOWN))
        toys.append(Toy(excess, scores, values))
    return toys


def toy_figure() -> Figure:
    """Toy maps with the truth's outline and their metrics, and the metrics over the false-positive area."""
    truth, toys = toy_truth(), toy_predictions()
    with style():
        figure = new_figure(COLUMN, 2.9)
        grid = figure.add_gridspec(2, len(toys), height_ratios=(1, 1.3))
        for column, toy in enumerate(toys):
            axis = figure.add_subplot(grid[0, column])
            axis.imshow(toy.scores, cmap=HEAT, vmin=0, vmax=1)
            axis.contour(truth, levels=[0.5], colors=TRUTH, linewidths=0.6)
            axis.set(xticks=[], yticks=[], title=f"{toy.excess} ×" if toy.excess else "perfect")
            axis.grid(visible=False)
            axis.set_xlabel("\n".join(f"{100 * toy.values[key]:.2f}" for key in SHOWN), fontsize=7)
            if not column:
                names = "\n".join(METRICS[key].label.removeprefix("Pixel ") for key in SHOWN)
                axis.text(-0.12, -0.07, names, transform=axis.transAxes, ha="right", va="top", fontsize=7)
        axis = figure.add_subplot(grid[1, :])
        for key, look in looks(SHOWN).items():
            axis.plot(
                range(len(toys)),
                [100 * toy.values[key] for toy in toys],
                color=look.colour,
                marker=look.marker,
                linestyle=look.dashes,
                markersize=4,
                label=METRICS[key].label,
            )
        axis.set(xticks=range(len(toys)), xticklabels=[str(toy.excess) for toy in toys], ylim=(-3, 104))
        axis.set(xlabel="false-positive area / area of the defect", ylabel="%")
        axis.legend(loc="center right")
    return figure
