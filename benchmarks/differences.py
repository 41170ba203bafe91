"""How far two systems lie apart, over images and over seeds: what a claim about them rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aseg_bench import evaluate_maps, read_results
from aseg_bench.analysis.resampling import Resampled, category_rng, count_images, image_weights, mean_of, resample
from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.records import Place

METRICS = ("pixel_auroc", "pixel_ap")
N_REPLICATES = 1000

Numbers = Mapping[Place, Mapping[str, Resampled]]


@dataclass(frozen=True)
class System:
    """A method with its settings, trained once with each of some seeds.

    Attributes:
        label: name in print.
        runs: for each seed, the resampled metrics of every category; the same resampled images for all systems.
        minutes: of training, the mean over seeds.
    """

    label: str
    runs: Sequence[Numbers]
    minutes: float = 0.0

    @property
    def places(self) -> list[Place]:
        """The categories."""
        return list(self.runs[0])

    def value(self, metric: str, place: Place) -> float:
        """Mean over the seeds in one category, a fraction."""
        return float(np.mean([run[place][metric].estimate for run in self.runs]))

    def values(self, metric: str) -> NDArray[np.float64]:
        """Estimate and replicates of the first seed, (categories, 1 + replicates)."""
        numbers = [by_metric[metric] for by_metric in self.runs[0].values()]
        return np.array([np.r_[number.estimate, number.replicates] for number in numbers])

    @cached_property
    def by_seed(self) -> list[float]:
        """Mean pixel AP over the categories, for each seed."""
        return [self.mean("pixel_ap", [run]).estimate for run in self.runs]

    def score(self) -> float:
        """Mean pixel AP over the categories and seeds."""
        return float(np.mean(self.by_seed))

    def mean(self, metric: str, runs: Sequence[Numbers] | None = None) -> Resampled:
        """Mean over the categories and over the seeds; its replicates are of images alone."""
        return _average([mean_of([numbers[metric] for numbers in run.values()]) for run in runs or self.runs])


@dataclass(frozen=True)
class Difference:
    """Mean pixel AP of one system less that of another, fractions: estimate, and its 95 % interval.

    Attributes:
        estimate: the difference.
        low: lower end of the interval.
        high: its upper end.
    """

    estimate: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Of the claim that the first system is the better one."""
        return "supported" if self.low > 0 else "not supported" if self.high < 0 else "not decidable here"

    @property
    def text(self) -> str:
        """In print, in points of pixel AP."""
        return f"{100 * self.estimate:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def system_of(label: str, folders: Sequence[Path], method: str) -> System:
    """A method of some finished runs, which differ in the seed."""
    runs, seconds = [], []
    for folder in folders:
        (results,) = read_results([folder])
        runs.append({place: resampled(maps) for place, (maps,) in results.maps([method]).items()})
        seconds += [
            case.seconds["fit"]
            for key, case in results.folder.record.cases.items()
            if key[0] == method and case.seconds
        ]
    return System(label, runs, float(np.mean(seconds)) / 60)


def resampled(maps: ScoredMaps) -> dict[str, Resampled]:
    """The metrics of one method in one category, on the resampled images that all systems share."""
    counts = count_images(maps.scores, maps.masks, labels=maps.image_labels)
    weights = image_weights(counts.strata, N_REPLICATES, category_rng(0, maps.case.dataset, maps.case.category))
    exact = evaluate_maps(maps.scores, maps.masks, metrics=METRICS)
    return resample(counts, exact, weights)


def difference(first: System, second: System, *, spread_of: System) -> Difference:
    """The paired difference over the same images, with the spread over seeds.

    Its variance is that over images plus that of the means over seeds; a t interval with the degrees of freedom of
    Satterthwaite (1946), https://doi.org/10.2307/3002019.

    Args:
        first: of which the second is subtracted.
        second: the other one.
        spread_of: whose spread over seeds a system is given that was trained with one seed only.
    """
    apart = first.mean("pixel_ap") - second.mean("pixel_ap")
    over_images = float(np.mean((apart.replicates - apart.estimate) ** 2))
    over_seeds = []
    for system in (first, second):
        spread = system if len(system.runs) > 1 else spread_of
        over_seeds.append((float(np.var(spread.by_seed, ddof=1)) / len(system.runs), len(spread.runs) - 1))
    variance = over_images + sum(part for part, _ in over_seeds)
    n_free = variance**2 / max(sum(part**2 / free for part, free in over_seeds), 1e-300)
    half = float(stats.t.ppf(0.975, n_free)) * sqrt(variance)
    return Difference(apart.estimate, apart.estimate - half, apart.estimate + half)


def _average(parts: Sequence[Resampled]) -> Resampled:
    """The mean of numbers from the same images; replicate by replicate, so that it is paired."""
    influences = [part.influence for part in parts if part.influence is not None]
    total = reduce(np.add, influences) / len(parts) if len(influences) == len(parts) else None
    return Resampled(
        float(np.mean([part.estimate for part in parts])),
        np.mean([part.replicates for part in parts], axis=0),
        total,
        float(np.mean([part.error for part in parts])),
    )
