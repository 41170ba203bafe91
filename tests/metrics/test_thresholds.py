"""Thresholds from normal images against numpy and plain loops, and the metrics at one against plain counts."""

from math import fsum

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import (
    AT_THRESHOLD,
    METRICS,
    THRESHOLDS,
    FirstPass,
    Needs,
    Ranking,
    SecondPass,
    evaluate_maps,
    finish,
    measure,
    needs_of,
    threshold_of,
)
from aseg_bench.metrics.thresholds import find_rule
from tests.metrics import oracles
from tests.metrics.cases import DTYPES, both_classes, crowded, maps_with_void, smooth
from tests.metrics.test_laws import loaded

few = settings(max_examples=25, deadline=None)
NORMAL = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=6)


def pooled(maps):
    return np.concatenate([each.ravel() for each in maps]).astype(np.float64)


def plain_rule(key, maps):
    """The threshold as its summary says it, from all scores at once."""
    together = pooled(maps)
    name, _, number = key.partition("_")
    if key == "mean_3std":
        return together.mean() + 3 * together.std()
    if name in ("quantile", "max"):
        return np.quantile(together, float(number or 1), method="higher")
    assert name == "region"
    for threshold in np.unique(together):
        areas = [ndimage.label(each > threshold, np.ones((3, 3)))[0] for each in maps]
        if all(np.bincount(of_map.ravel())[1:].max(initial=0) <= float(number) * of_map.size for of_map in areas):
            return threshold
    raise AssertionError("above the highest score there is nothing")


@pytest.mark.parametrize("key", THRESHOLDS)
@few
@given(case=NORMAL, data=st.data())
def test_every_rule_is_what_its_summary_says_in_any_order_of_maps(key, case, data):
    maps = [np.array([each], np.float32) / 7 for each in case]
    found = threshold_of(data.draw(st.permutations(maps)), pooled(maps).size, THRESHOLDS[key])
    assert found == pytest.approx(plain_rule(key, maps), rel=1e-12)
    assert key == "mean_3std" or found == plain_rule(key, maps)


def test_a_region_may_keep_its_share_of_a_larger_map():
    maps = [np.random.default_rng(seed).normal(size=(60, 70)).astype(np.float32) for seed in range(3)]
    maps = [ndimage.gaussian_filter(each, 2) for each in maps]
    found = threshold_of(maps, pooled(maps).size, THRESHOLDS["region_0.0005"])
    assert found == plain_rule("region_0.0005", maps) < pooled(maps).max()  # two pixels may stand together


def test_far_from_zero_the_deviation_keeps_its_digits():
    maps = [1e6 + np.random.default_rng(seed).normal(size=(50, 50)) for seed in range(4)]
    found = threshold_of(maps, 10_000, THRESHOLDS["mean_3std"])
    assert found == pytest.approx(pooled(maps).mean() + 3 * pooled(maps).std(), rel=1e-13)


def test_the_table_of_rules_is_whole():
    assert all(key == rule.key and rule.label and rule.summary and rule.source for key, rule in THRESHOLDS.items())
    with pytest.raises(InputError, match=r"did you mean quantile_0\.99"):
        find_rule("quantile_0.9")


def plain_metrics(scores, masks, threshold):
    """Each metric at a threshold, pixel by pixel, in whole numbers and fractions of Python."""
    tp = fp = fn = tn = 0
    dice, of_normal, missed, n_false, shared, either = [], [], [], 0, 0, 0
    for score_map, mask in zip(scores, masks, strict=True):
        hits = alarms = misses = rest = 0
        void = np.ma.getmaskarray(mask)
        above = np.zeros(mask.shape, dtype=bool)
        for place in np.ndindex(score_map.shape):
            if not void[place]:
                is_called, is_anomalous = score_map[place].item() > threshold, bool(np.ma.getdata(mask)[place])
                above[place] = is_called
                hits += is_called and is_anomalous
                alarms += is_called and not is_anomalous
                misses += is_anomalous and not is_called
                rest += not is_called and not is_anomalous
        defects, alarmed = oracles.components(mask), oracles.components(above)
        truth, called = ({place for region in regions for place in region} for regions in (defects, alarmed))
        missed += [called.isdisjoint(region) for region in defects]
        n_false += sum(truth.isdisjoint(region) for region in alarmed)
        width = max(1, round(0.02 * (mask.shape[0] ** 2 + mask.shape[1] ** 2) ** 0.5))
        truth, called = (oracles.boundary(places, width) for places in (truth, called))
        shared, either = shared + len(truth & called), either + len(truth | called)
        tp, fp, fn, tn = tp + hits, fp + alarms, fn + misses, tn + rest
        if hits + misses:
            dice.append(2 * hits / (2 * hits + alarms + misses))
        elif alarms + rest:
            dice.append(float(alarms == 0))
            of_normal.append(alarms)
    values = {
        "seg_f1": 2 * tp / (2 * tp + fp + fn),
        "iou_at_threshold": tp / (tp + fp + fn),
        "dsc_at_threshold": fsum(dice) / len(dice),
        "recall_at_threshold": tp / (tp + fn),
        "fpr_at_threshold": fp / (fp + tn),
        "fp_pixels_at_threshold": sum(of_normal) / max(len(of_normal), 1),
        "boundary_iou_at_threshold": shared / either,
        "missed_regions_at_threshold": sum(missed) / len(missed),
        "false_regions_at_threshold": n_false / sum(np.ma.count(mask) > 0 for mask in masks),
    }
    return values | ({"precision_at_threshold": tp / (tp + fp)} if tp + fp else {})


@few
@given(case=maps_with_void(), threshold=st.sampled_from([-1, 0, 1, 1.5, 2, 3.999, 4, 9]))
def test_metrics_at_a_threshold_count_the_pixels_above_it(case, threshold):
    scores, masks = case
    assume(both_classes(masks))
    for n_threads in (1, 3):
        measured = measure(scores, masks, metrics=AT_THRESHOLD, threshold=threshold, n_threads=n_threads)
        assert measured.values == pytest.approx(plain_metrics(scores, masks, threshold), rel=1e-12)
    for key, value in measured.values.items():
        assert METRICS[key](scores, masks, threshold=threshold) == value  # alone, without the curve


@pytest.mark.parametrize("dtype", DTYPES)
@few
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_a_threshold_is_compared_without_rounding_in_every_type(dtype, seed, data):
    scores, masks = crowded("neighbours", dtype, seed)
    assume(both_classes(masks))
    every = np.unique(np.concatenate([each.ravel() for each in scores]))
    threshold = float(data.draw(st.sampled_from(every.tolist())))
    assume(np.isfinite(threshold))
    for near in (threshold, np.nextafter(threshold, -np.inf), np.nextafter(threshold, np.inf)):
        values = measure(scores, masks, metrics=AT_THRESHOLD, threshold=float(near), n_threads=1).values
        assert values == pytest.approx(plain_metrics(scores, masks, float(near)), rel=1e-12)


@few
@given(case=maps_with_void(max_images=6), threshold=st.integers(0, 4))
def test_merged_and_from_other_processes_they_have_the_same_bits(case, threshold):
    scores, masks = case
    needs = needs_of(AT_THRESHOLD) | Needs(threshold=threshold)
    first = FirstPass(needs)
    for i, mask in enumerate(masks):
        first.update(scores[i], mask, index=i)
    ranking = first.compute()
    parts = [SecondPass(Ranking.of_arrays(needs, loaded(ranking.to_arrays()))) for _ in range(3)]
    for i, mask in enumerate(masks):
        parts[i % 2].update(scores[i], mask, index=i)
    parts[1].merge(parts[2])
    whole = SecondPass(ranking)
    for part in parts[:2]:
        whole.take(loaded(part.to_arrays()))
    found, expected = finish(whole.compute(), AT_THRESHOLD), measure(scores, masks, threshold=threshold, n_threads=1)
    assert found.values == {key: expected.values[key] for key in AT_THRESHOLD if key in expected.values}


@pytest.mark.parametrize("key", AT_THRESHOLD)
def test_without_threshold_or_a_class_of_pixels_they_are_undefined_with_the_reason(key):
    scores, masks = np.zeros((2, 3, 3)), np.zeros((2, 3, 3), dtype=bool)
    assert measure(scores, masks).undefined[key] == "no threshold was found on normal images"
    assert measure(scores, masks, threshold=0.5).undefined[key] == "no pixel is anomalous"
    assert measure(scores, ~masks, threshold=0.5).undefined[key] == "no pixel is normal"
    with pytest.raises(InputError, match="give a finite score"):
        evaluate_maps(scores, masks, metrics=[key], threshold=np.nan)


def test_a_perfect_map_is_best_and_nothing_called_has_no_precision():
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[1, :2] = True
    for key in AT_THRESHOLD:
        value, better = METRICS[key](masks.astype(np.float32), masks, threshold=0.5), METRICS[key].higher_is_better
        assert better is None or value == float(better)
    with pytest.raises(UndefinedMetricError, match="no pixel scores above the threshold"):
        METRICS["precision_at_threshold"](masks.astype(np.float32), masks, threshold=1)


def eroded_away(mask, share):
    """What repeated erosions by 3 x 3 take from a mask with a border of zeros, as authors of Boundary IoU describe."""
    n_times = max(1, round(share * np.hypot(*mask.shape)))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return mask & (cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=n_times)[1:-1, 1:-1] == 0)


@pytest.mark.parametrize("shape", [(90, 140), (300, 260)])  # boundaries 3 and 8 pixels wide
@pytest.mark.parametrize("level", [0.0, 0.6, 1.2])
def test_boundary_iou_is_that_of_what_erosion_takes_away(shape, level):
    scores, masks = smooth(4, shape)
    masks[0, : shape[0] // 2] = True  # a large defect, which reaches the edge
    scores = ndimage.gaussian_filter(scores + masks, (0, 2, 2))
    of_truth, of_called = ([eroded_away(one, 0.02) for one in many] for many in (masks, scores > level))
    shared, either = np.logical_and(of_truth, of_called).sum(), np.logical_or(of_truth, of_called).sum()
    found = {
        key: METRICS[key](scores, masks, threshold=level) for key in ("boundary_iou_at_threshold", "iou_at_threshold")
    }
    assert found["boundary_iou_at_threshold"] == shared / either != found["iou_at_threshold"]


def test_the_boundary_iou_of_thin_regions_is_their_iou():
    masks = smooth(4, (300, 260))[1] & (np.arange(260) % 20 < 16)  # all within 8 pixels of their contour
    calls = np.roll(masks, 3, axis=2).astype(np.float32)
    found = [METRICS[f"{key}_at_threshold"](calls, masks, threshold=0.5) for key in ("boundary_iou", "iou")]
    assert found[0] == found[1]


def test_void_pixels_are_outside_the_image_for_boundaries_and_regions():
    """A frame of void pixels about an image, so thin that the width of boundaries stays, changes nothing."""
    scores, masks = smooth(4, (60, 70))
    masks[1, :30] = True
    wide, void = np.full((4, 64, 74), 9.0, np.float32), np.ones((4, 64, 74), bool)
    truth = np.ones((4, 64, 74), bool)
    wide[:, 2:-2, 2:-2], truth[:, 2:-2, 2:-2], void[:, 2:-2, 2:-2] = scores, masks, False
    for key in AT_THRESHOLD:
        found = METRICS[key](wide, np.ma.array(truth, mask=void), threshold=1.0)
        assert found == METRICS[key](scores, masks, threshold=1.0), key
