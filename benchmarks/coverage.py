"""How often 95 % intervals hold the truth, and how often methods that are alike are told apart, by simulation."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy import stats
from tabulate import tabulate

from aseg_bench.files import written_whole
from aseg_bench.metrics import METRICS
from aseg_bench.statistics import RESAMPLED, ImageCounts, image_weights, resample, weighted_values

N_CASES = 1000
N_TRUTH = 40_000  # images that stand for all images of a kind
_N_PIXELS = 2000  # of an image
_EDGES = np.concatenate([[-np.inf], np.linspace(-3, 8, 111), [np.inf]])  # of the bins


class Kind(NamedTuple):
    """A kind of images, whose scores shift from image to image, and of methods on them."""

    n_normal: int
    n_anomalous: int
    size_spread: float  # standard deviation of the logarithm of a defect's size; its median is 3 % of the image
    signal: float  # of a defect, in standard deviations of the normal pixels
    signal_spread: float  # from defect to defect
    signal_by_size: float = 0.0  # more of it in a defect of e times the size, per size_spread


KINDS = {
    "even": Kind(35, 65, 0.5, 3.0, 0.5),
    "few": Kind(10, 10, 1.0, 3.8, 0.6, 0.2),
    "uneven": Kind(15, 20, 1.0, 4.2, 0.8),
    "very uneven": Kind(20, 60, 1.4, 3.5, 0.7),
    "large ones missed": Kind(20, 30, 1.0, 2.6, 0.6, -0.2),
    "many": Kind(60, 100, 1.0, 3.0, 0.5),
    "weak": Kind(20, 40, 1.0, 2.0, 0.6),  # with the last: the best precision + recall is reached at both ends
    "very weak": Kind(30, 30, 1.0, 1.6, 1.2),
}


class Share(NamedTuple):
    """Shares of the simulated cases of a kind, by metric key.

    Attributes:
        covered: the interval holds the value of all images of the kind.
        told_apart: two methods that are alike differ with p < 0.05.
    """

    covered: dict[str, float]
    told_apart: dict[str, float]


def write_report(out: Path, n_cases: int = N_CASES) -> None:
    """Simulate every kind and write ``coverage.md``."""
    shares = Parallel(n_jobs=-1)(delayed(partial(simulated, kind, n_cases))() for kind in KINDS.values())
    rows = []
    for (name, kind), share in zip(KINDS.items(), shares, strict=True):
        truth = values_of(*binned_images(np.random.default_rng(0), _large(kind)))
        cells = [f"{100 * part[key]:.1f}" for part in share for key in RESAMPLED]
        rows.append([name, kind.n_anomalous, *(f"{100 * truth[key]:.1f}" for key in RESAMPLED), *cells])
    labels = [METRICS[key].label for key in RESAMPLED]
    heads = ["kind", "anomalous images", *labels, *(f"{label} held" for label in labels)]
    heads += [f"{label} told apart" for label in labels]
    text = [
        "# Intervals and tests of `compare`: how often they are right\n",
        f"Written by `python benchmark.py coverage`: {n_cases} simulated categories of each kind, seed 0, 300 "
        "replicates. All numbers are percent. Behind the true values, how often the 95 % interval of one method holds "
        "the truth (95 is right), then how often two methods that are alike differ with p < 0.05 (5 is right). The "
        f"simulation itself is good to {200 * np.sqrt(0.95 * 0.05 / n_cases):.1f}. `benchmarks/coverage.py` describes "
        "the kinds.\n",
        tabulate(rows, headers=heads, tablefmt="pipe", disable_numparse=True, colalign=["left"] + ["right"] * 10),
        "",
    ]
    with written_whole(out / "coverage.md") as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")


def simulated(kind: Kind, n_cases: int, seed: int = 0) -> Share:
    """Draw categories of a kind, with two methods that are alike, and look at their intervals and differences."""
    rng = np.random.default_rng(seed)
    truth = values_of(*binned_images(rng, _large(kind)))
    covered, told_apart = dict.fromkeys(RESAMPLED, 0), dict.fromkeys(RESAMPLED, 0)
    for _ in range(n_cases):
        first, second = binned_images(rng, kind, n_methods=2)
        weights = image_weights(first.is_anomalous, 300, rng)
        one, other = (resample(counts, values_of(counts), weights, n_threads=1) for counts in (first, second))
        for key in RESAMPLED:
            low, high = one[key].interval()
            covered[key] += int(low <= truth[key] <= high)
            told_apart[key] += int((one[key] - other[key]).p_value < 0.05)
    return Share(*({key: n / n_cases for key, n in found.items()} for found in (covered, told_apart)))


def binned_images(rng: np.random.Generator, kind: Kind, n_methods: int = 1) -> list[ImageCounts]:
    """Images of a kind, counted, for each method: the shift of the scores is the image's, the signal the method's."""
    n_images = kind.n_normal + kind.n_anomalous
    shift, size, *signals = rng.normal(size=(2 + n_methods, n_images, 1))
    share = 0.03 * np.exp(kind.size_spread * size[:, 0])
    sizes = np.clip(share * _N_PIXELS, 1, 0.6 * _N_PIXELS).astype(int) * (np.arange(n_images) >= kind.n_normal)
    counted = []
    for signal in signals:
        centre = 0.3 * shift + kind.signal + kind.signal_by_size * size + kind.signal_spread * signal
        normal, anomalous = (
            rng.multinomial(n_drawn, np.diff(stats.norm.cdf(_EDGES - mean), axis=1)).astype(np.float64)
            for n_drawn, mean in ((_N_PIXELS - sizes, 0.3 * shift), (sizes, centre))
        )
        counted.append(ImageCounts(anomalous, normal))
    return counted


def values_of(counts: ImageCounts) -> dict[str, float]:
    """The metrics of ``RESAMPLED`` on the bins."""
    found = weighted_values(counts, np.ones((1, len(counts.normal))))
    return {key: float(values[0]) for key, (values, _) in found.items()}


def _large(kind: Kind) -> Kind:
    times = N_TRUTH // (kind.n_normal + kind.n_anomalous)
    return kind._replace(n_normal=times * kind.n_normal, n_anomalous=times * kind.n_anomalous)
