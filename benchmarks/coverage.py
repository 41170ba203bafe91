"""How often 95 % intervals hold the truth, and how often equally good methods are told apart, by simulation."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy import stats
from tabulate import tabulate

from aseg_bench.analysis.resampling import RESAMPLED, ImageCounts, image_weights, resample, weighted_values
from aseg_bench.files import written_whole
from aseg_bench.metrics import METRICS

N_CASES = 1000
N_REPLICATES = 300
N_TRUTH = 40_000  # images that stand for all images of a kind
_EDGES = np.concatenate([[-np.inf], np.linspace(-3, 8, 111), [np.inf]])  # of the bins


class Kind(NamedTuple):
    """A kind of images, whose scores shift from image to image, and of the methods that score them."""

    n_normal: int
    n_anomalous: int
    size_spread: float  # standard deviation of the logarithm of a defect's size
    signal: float  # of a defect, in standard deviations of the normal pixels
    signal_spread: float  # from defect to defect
    signal_by_size: float = 0.0  # more of it in a defect of e times the size, per size_spread
    share: float = 0.03  # of an image's pixels, in the median defect
    n_pixels: int = 2000  # of an image


KINDS = {
    "even": Kind(35, 65, 0.5, 3.0, 0.5),
    "few": Kind(10, 10, 1.0, 3.8, 0.6, 0.2),
    "uneven": Kind(15, 20, 1.0, 4.2, 0.8),
    "very uneven": Kind(20, 60, 1.4, 3.5, 0.7),
    "large ones missed": Kind(20, 30, 1.0, 2.6, 0.6, -0.2),
    "many": Kind(60, 100, 1.0, 3.0, 0.5),
    "weak": Kind(20, 40, 1.0, 2.0, 0.6),
    "very weak": Kind(30, 30, 1.0, 1.6, 1.2),
    "rare": Kind(30, 30, 0.7, 0.7, 0.5, share=1.5e-4, n_pixels=200_000),
    "rare and found": Kind(30, 30, 0.7, 4.0, 0.5, share=1.5e-4, n_pixels=200_000),
}


class Checked(NamedTuple):
    """What the simulated cases of a kind show about one metric.

    Attributes:
        truth: value of all images of the kind.
        covered: share of the cases whose interval holds the truth; 0.95 is right.
        width: mean width of the intervals, divided by that of an interval from the true spread of the estimates.
        false_alarms: share of the cases where two equally good methods differ with p < 0.05; 0.05 is right.
        found: share of the cases where a method whose signal is weaker by one standard deviation differs with p < 0.05.
    """

    truth: float
    covered: float
    width: float
    false_alarms: float
    found: float


def write_report(out: Path, n_cases: int = N_CASES) -> None:
    """Simulate every kind and write ``coverage.md``."""
    checked = Parallel(n_jobs=-1)(delayed(partial(simulated, kind, n_cases))() for kind in KINDS.values())
    rows = []
    for (name, kind), by_metric in zip(KINDS.items(), checked, strict=True):
        for key, found in by_metric.items():
            truth = f"{100 * found.truth:.3g}"
            shares = [f"{100 * share:.1f}" for share in (found.covered, found.false_alarms, found.found)]
            width = f"{found.width:.2f}"
            rows.append([name, kind.n_anomalous, METRICS[key].label, truth, shares[0], width, *shares[1:]])
    heads = ["kind", "anomalous images", "metric", "truth (%)", "held (%)", "width", "false alarms (%)", "found (%)"]
    noise = 200 * np.sqrt(0.95 * 0.05 / n_cases)
    text = [
        "# Intervals and tests of `compare`: how often they are right\n",
        f"Written by `python benchmark.py coverage`: {n_cases} simulated categories of each kind, {N_REPLICATES} "
        "replicates, seed 0.\n",
        "- held: 95 % intervals that hold the truth; 95 is right",
        "- width: of the intervals, in that of one which knows how the estimates spread; 1 is ideal",
        "- false alarms: pairs of methods that are alike and differ with p < 0.05; 5 is right, fewer is cautious",
        "- found: pairs where one method's signal is weaker by one standard deviation that differ with p < 0.05\n",
        f"The simulation itself is good to {noise:.1f} points. `benchmarks/coverage.py` describes the kinds; in the "
        "weak ones the threshold of the DSC jumps between the top of the scores and their middle, and in the rare ones "
        "0.01 % of the pixels are anomalous.\n",
        tabulate(
            rows,
            headers=heads,
            tablefmt="pipe",
            disable_numparse=True,
            colalign=["left", "right", "left"] + ["right"] * 5,
        ),
        "",
    ]
    with written_whole(out / "coverage.md") as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")


def simulated(kind: Kind, n_cases: int, seed: int = 0) -> dict[str, Checked]:
    """Draw categories of a kind, with two equally good methods and a weaker one; check their intervals and tests."""
    rng = np.random.default_rng(seed)
    truth = values_of(binned_images(rng, _large(kind), [0])[0])
    estimates, lows, highs, false_alarms, found = np.zeros((5, n_cases, len(RESAMPLED)))
    for case in range(n_cases):
        methods = binned_images(rng, kind, [0, 0, -1])
        weights = image_weights(methods[0].is_anomalous, N_REPLICATES, rng)
        one, alike, weaker = (resample(counts, values_of(counts), weights, n_threads=1) for counts in methods)
        for place, key in enumerate(RESAMPLED):
            estimates[case, place] = one[key].estimate
            lows[case, place], highs[case, place] = one[key].interval()
            false_alarms[case, place] = (one[key] - alike[key]).p_value < 0.05
            found[case, place] = (one[key] - weaker[key]).p_value < 0.05
    right = np.array([truth[key] for key in RESAMPLED])
    covered = ((lows <= right) & (right <= highs)).mean(axis=0)
    width = (highs - lows).mean(axis=0) / (2 * stats.norm.ppf(0.975) * estimates.std(axis=0))
    columns = zip(right, covered, width, false_alarms.mean(axis=0), found.mean(axis=0), strict=True)
    return {key: Checked(*map(float, column)) for key, column in zip(RESAMPLED, columns, strict=True)}


def binned_images(rng: np.random.Generator, kind: Kind, signals: Sequence[float]) -> list[ImageCounts]:
    """Counted images of a kind, for each method: methods share an image's shift of the scores, not the signal.

    Args:
        rng: draws images and methods.
        kind: of the images.
        signals: per method, what its signal has over that of the kind.
    """
    n_images = kind.n_normal + kind.n_anomalous
    shift, size = rng.normal(size=(2, n_images, 1))
    drawn = kind.share * kind.n_pixels * np.exp(kind.size_spread * size[:, 0])
    sizes = np.clip(drawn, 1, 0.6 * kind.n_pixels).astype(int) * (np.arange(n_images) >= kind.n_normal)
    counted = []
    for signal in signals:
        own = kind.signal + signal + kind.signal_spread * rng.normal(size=(n_images, 1))
        centre = 0.3 * shift + own + kind.signal_by_size * size
        normal, anomalous = (
            rng.multinomial(n_drawn, np.diff(stats.norm.cdf(_EDGES - mean), axis=1)).astype(np.float64)
            for n_drawn, mean in ((kind.n_pixels - sizes, 0.3 * shift), (sizes, centre))
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
