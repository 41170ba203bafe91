"""How large the defects of a data set are."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aseg_bench.reporting.figures.style import ANOMALOUS, GREY, NORMAL, PAGE, new_figure, printed, style

_RATE = "Anomaly Rate, anomalous images"
_SPREAD = 0.28  # of the points of a row, in rows


def defects_figure(
    label: str, regions: pd.DataFrame, rates: dict[str, float | None], published: float | None = None
) -> Figure | None:
    """Share of the image that each region covers, by category, the smallest median on top, on a logarithmic axis.

    Args:
        label: of the data set, in print.
        regions: a row per region: category and share.
        rates: by category, the Anomaly Rate over the images that have an anomalous pixel.
        published: the Anomaly Rate that the source paper prints, as a fraction; None for none.

    Returns:
        The figure; None without regions.
    """
    if regions.empty:
        return None
    medians = regions.groupby("category")["share"].median().sort_values(kind="stable")
    rng = np.random.default_rng(0)
    with style():
        figure = new_figure(PAGE, 1.0 + 0.3 * len(medians))
        axes = figure.subplots()
        for row, category in enumerate(medians.index):
            shares = 100 * regions.loc[regions["category"] == category, "share"].to_numpy()
            heights = row + rng.uniform(-_SPREAD, _SPREAD, len(shares))
            alpha = float(np.clip(60 / len(shares), 0.15, 0.7))
            axes.plot(shares, heights, ".", color=NORMAL, alpha=alpha, markeredgewidth=0, rasterized=True, zorder=1)
            axes.plot(np.quantile(shares, [0.25, 0.75]), [row, row], color="black", zorder=3)
        axes.plot(100 * medians, range(len(medians)), "k|", markersize=9, markeredgewidth=1.5, zorder=4)
        known = [(rate, row) for row, name in enumerate(medians.index) if (rate := rates.get(str(name))) is not None]
        axes.plot([100 * rate for rate, _ in known], [row for _, row in known], "D", color=ANOMALOUS, markersize=4)
        handles = [
            Line2D([], [], linestyle="", marker=".", color=NORMAL, markeredgewidth=0, label="a region"),
            Line2D([], [], color="black", marker="|", markersize=9, label="their median and middle half"),
            Line2D([], [], linestyle="", marker="D", color=ANOMALOUS, markersize=4, label=_RATE),
        ]
        if published is not None:
            label_of_line = f"Anomaly Rate in the paper, {100 * published:.2f} %"
            handles.append(axes.axvline(100 * published, color=GREY, linestyle="--", linewidth=1, label=label_of_line))
        counts = regions["category"].value_counts()
        names = [f"{printed(str(category))} ({counts[category]})" for category in medians.index]
        axes.set_yticks(range(len(names)), names)
        axes.set(xscale="log", xlabel="share of the image (%)", ylim=(len(names) - 0.4, -0.6))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(f"{printed(label)}: areas of defects, 8-connected regions; their number in brackets")
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure
