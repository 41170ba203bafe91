"""Scores by the area of defects, as a table: which methods find small defects as well as large ones."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from aseg_bench.analysis.areas import AreaScore
from aseg_bench.analysis.slices import AREAS
from aseg_bench.metrics import METRICS
from aseg_bench.records import MEAN
from aseg_bench.reporting.cells import DASH, Cell, Footnotes, Table, ranks
from aseg_bench.runs.scores import Key, Result

AREA, MISSED = "areas", "missed"
SHOWN = {
    "pixel_ap": "Pixel AP (%)",
    "aupro": "AUPRO to 5 % FPR (%)",
    "recall": "Recall at DSC (%)",
    MISSED: "Missed defects at DSC (%)",
    "dsc": "DSC (%)",
}  # fields of AreaScore
_AS = {"pixel_ap": "pixel_ap", "aupro": "aupro_0.3", "recall": "recall", "dsc": "dsc"}  # as in METRICS
_MARKED = {"pixel_ap": "pixel_ap", "aupro": "pixel_ap", "recall": "dsc", MISSED: "dsc", "dsc": "dsc"}
_HIGHER_IS_BETTER = {MISSED: False, **{name: METRICS[key].higher_is_better for name, key in _AS.items()}}


class AreaMean(NamedTuple):
    """Defects of an area over the categories of a data set that have any; means of fractions."""

    n_defects: int
    n_categories: int
    pixel_ap: float
    aupro: float
    recall: float
    missed: float
    dsc: float


def area_means(scores: Sequence[AreaScore]) -> dict[str, dict[str, dict[str, AreaMean]]]:
    """By data set, method and area; an area without a defect is left out."""
    found: dict[str, dict[str, dict[str, list[AreaScore]]]] = {}
    for score in scores:
        of_dataset = found.setdefault(score.case.dataset, {})
        of_dataset.setdefault(score.case.method, {}).setdefault(score.area, []).append(score)
    return {
        dataset: {
            method: {
                area: AreaMean(
                    sum(score.n_defects for score in some),
                    len(some),
                    **{name: fmean(getattr(score, name) for score in some) for name in SHOWN},
                )
                for area, some in by_area.items()
            }
            for method, by_area in by_method.items()
        }
        for dataset, by_method in found.items()
    }


def area_tables(
    scores: Sequence[AreaScore],
    results: Mapping[Key, Result],
    labels: Mapping[str, str],
    datasets: Mapping[str, str],
    size: str | int,
    n_runs: int,
) -> list[Table]:
    """One table per data set: methods by areas, a block for each metric.

    What is odd about a method's mean pixel AP, or DSC, is said of what is of the same pixels, or at the same threshold,
    and keeps it from being best; so does a metric that was not scored, and other defects than those of its rivals.

    Args:
        scores: of all methods and categories.
        results: from ``marked``.
        labels: names of methods in print; a missing one prints as it is.
        datasets: labels of the data sets by key; an unknown key prints as it is.
        size: in which the protocol scores maps.
        n_runs: in which the methods were run; each has the maps of one.
    """
    tables = []
    means_of = {(key.dataset, key.method, key.metric): one for key, one in results.items() if key.category == MEAN}
    for dataset, by_method in area_means(scores).items():
        notes = Footnotes()
        counts: dict[tuple[str, ...], list[str]] = {}  # maps of other sizes have other defects
        for method, means in by_method.items():
            texts = (f"{means[a].n_defects} ({means[a].n_categories})" if a in means else DASH for a in AREAS)
            counts.setdefault(tuple(texts), []).append(labels.get(method, method))
        names = [f"of {', '.join(names)}" if len(counts) > 1 else "all" for names in counts.values()]
        blocks = [
            ("Defects (categories)", [[Cell(name), *map(Cell, one)] for name, one in zip(names, counts, strict=True)])
        ]
        for metric, title in SHOWN.items():
            marked = [means_of.get((dataset, method, _MARKED[metric])) for method in by_method]
            cells = zip(*_columns(metric, list(by_method.values()), marked, notes), strict=True)
            blocks.append(
                (
                    title,
                    [[Cell(labels.get(method, method)), *row] for method, row in zip(by_method, cells, strict=True)],
                )
            )
        caption = (
            f"{datasets.get(dataset, dataset)} by the area of defects (8-connected regions) as a share of their image, "
            "means over the categories that have such defects; other defects count as void. AP is against all normal "
            "pixels, so chance reaches less where defects are small: compare it within a column; AUPRO does not depend "
            "on how many pixels are anomalous. Recall of pixels, defects without a found pixel and DSC (mean of the "
            "images with such a defect) are at the category's threshold of the DSC."
        )
        if size == "map":
            caption += " Areas are those in the maps' size; --protocol native takes the images' own."
        if n_runs > 1:
            caption += " Of each method it is the first run that has its maps."
        tables.append(
            Table(f"{dataset}_{AREA}", caption, [Cell("Method"), *map(Cell, AREAS)], blocks, notes.by_letter())
        )
    return tables


def _columns(
    metric: str, methods: Sequence[Mapping[str, AreaMean]], marked: Sequence[Result | None], notes: Footnotes
) -> Iterator[list[Cell]]:
    """The cells of all methods by area, ranked among those of the same defects whose values may be ranked."""
    for area in AREAS:
        means = [by_area.get(area) for by_area in methods]
        is_alike = len({(one.n_defects, one.n_categories) for one in means if one}) == 1
        texts = [f"{100 * getattr(one, metric):.2f}" if one else DASH for one in means]
        rivals = [
            text if is_alike and known and not known.is_disqualified else DASH
            for text, known in zip(texts, marked, strict=True)
        ]
        letters = [
            notes.letters(Result({}, marks=one.marks)) if mean and one else ""
            for mean, one in zip(means, marked, strict=True)
        ]
        yield list(map(Cell, texts, ranks(rivals, _HIGHER_IS_BETTER[metric]), letters))
