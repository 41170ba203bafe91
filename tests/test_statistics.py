from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from aseg_bench.errors import InputError
from aseg_bench.metrics import evaluate_maps
from aseg_bench.statistics import (
    RESAMPLED,
    ImageCounts,
    Resampled,
    count_images,
    image_weights,
    mean_of,
    resample,
    weighted_values,
)

LABELS = np.array([False] * 4 + [True] * 6)


def drawn_maps(seed: int, n_scores: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    masks = np.zeros((10, 6, 5), dtype=np.bool_)
    masks[LABELS] = rng.random((6, 6, 5)) < 0.3
    masks[LABELS, 0, 0] = True
    scores = rng.integers(n_scores, size=masks.shape) + masks * rng.integers(2, size=masks.shape)
    return scores.astype(np.float32), masks


def exact_values(scores: NDArray[np.float32], masks: NDArray[np.bool_]) -> list[float]:
    values = evaluate_maps(scores, masks, metrics=RESAMPLED)
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), scores.ravel()))
    assert values["pixel_ap"] == pytest.approx(average_precision_score(masks.ravel(), scores.ravel()))
    return [values[key] for key in RESAMPLED]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_scores=st.sampled_from([2, 5, 1000]),
    n_thresholds=st.integers(2, 12),
    repeats=st.lists(st.integers(0, 3), min_size=9, max_size=9),
)
def test_weighted_values_lie_within_their_error_of_those_of_repeated_images(
    seed: int, n_scores: int, n_thresholds: int, repeats: list[int]
) -> None:
    scores, masks = drawn_maps(seed, n_scores)
    weights = np.array([*repeats, 1])
    exact = exact_values(np.repeat(scores, weights, axis=0), np.repeat(masks, weights, axis=0))
    counts = count_images(scores, masks, n_thresholds=n_thresholds)
    found = weighted_values(counts, weights[None].astype(np.float64))
    for key, value in zip(RESAMPLED, exact, strict=True):
        (on_grid,), (error,) = found[key]
        assert abs(on_grid - value) <= error + 1e-12


def test_the_error_falls_with_the_number_of_thresholds() -> None:
    rng = np.random.default_rng(0)
    masks = np.repeat(LABELS, 400).reshape(10, 20, 20) & (rng.random((10, 20, 20)) < 0.2)
    scores = rng.standard_normal(masks.shape) + 2 * masks
    errors = []
    for n_thresholds in (10, 120):
        counts = count_images(scores, masks, n_thresholds=n_thresholds)
        found = weighted_values(counts, np.ones((1, 10)))
        errors.append([found[key][1][0] for key in RESAMPLED[:2]])
    assert np.all(np.array(errors[1]) < np.array(errors[0]) / 5)
    assert max(errors[1]) < 0.01


def test_weights_keep_the_total_of_normal_and_of_anomalous_images() -> None:
    weights = image_weights(LABELS, 50, np.random.default_rng(0))
    assert weights[:, LABELS].sum(axis=1) == pytest.approx(6)
    assert weights[:, ~LABELS].sum(axis=1) == pytest.approx(4)


def test_the_resampled_variance_of_a_mean_is_unbiased() -> None:
    values = np.arange(5.0)
    weights = image_weights(np.ones(5, dtype=np.bool_), 40_000, np.random.default_rng(0))
    assert (weights @ values / 5).var() == pytest.approx(values.var(ddof=1) / 5, rel=0.03)


class Kind(NamedTuple):
    """A kind of images of 2,000 pixels, whose scores shift from image to image, and a method on them."""

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
}


def binned_images(rng: np.random.Generator, kind: Kind) -> ImageCounts:
    n_images, n_pixels = kind.n_normal + kind.n_anomalous, 2000
    edges = np.concatenate([[-np.inf], np.linspace(-3, 8, 111), [np.inf]])
    shift, size, signal = rng.normal(size=(3, n_images, 1))
    share = 0.03 * np.exp(kind.size_spread * size[:, 0])
    sizes = np.clip(share * n_pixels, 1, 0.6 * n_pixels).astype(int) * (np.arange(n_images) >= kind.n_normal)
    shift *= 0.3
    centre = shift + kind.signal + kind.signal_by_size * size + kind.signal_spread * signal
    normal, anomalous = (
        rng.multinomial(n_drawn, np.diff(stats.norm.cdf(edges - mean), axis=1)).astype(np.float64)
        for n_drawn, mean in ((n_pixels - sizes, shift), (sizes, centre))
    )
    return ImageCounts(anomalous, normal)


def coverage(kind: Kind, n_cases: int, seed: int = 0) -> dict[str, float]:
    """Share of the cases whose interval holds the value of 20,000 images of the kind."""
    rng = np.random.default_rng(seed)
    times = 20_000 // (kind.n_normal + kind.n_anomalous)
    truth = values_of(
        binned_images(rng, kind._replace(n_normal=kind.n_normal * times, n_anomalous=kind.n_anomalous * times))
    )
    hits = dict.fromkeys(RESAMPLED, 0)
    for _ in range(n_cases):
        counts = binned_images(rng, kind)
        weights = image_weights(counts.is_anomalous, 300, rng)
        for key, resampled in resample(counts, values_of(counts), weights, n_threads=1).items():
            low, high = resampled.interval()
            hits[key] += int(low <= truth[key] <= high)
    return {key: n / n_cases for key, n in hits.items()}


def values_of(counts: ImageCounts) -> dict[str, float]:
    return {
        key: float(values[0]) for key, (values, _) in weighted_values(counts, np.ones((1, len(counts.normal)))).items()
    }


@pytest.mark.parametrize("kind", ["few", "uneven", "very uneven", "large ones missed"])
def test_intervals_cover_the_truth_in_93_to_97_of_100_cases(kind: str) -> None:
    n_cases = 120
    noise = 2 * np.sqrt(0.95 * 0.05 / n_cases)  # of the simulation itself
    for key, share in coverage(KINDS[kind], n_cases).items():
        assert 0.93 - noise <= share <= 0.97 + noise, (key, share)


def test_an_interval_holds_its_estimate_and_a_perfect_method_is_certain() -> None:
    scores, masks = drawn_maps(0, 5)
    weights = image_weights(LABELS, 100, np.random.default_rng(0))
    for maps in (scores, masks.astype(np.float32)):
        exact = dict(zip(RESAMPLED, exact_values(maps, masks), strict=True))
        for resampled in resample(count_images(maps, masks, n_thresholds=3), exact, weights).values():
            low, high = resampled.interval()
            assert 0 <= low <= resampled.estimate + 1e-12
            assert resampled.estimate - 1e-12 <= high <= 1
            assert (high - low < 1e-12) == (resampled.estimate == 1)


def test_images_are_paired_a_method_does_not_differ_from_itself() -> None:
    scores, masks = drawn_maps(0, 5)
    weights = image_weights(LABELS, 100, np.random.default_rng(0))
    first, second = (resample(count_images(maps, masks), {"dsc": 0.5}, weights)["dsc"] for maps in (scores, scores * 2))
    difference = first - second
    assert difference.interval() == (0, 0)
    assert difference.p_value == 1
    assert set(difference.influence) == {0}


def test_a_clear_difference_has_a_small_p_value_and_an_interval_off_zero() -> None:
    rng = np.random.default_rng(0)
    clear, unclear = (
        Resampled(x, x + 0.01 * rng.standard_normal(500), np.full(9, 0.003), 0.0, True) for x in (0.05, 0.01)
    )
    assert clear.p_value < 0.01
    assert clear.interval()[0] > 0
    assert unclear.p_value > 0.2
    assert unclear.interval()[0] < 0 < unclear.interval()[1]


def test_the_interval_of_a_difference_of_means_is_a_t_interval() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(20)
    replicates = image_weights(np.ones(20, dtype=np.bool_), 40_000, rng) @ values / 20
    influence = (values - values.mean()) / np.sqrt(20 * 19)
    difference = Resampled(float(values.mean()), replicates, influence, 0.0, is_difference=True)
    assert 20 / 4 < difference.n_free < 20
    expected = stats.t.interval(0.95, difference.n_free, values.mean(), stats.sem(values))
    assert difference.interval() == pytest.approx(expected, abs=0.02)


def test_a_mean_averages_replicates_and_adds_up_variances() -> None:
    parts = [Resampled(0.2, np.array([0.1, 0.3]), np.array([0.3]), 0.02)] * 2
    mean = mean_of(parts)
    assert (mean.estimate, mean.error, mean.n_free) == pytest.approx((0.2, 0.02, 2))
    assert mean.replicates.tolist() == [0.1, 0.3]
    assert (mean.influence**2).sum() == pytest.approx(0.3**2 / 2)


def test_a_category_without_anomalous_pixel_has_no_interval() -> None:
    with pytest.raises(InputError, match="no pixel is anomalous"):
        count_images(np.zeros((2, 3, 3)), np.zeros((2, 3, 3), dtype=np.bool_))
