import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from aseg_bench.analysis.resampling import (
    RESAMPLED,
    Resampled,
    count_images,
    image_weights,
    mean_of,
    resample,
    weighted_values,
)
from aseg_bench.errors import UndefinedMetricError
from aseg_bench.metrics import evaluate_maps
from benchmarks.coverage import KINDS, Checked, simulated

N_SIMULATED = 60
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


@pytest.fixture(scope="module")
def checked() -> dict[str, dict[str, Checked]]:
    """What simulated cases say of every kind of images."""
    return {name: simulated(kind, N_SIMULATED) for name, kind in KINDS.items()}


@pytest.mark.parametrize("key", RESAMPLED)
def test_intervals_cover_the_truth_in_93_to_97_of_100_cases(checked: dict[str, dict[str, Checked]], key: str) -> None:
    shares = {name: found[key].covered for name, found in checked.items()}
    noise = 2 * np.sqrt(0.95 * 0.05 / N_SIMULATED)  # of the simulation itself
    assert min(shares.values()) >= 0.93 - noise, shares
    mean = np.mean(list(shares.values()))
    assert 0.93 - noise / np.sqrt(len(shares)) <= mean <= 0.97 + noise / np.sqrt(len(shares)), shares


@pytest.mark.parametrize("key", RESAMPLED)
def test_intervals_are_not_much_wider_than_the_spread_of_the_estimates(
    checked: dict[str, dict[str, Checked]], key: str
) -> None:
    widths = {name: found[key].width for name, found in checked.items()}
    assert np.median(list(widths.values())) < 1.5, widths
    assert max(widths.values()) < 4, widths


@pytest.mark.parametrize("key", RESAMPLED)
def test_alike_methods_are_told_apart_in_5_of_100_cases_at_most_and_others_in_most(
    checked: dict[str, dict[str, Checked]], key: str
) -> None:
    noise = 2 * np.sqrt(0.95 * 0.05 / N_SIMULATED)
    assert max(found[key].false_alarms for found in checked.values()) <= 0.05 + noise
    assert checked["many"][key].found > 0.9


def test_one_image_that_carries_all_the_variance_does_not_widen_the_interval_beyond_reason() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 30, 30), dtype=np.bool_)
    masks[:20, 10:16, 10:16] = True
    scores = rng.normal(0, 1, masks.shape) + 14 * masks
    scores[0] -= 9 * masks[0]
    exact = evaluate_maps(scores, masks, metrics=RESAMPLED)
    assert exact["pixel_auroc"] > 0.9999
    weights = image_weights(masks.any(axis=(1, 2)), 300, rng)
    found = resample(count_images(scores, masks), exact, weights)
    assert found["pixel_auroc"].interval()[0] > 0.99
    assert found["pixel_ap"].interval()[0] > exact["pixel_ap"] - 0.25


def rare_defects(signal: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """40 images of which 30 have a defect of 30 to 200 of their 90,000 pixels, whose scores a signal lifts."""
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 300, 300), dtype=np.bool_)
    for index in range(10, 40):
        top, left, height = rng.integers(0, 280), rng.integers(0, 280), rng.integers(3, 20)
        masks[index, top : top + height, left : left + 10] = True
    scores = rng.normal(0.3 * rng.normal(size=(40, 1, 1)), 1, masks.shape) + signal * masks
    return scores.astype(np.float32), masks


@pytest.mark.parametrize("signal", [-1.5, 0.0, 1.5])
def test_replicates_of_rare_defects_are_those_of_weighted_pixels(signal: float) -> None:
    scores, masks = rare_defects(signal)
    exact = evaluate_maps(scores, masks, metrics=RESAMPLED)
    assert exact["pixel_ap"] < 0.02
    weights = image_weights(masks.any(axis=(1, 2)), 4, np.random.default_rng(1))
    counts = count_images(scores, masks, n_thresholds=500)  # of 4,000 anomalous pixels
    found = resample(counts, exact, weights)["pixel_ap"]
    plain = [
        average_precision_score(masks.ravel(), scores.ravel(), sample_weight=np.repeat(row, masks[0].size))
        for row in weights
    ]
    np.testing.assert_allclose(found.replicates, plain, rtol=0.02)


@pytest.mark.parametrize("signal", [-1.5, 0.0, 1.5])
def test_the_interval_of_a_small_ap_has_its_size(signal: float) -> None:
    scores, masks = rare_defects(signal)
    exact = evaluate_maps(scores, masks, metrics=RESAMPLED)
    weights = image_weights(masks.any(axis=(1, 2)), 300, np.random.default_rng(1))
    low, high = resample(count_images(scores, masks), exact, weights)["pixel_ap"].interval()
    assert exact["pixel_ap"] / 2 < low < exact["pixel_ap"] < high < 2 * exact["pixel_ap"]


def test_a_single_missed_pixel_does_not_make_everything_possible() -> None:
    _, masks = rare_defects(0)
    scores = masks.astype(np.float32)
    scores[20][masks[20]] -= np.arange(masks[20].sum()) == 3
    exact = evaluate_maps(scores, masks, metrics=RESAMPLED)
    weights = image_weights(masks.any(axis=(1, 2)), 300, np.random.default_rng(1))
    for key, number in resample(count_images(scores, masks), exact, weights).items():
        assert number.interval()[0] > 0.8, key


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


def test_a_clear_difference_has_a_small_p_value_and_an_interval_off_zero() -> None:
    rng = np.random.default_rng(0)
    clear, unclear = (
        Resampled(x, x + 0.01 * rng.standard_normal(500), np.full(9, 0.003), 0.0, True) for x in (0.05, 0.01)
    )
    assert clear.p_value < 0.01
    assert clear.interval()[0] > 0
    assert unclear.p_value > 0.2
    assert unclear.interval()[0] < 0 < unclear.interval()[1]


def test_a_number_that_jumps_has_quantiles_and_its_p_value_goes_on_beyond_the_replicates() -> None:
    replicates = np.repeat([-0.1, 0.0, 0.2, 0.3], [10, 10, 480, 500])
    difference = Resampled(0.25, replicates, None, 0.0, is_difference=True)
    assert difference.interval(0.9) == (0.2, 0.3)
    assert difference.interval(0.99) == (-0.1, 0.3)
    assert difference.p_value == pytest.approx(2 * 21 / 1001)
    farther = Resampled(1.0, 1 + 0.1 * np.random.default_rng(0).standard_normal(1000), None, 0.0, is_difference=True)
    assert 0 < farther.p_value < 1e-15
    assert (farther - farther).p_value == 1


def kish(influence: NDArray[np.float64]) -> float:
    """The effective number of images, Kish (1965), section 11.7."""
    return float((influence**2).sum() ** 2 / (influence**4).sum())


def test_the_interval_of_a_difference_of_means_is_a_t_interval() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(20)
    replicates = image_weights(np.ones(20, dtype=np.bool_), 40_000, rng) @ values / 20
    influence = (values - values.mean()) / np.sqrt(20 * 19)
    difference = Resampled(float(values.mean()), replicates, influence, 0.0, is_difference=True)
    expected = stats.t.interval(0.95, kish(influence), values.mean(), stats.sem(values))
    assert difference.interval() == pytest.approx(expected, abs=0.02)


def test_a_mean_averages_replicates_and_adds_up_variances() -> None:
    parts = [Resampled(0.2, np.array([0.1, 0.3]), np.array([0.3]), 0.02)] * 2
    mean = mean_of(parts)
    assert (mean.estimate, mean.error) == pytest.approx((0.2, 0.02))
    assert mean.replicates.tolist() == [0.1, 0.3]
    assert (mean.influence**2).sum() == pytest.approx(0.3**2 / 2)


def test_a_category_without_anomalous_pixel_has_no_interval() -> None:
    with pytest.raises(UndefinedMetricError, match="no pixel is anomalous"):
        count_images(np.zeros((2, 3, 3)), np.zeros((2, 3, 3), dtype=np.bool_))
