"""Figures in print and on screen: each function takes scores or scored maps and returns a matplotlib figure."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from aseg_bench.analysis.areas import AreaScore, area_scores
from aseg_bench.analysis.scored_maps import ScoredMaps, in_processes
from aseg_bench.files import written_whole
from aseg_bench.metrics import METRICS
from aseg_bench.records import Case, Score
from aseg_bench.reporting.areas import AREA, area_means
from aseg_bench.reporting.figures.areas import areas_figure
from aseg_bench.reporting.figures.budgets import budgets_figure
from aseg_bench.reporting.figures.curves import curves_figure, distributions_figure
from aseg_bench.reporting.figures.inflation import agreement, inflation_figure, published_points, score_points
from aseg_bench.reporting.figures.losses import losses_figure
from aseg_bench.reporting.figures.panels import levels_figure, panels_figure
from aseg_bench.reporting.figures.ranks import ranks_figure
from aseg_bench.reporting.figures.slices import slice_scores, slices_figure
from aseg_bench.reporting.figures.style import FORMATS, Look, file_name, looks, save
from aseg_bench.reporting.figures.thresholds import thresholds_figure
from aseg_bench.reporting.figures.toy import toy_figure
from aseg_bench.reporting.published import PAPER_DATASETS, published
from aseg_bench.reporting.tables import RANKED
from aseg_bench.runs.scores import csv_text

_PAPER_METHODS = "unias_paper_t2"  # source whose methods get a colour among the published


class WrittenFigure(NamedTuple):
    """A figure on disk.

    Attributes:
        title: what it shows.
        dataset: the data set it is about; empty where it is about none.
        category: the category it is about; empty where it is about all.
        paths: one file per format.
    """

    title: str
    dataset: str
    category: str
    paths: list[Path]


def write_figures(
    folder: Path,
    scores: Sequence[Score],
    categories: Sequence[Sequence[ScoredMaps]] = (),
    *,
    logs: Mapping[tuple[str, str], pd.DataFrame] | None = None,
    trainings: pd.DataFrame | None = None,
    unranked: Collection[tuple[Case, str]] = (),
    labels: Mapping[str, str] | None = None,
    datasets: Mapping[str, str] | None = None,
    formats: Sequence[str] = FORMATS,
) -> list[WrittenFigure]:
    """Write all figures of a run, and the numbers of the inflation figures beside them as CSV.

    Args:
        folder: where the files go.
        scores: all scores of the run; no category is needed twice.
        categories: per category, the maps of every method; without them only the figures of scores are written.
        logs: the losses of trainings by method and data set.
        trainings: from ``training_points``.
        unranked: cases and metrics that take no part in ranks.
        labels: names of methods in print; a missing one prints as it is.
        datasets: names of data sets in print; a missing one prints as it is.
        formats: endings, of ``png``, ``svg`` and ``pdf``.
    """
    labels = labels or {}
    cases = [score.case for score in scores] + [maps.case for category in categories for maps in category]
    method_looks = looks([case.method for case in cases])
    areas = [score for maps in chain.from_iterable(categories) for score in area_scores(maps)]
    jobs = [
        partial(_area_figures, folder, areas, method_looks, labels, formats),
        partial(_score_figures, folder, scores, logs or {}, trainings, unranked, labels, datasets or {}, formats),
        *(partial(_category_figures, folder, category, method_looks, labels, formats) for category in categories),
    ]
    return [figure for figure in chain.from_iterable(in_processes(jobs)) if figure is not None]


def _score_figures(
    folder: Path,
    scores: Sequence[Score],
    logs: Mapping[tuple[str, str], pd.DataFrame],
    trainings: pd.DataFrame | None,
    unranked: Collection[tuple[Case, str]],
    labels: Mapping[str, str],
    datasets: Mapping[str, str],
    formats: Sequence[str],
) -> list[WrittenFigure | None]:
    written: list[WrittenFigure | None] = []
    points = score_points(scores)
    agreements = _write_points(folder / "inflation.csv", points) if len(points) else {}
    for dataset, some in points.groupby("dataset", sort=False):
        name = str(dataset)
        figure = inflation_figure(some, datasets.get(name, name), labels, found=agreements[name])
        written.append(_write(folder, formats, "Inflation of AUROC", name, "", ["inflation", name], figure))
    for dataset in dict.fromkeys(score.case.dataset for score in scores):
        here = [
            score for score in scores if score.case.dataset == dataset and (score.case, score.metric) not in unranked
        ]
        of_data = [score for score in scores if score.case.dataset == dataset]
        apart = thresholds_figure(of_data, looks([score.case.method for score in scores]), labels)
        title = "Thresholds from normal images"
        written.append(_write(folder, formats, title, dataset, "", ["thresholds", dataset], apart))
        for metric in RANKED:
            ranks = ranks_figure(here, metric, labels)
            title = f"Mean ranks by {METRICS[metric].label}"
            written.append(_write(folder, formats, title, dataset, "", ["ranks", dataset, metric], ranks))
    for dataset, some in trainings.groupby("dataset", sort=False) if trainings is not None else ():
        name, title = str(dataset), "Pixel AP over minutes of training"
        written.append(_write(folder, formats, title, name, "", ["budgets", name], budgets_figure(some, labels)))
    for (method, dataset), log in logs.items():
        title = f"Losses of {labels.get(method, method)}"
        written.append(_write(folder, formats, title, dataset, "", ["losses", method, dataset], losses_figure(log)))
    return written


def _area_figures(
    folder: Path,
    areas: Sequence[AreaScore],
    method_looks: Mapping[str, Look],
    labels: Mapping[str, str],
    formats: Sequence[str],
) -> list[WrittenFigure | None]:
    return [
        _write(
            folder,
            formats,
            "Scores by area of defects",
            dataset,
            "",
            [AREA, dataset],
            areas_figure(means, method_looks, labels),
        )
        for dataset, means in area_means(areas).items()
    ]


def _category_figures(
    folder: Path,
    category: Sequence[ScoredMaps],
    method_looks: Mapping[str, Look],
    labels: Mapping[str, str],
    formats: Sequence[str],
) -> list[WrittenFigure | None]:
    case, defined = category[0].case, [maps for maps in category if maps.threshold is not None]
    figures = {"panels": ("Worst, median and best image", panels_figure(category, labels))}
    if defined:
        rows = [row for maps in defined for row in slice_scores(maps)]
        figures["curves"] = ("Curves", curves_figure(defined, method_looks, labels))
        figures["distributions"] = ("Distributions", distributions_figure(defined, labels))
        slices = slices_figure(case.category, rows, method_looks, labels)
        figures["slices"] = ("Kinds and sizes of defects", slices)
    return [
        _write(folder, formats, title, case.dataset, case.category, [case.dataset, case.category, name], figure)
        for name, (title, figure) in figures.items()
    ]


def _write(
    folder: Path,
    formats: Sequence[str],
    title: str,
    dataset: str,
    category: str,
    name: Sequence[str],
    figure: Figure | None,
) -> WrittenFigure | None:
    if figure is None:
        return None
    return WrittenFigure(title, dataset, category, save(figure, folder, file_name(*name), formats))


def write_published_figures(folder: Path, formats: Sequence[str] = FORMATS) -> list[WrittenFigure]:
    """Write the inflation figures from the published numbers alone, for the paper's two data sets, and the toy.

    The numbers, of all data sets, are written beside them as CSV.
    """
    points = published_points(published())
    agreements = _write_points(folder / "inflation_published.csv", points)
    highlighted = list(published(source=_PAPER_METHODS)["method"].unique())
    toy = save(toy_figure(), folder, file_name("toy"), formats)
    written = [WrittenFigure("Toy demonstration: growing false positives", "", "", toy)]
    for dataset, label in PAPER_DATASETS.items():
        some = points[points["dataset"] == dataset]
        title = f"{label}: published numbers of {some['method'].nunique()} methods"
        figure = inflation_figure(some, title, {}, highlighted, agreements[dataset])
        paths = save(figure, folder, file_name("inflation_published", dataset), formats)
        written.append(WrittenFigure("Inflation of AUROC in published numbers", dataset, "", paths))
    return written


def write_levels_figures(folder: Path, categories: Sequence[Sequence[ScoredMaps]]) -> list[WrittenFigure]:
    """Write a figure of single levels and their product per category: of each kind of defect the image of median area.

    Args:
        folder: where the files go.
        categories: per category, the maps of every level in the place of a method, coarse to fine.
    """
    written = []
    for category in categories:
        case, masks = category[0].case, category[0].masks
        rows = []
        for part in category[0].counts.slices:
            if part.by == "kind":
                position = sorted(part.positions, key=lambda i: int(masks[i].sum()))[len(part.positions) // 2]
                levels = {f"level {maps.case.method}": maps.scores[position] for maps in category}
                rows.append((category[0].picture(position), levels, masks[position]))
        if rows:
            paths = save(levels_figure(rows), folder, file_name("levels", case.dataset, case.category))
            written.append(WrittenFigure("Levels and their product", case.dataset, case.category, paths))
    return written


def _write_points(path: Path, points: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Write the points of inflation figures and, as ``..._summary.csv``, how far they agree by data set.

    Returns:
        What the summary holds.
    """
    texts = points.select_dtypes(exclude="number").columns
    _write_csv(path, points.assign(**{column: points[column].map(csv_text) for column in texts}))
    found = {str(name): agreement(some) for name, some in points.groupby("dataset", sort=False)}
    rows = [{"dataset": csv_text(name), **one} for name, one in found.items()]
    _write_csv(path.with_name(f"{path.stem}_summary.csv"), pd.DataFrame(rows))
    return found


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with written_whole(path) as temporary:
        frame.to_csv(temporary, index=False)


__all__ = [
    "FORMATS",
    "WrittenFigure",
    "levels_figure",
    "write_figures",
    "write_levels_figures",
    "write_published_figures",
]
