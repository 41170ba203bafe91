"""Methods compared on the same images: resampled numbers of every method at every place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aseg_bench.analysis.resampling import (
    RESAMPLED,
    Resampled,
    category_rng,
    count_images,
    image_weights,
    mean_of,
    resample,
)
from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.records import MEAN, Case, Place, Score

_N_FEW = 5  # anomalous images; coverage was not simulated with fewer


@dataclass(frozen=True)
class Comparison:
    """Resampled numbers of every method at every place.

    Attributes:
        methods: in the order of the tables.
        numbers: place -> metric -> method -> number; places are categories, data-set means and the overall mean.
        skipped: place -> why it has no intervals.
        few: place -> its number of anomalous images, where that is too low for an interval to be trusted.
        n_replicates: of each number.
        unranked: place, metric and method -> why its number is compared with no other.
    """

    methods: Sequence[str]
    numbers: Mapping[Place, Mapping[str, Mapping[str, Resampled]]]
    skipped: Mapping[Place, str]
    few: Mapping[Place, int]
    n_replicates: int
    unranked: Mapping[tuple[Place, str, str], str] = field(default_factory=dict)

    def ranked(self, place: Place, metric: str) -> dict[str, Resampled]:
        """The numbers at a place that are compared with one another, by method."""
        numbers = self.numbers[place].get(metric, {})
        return {name: number for name, number in numbers.items() if (place, metric, name) not in self.unranked}


def compare_methods(
    categories: Iterable[Sequence[ScoredMaps]], scores: Iterable[Score], *, n_replicates: int = 1000, seed: int = 0
) -> Comparison:
    """Resample the images of every category, the same ones for all methods.

    Args:
        categories: for each category, the maps of every method.
        scores: hold the exact values.
        n_replicates: resampled sets of images.
        seed: of the resampling.

    Raises:
        InputError: no category can be resampled, or a map cannot be read.
    """
    exact = {(score.case, score.metric): score.value for score in scores}
    numbers: dict[Place, dict[str, dict[str, Resampled]]] = {}
    skipped: dict[Place, str] = {}
    few: dict[Place, int] = {}
    methods: list[str] = []
    for category in categories:
        case = category[0].case
        place = (case.dataset, case.category)
        methods = [maps.case.method for maps in category]
        try:
            found, n_anomalous = _resampled(category, exact, n_replicates, category_rng(seed, *place))
        except UndefinedMetricError as error:
            skipped[place] = str(error)
            continue
        if found:
            numbers[place] = found
        if n_anomalous < _N_FEW:
            few[place] = n_anomalous
    if not numbers:
        why = "; ".join(f"{category}: {reason}" for (_, category), reason in skipped.items())
        raise InputError(f"no category has scores that can be resampled ({why or 'none is scored'})")
    return Comparison(methods, _with_means(numbers), skipped, few, n_replicates)


def _resampled(
    category: Sequence[ScoredMaps],
    exact: Mapping[tuple[Case, str], float | None],
    n_replicates: int,
    rng: np.random.Generator,
) -> tuple[dict[str, dict[str, Resampled]], int]:
    """Numbers by metric and method of one category, and its least number of anomalous images.

    Raises:
        UndefinedMetricError: for one of the methods, and so for all: they have no number to be compared with.
    """
    numbers: dict[str, dict[str, Resampled]] = {}
    weights, fewest = None, len(category[0].samples)
    for maps in category:
        counts = count_images(maps.scores, maps.masks, labels=maps.image_labels)
        n_normal, n_anomalous = (int((counts.strata == kind).sum()) for kind in (0, 1))
        if 1 in (n_anomalous, n_normal):
            raise UndefinedMetricError("a single normal or anomalous image, which cannot be resampled")
        if weights is None:
            weights = image_weights(counts.strata, n_replicates, rng)
        fewest = min(fewest, n_anomalous)
        values = {key: value for key in RESAMPLED if (value := exact.get((maps.case, key))) is not None}
        for metric, number in resample(counts, values, weights).items():
            numbers.setdefault(metric, {})[maps.case.method] = number
    return numbers, fewest


def _with_means(
    numbers: Mapping[Place, Mapping[str, Mapping[str, Resampled]]],
) -> dict[Place, dict[str, dict[str, Resampled]]]:
    """The places with the mean of each data set behind its categories, and the mean of several data sets last."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in numbers))
    result: dict[Place, dict[str, dict[str, Resampled]]] = {}
    for dataset in datasets:
        inside = {place: dict(by_metric) for place, by_metric in numbers.items() if place[0] == dataset}
        result |= {place: {metric: dict(found) for metric, found in by.items()} for place, by in inside.items()}
        result[dataset, MEAN] = _mean(list(inside.values()))
    if len(datasets) > 1:
        result[MEAN, MEAN] = _mean([result[dataset, MEAN] for dataset in datasets])
    return result


def _mean(parts: Sequence[Mapping[str, Mapping[str, Resampled]]]) -> dict[str, dict[str, Resampled]]:
    """Means of the metrics and methods that every part has."""
    return {
        metric: {
            method: mean_of([part[metric][method] for part in parts])
            for method in parts[0][metric]
            if all(method in part.get(metric, {}) for part in parts)
        }
        for metric in parts[0]
        if all(metric in part for part in parts)
    }
