"""Inflation: pixel AUROC against pixel AP, and what a given AUROC can mean where anomalous pixels are rare."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import kendalltau, norm

from aseg_bench.metrics import METRICS
from aseg_bench.records import MEAN, Score
from aseg_bench.reporting.figures.style import COLUMN, GREY, Look, looks, new_figure, printed, style
from aseg_bench.reporting.tables import RATE

X, Y = "pixel_auroc", "pixel_ap"
PREVALENCES = (0.1, 0.01, 0.001)
N_HIGHLIGHTED = 8  # methods with a colour of their own; the rest is grey
HIGH = 0.97  # a pixel AUROC that reads like a solved problem
_REPLICATES = 1000
_REPRINTED = "reprinted|quoted|collected"
_SHOWN = (0.01, 0.9997)  # a pixel AUROC beyond is drawn at the end of the logit axis
_TICKS = (0.02, 0.1, 0.5, 0.8, 0.9, 0.97, 0.99, 0.997, 0.999)


def score_points(scores: Sequence[Score]) -> pd.DataFrame:
    """One row per method, data set and category that has both metrics.

    Returns:
        Columns method, dataset, category, pixel_auroc, pixel_ap, anomaly_rate: fractions, the rate NaN where unknown.
    """
    rows = [
        (score.case.method, score.case.dataset, score.case.category, score.metric, score.value)
        for score in scores
        if score.metric in (X, Y, RATE)
    ]
    keys = ["method", "dataset", "category"]
    long = pd.DataFrame(rows, columns=[*keys, "metric", "value"]).astype({"value": float})
    wide = long.pivot_table(index=keys, columns="metric", values="value", sort=False, aggfunc="mean")
    return wide.reindex(columns=[X, Y, RATE]).dropna(subset=[X, Y]).reset_index().rename_axis(columns=None)


def published_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Pairs of pixel AUROC and pixel AP from one publication, in the columns of ``score_points``.

    Both numbers share method, setting, data set, category, source, variant and whoever ran it; the tables of one paper
    count as one source. Reprints are left out, and a mean over categories where its categories are given: in the same
    source, or in the log that goes with a repository's page.

    Args:
        frame: from ``published.published``.

    Returns:
        The columns of ``score_points``, the rate NaN, and setting, source_key, variant, reproduced_by and caution
        (what is known to be wrong with either number).
    """
    keys = ["method", "dataset", "category", "setting", "source_key", "variant", "reproduced_by"]
    long = frame[frame["metric"].isin([X, Y]) & ~frame["reproduced_by"].str.contains(_REPRINTED)]
    long = long.astype({"value_percent": float})
    long["source_key"] = long["source_key"].str.replace(r"_t\d(?=_star$|$)", "", regex=True)
    wide = long.pivot_table(index=keys, columns="metric", values="value_percent", sort=False) / 100
    cautions = long.groupby(keys)["caution"].agg(lambda texts: "; ".join(dict.fromkeys(filter(None, texts))))
    points = wide.dropna().assign(**{RATE: np.nan}).join(cautions).reset_index().rename_axis(columns=None)
    is_mean = points["category"] == MEAN
    points["run"] = points["source_key"].str.replace(r"(_benchmark)?_(readme|log)", "", regex=True)
    runs = points[["method", "dataset", "setting", "run"]].apply(tuple, axis=1)
    return points[~(is_mean & runs.isin(runs[~is_mean]))].drop(columns="run").reset_index(drop=True)


def binormal_ap(auroc: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
    """AP of two normal score distributions of equal spread that reach an AUROC, at a prevalence of anomalous pixels.

    Args:
        auroc: fractions in (0, 1), any shape.
        prevalence: share of anomalous pixels, in (0, 1).

    Returns:
        AP as fractions, same shape.

    Source: the binormal model, Hanley (1988), https://doi.org/10.1177/0272989X8800800308
    """
    apart = np.sqrt(2) * norm.ppf(np.asarray(auroc, dtype=np.float64))[..., None]
    recall = np.linspace(0, 1, 2001)[1:]
    false_positives = norm.sf(norm.isf(recall) + apart)
    precision = prevalence * recall / (prevalence * recall + (1 - prevalence) * false_positives)
    return np.asarray(precision.mean(axis=-1))


def agreement(points: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """How far pixel AUROC and pixel AP agree: Kendall's tau-b, and what AP can be where AUROC is high.

    Returns:
        n_points; kendall_tau with low and high, a 95 % percentile interval from resampled categories; n_high, the
        points of at least 97 % AUROC; ap_low and ap_high, between which 90 % of their APs lie. NaN with fewer than
        three points or where one metric is the same at all of them; the interval also with fewer than two categories.
    """
    tau = float(kendalltau(points[X], points[Y]).statistic) if len(points) > 2 else np.nan
    by_category = [group[[X, Y]].to_numpy() for _, group in points.groupby(["dataset", "category"])]
    low = high = np.nan
    if len(by_category) > 1 and not np.isnan(tau):
        draws = np.random.default_rng(seed).integers(len(by_category), size=(_REPLICATES, len(by_category)))
        taus = [kendalltau(*np.concatenate([by_category[i] for i in draw]).T).statistic for draw in draws]
        low, high = (float(bound) for bound in np.nanquantile(taus, [0.025, 0.975]))
    ap = points.loc[points[X] >= HIGH, Y]
    ap_low, ap_high = (float(bound) for bound in ap.quantile([0.05, 0.95]))
    return {
        "n_points": len(points),
        "kendall_tau": tau,
        "low": low,
        "high": high,
        "n_high": len(ap),
        "ap_low": ap_low,
        "ap_high": ap_high,
    }


def inflation_figure(
    points: pd.DataFrame,
    title: str,
    labels: Mapping[str, str],
    highlighted: Sequence[str] | None = None,
    found: Mapping[str, float] | None = None,
) -> Figure:
    """Pixel AUROC, on a logit axis that hides no point, against pixel AP; binormal curves, marginals, Kendall's tau.

    Args:
        points: from ``score_points``, or published results in the same columns.
        title: what the points are from.
        labels: names of methods in print; a missing one prints as it is.
        highlighted: methods with a colour of their own; None takes the first eight.
        found: how far the metrics agree, from ``agreement``; None finds it.
    """
    methods = list(dict.fromkeys(points["method"]))
    coloured = [name for name in (highlighted or methods) if name in methods][:N_HIGHLIGHTED]
    drawn = looks(coloured)
    words = _words(agreement(points) if found is None else found)
    points = points.assign(**{X: points[X].clip(*_SHOWN)})
    rest = points[~points["method"].isin(coloured)]
    with style():
        figure = new_figure(COLUMN, 4.5)
        grid = figure.add_gridspec(2, 2, width_ratios=(6, 1), height_ratios=(1, 6))
        axis = figure.add_subplot(grid[1, 0])
        left = max(_SHOWN[0], min(0.9, float(expit(logit(points[X].min()) - 0.3))))
        axis.set(xscale="logit", xlim=(left, _SHOWN[1]), ylim=(-2, 102))
        axis.set(xlabel=f"{METRICS[X].label} (%)", ylabel=f"{METRICS[Y].label} (%)")
        axis.set_xticks([tick for tick in _TICKS if tick >= left], minor=False)
        axis.set_xticks([], minor=True)
        axis.xaxis.set_major_formatter(lambda tick, _: f"{100 * tick:g}")
        axis.axvspan(HIGH, _SHOWN[1], color=GREY, alpha=0.12, linewidth=0, zorder=0)
        _draw_curves(axis, left, points[RATE].mean())
        axis.scatter(rest[X], 100 * rest[Y], s=4, color=GREY, alpha=0.45, linewidth=0, zorder=2)
        for name, look in drawn.items():
            chosen = points[points["method"] == name]
            axis.scatter(
                chosen[X],
                100 * chosen[Y],
                s=_area(chosen[RATE]),
                color=look.colour,
                marker=look.marker,
                alpha=0.75,
                edgecolor="white",
                linewidth=0.3,
                zorder=3,
            )
        _draw_marginals(
            figure.add_subplot(grid[0, 0], sharex=axis), figure.add_subplot(grid[1, 1], sharey=axis), points
        )
        axis.legend(
            handles=_handles(points, drawn, rest, labels), loc="best", fontsize=6, labelspacing=0.25, handlelength=1.4
        )
        figure.suptitle(f"{printed(title, 60)}\n{words}", fontsize=8)
    return figure


def _handles(
    points: pd.DataFrame, drawn: Mapping[str, Look], rest: pd.DataFrame, labels: Mapping[str, str]
) -> list[Line2D]:
    """The entries of the legend: methods, Anomaly Rates by size, and lines."""

    def mark(label: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="", label=label, **look)

    handles = [
        mark(printed(labels.get(name, name), 18), color=look.colour, marker=look.marker, markersize=5)
        for name, look in drawn.items()
    ]
    if len(rest):
        handles.append(mark(f"{rest['method'].nunique()} others", color=GREY, marker="o", markersize=3))
    if points[RATE].notna().any():
        rates = pd.Series(PREVALENCES[::-1])
        handles += [
            mark(f"AR {100 * rate:g} %", marker="o", color="none", markeredgecolor=GREY, markersize=float(diameter))
            for rate, diameter in zip(rates, np.sqrt(_area(rates)), strict=True)
        ]
    handles.append(Line2D([], [], color=GREY, linewidth=0.7, label="binormal at AR"))
    if points[RATE].mean() > 0:
        handles.append(Line2D([], [], color="black", linewidth=1.4, label="at the mean AR"))
    return handles


def _area(rates: pd.Series) -> NDArray[np.float64]:
    """Marker area in square points: larger where more pixels are anomalous; fixed where the rate is unknown."""
    return np.where(rates.isna(), 11.0, 6 + 75 * np.sqrt(rates.fillna(0.0).to_numpy()))


def _words(result: Mapping[str, float]) -> str:
    if np.isnan(result["kendall_tau"]):
        return f"{result['n_points']:g} points: too few for Kendall's τ"
    interval = "" if np.isnan(result["low"]) else f" [{result['low']:.2f}, {result['high']:.2f}]"
    words = f"{result['n_points']:g} points, Kendall's τ = {result['kendall_tau']:.2f}{interval}"
    if result["n_high"] < 2:
        return words
    return (
        f"{words}\nat AUROC ≥ {100 * HIGH:g} % (shaded), AP runs from "
        f"{100 * result['ap_low']:.0f} to {100 * result['ap_high']:.0f} %"
    )


def _draw_curves(axis: Axes, left: float, rate: float) -> None:
    """Curves with their rate written on them, where they are about as high as asked and away from the axis."""
    auroc = expit(np.linspace(logit(max(left, 0.5)), logit(_SHOWN[1]), 400))
    heights = dict(zip(PREVALENCES, (66, 46, 26), strict=True))
    for prevalence in (*PREVALENCES, *([rate] if rate > 0 else [])):
        own = prevalence == rate
        ap = 100 * binormal_ap(auroc, prevalence)
        axis.plot(auroc, ap, color="black" if own else GREY, linewidth=1.4 if own else 0.7, zorder=1)
        at = max(30, int(np.argmin(np.abs(ap - heights.get(prevalence, 88)))))
        axis.annotate(
            f"{100 * prevalence:.2g} %",
            (auroc[at], ap[at]),
            fontsize=6,
            ha="center",
            va="center",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
            zorder=4,
        )


def _draw_marginals(top: Axes, right: Axes, points: pd.DataFrame) -> None:
    common = {"bins": 30, "color": GREY, "element": "step", "linewidth": 0.6}
    sns.histplot(x=points[X], ax=top, **common)  # bins are even on the logit axis
    sns.histplot(y=100 * points[Y], ax=right, **common)
    top.tick_params(labelbottom=False)
    right.tick_params(labelleft=False)
    top.set(xlabel="", ylabel="points")
    right.set(ylabel="", xlabel="points")
