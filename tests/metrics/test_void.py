"""Void pixels, the masked ones of a mask: what remains is measured as if they were not there."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aseg_bench.errors import InputError
from aseg_bench.metrics import (
    METRICS,
    FirstPass,
    MetricStream,
    SaturatedRegion,
    SecondPass,
    evaluate_maps,
    finish,
    measure,
    needs_of,
)
from aseg_bench.metrics.functions import at_threshold, aupimo_per_image, aupro, spro
from tests.metrics import oracles
from tests.metrics.cases import CROWDS, both_classes, crowded, maps_with_void, saturated

SWEPT = [key for key, metric in METRICS.items() if not (metric.is_of_protocols or metric.needs_threshold)]
few = settings(max_examples=15, deadline=None)


def equal(one, other):
    assert (one.values, one.undefined) == (other.values, other.undefined)
    for key, of_images in one.per_image.items():
        np.testing.assert_array_equal(of_images, other.per_image[key])


@settings(max_examples=60, deadline=None)
@given(case=st.one_of(maps_with_void(), maps_with_void(highest=1000)))
def test_every_metric_is_that_of_the_remaining_pixels(case):
    scores, masks = case
    assume(both_classes(masks))
    for_measure, for_oracle = saturated(masks)
    measured = measure(scores, masks, regions=for_measure, n_threads=1)
    assert set(measured.values) == set(SWEPT)
    for key, value in measured.values.items():
        assert value == pytest.approx(oracles.metric(key, scores, masks, for_oracle), rel=1e-12, abs=1e-14), key
    for number, key in enumerate(("dsc", "iou")):
        np.testing.assert_allclose(measured.per_image[key], oracles.overlaps(scores, masks, number), rtol=1e-12)


@pytest.mark.parametrize("crowd", CROWDS)
@few
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["f4", "f8", "i8"]))
def test_every_metric_is_that_of_the_remaining_pixels_wherever_scores_crowd(crowd, dtype, seed):
    scores, masks = crowded(crowd, dtype, seed)
    rng = np.random.default_rng(seed)
    voids = [rng.random(mask.shape) < rng.choice([0, 0.1, 0.5, 1]) for mask in masks]
    masks = [np.ma.array(mask, mask=void) for mask, void in zip(masks, voids, strict=True)]
    assume(both_classes(masks))
    for_measure, for_oracle = saturated(masks)
    for key, value in measure(scores, masks, regions=for_measure, n_threads=1).values.items():
        assert value == pytest.approx(oracles.metric(key, scores, masks, for_oracle), rel=1e-12, abs=1e-14), key


@few
@given(case=maps_with_void(), data=st.data())
def test_scores_of_void_pixels_change_no_bit(case, data):
    scores, masks = case
    image_scores = [score_map.max() for score_map in scores]
    elsewhere = [
        np.where(np.ma.getmaskarray(mask), np.float32(data.draw(st.integers(-9, 9))), score_map)
        for score_map, mask in zip(scores, masks, strict=True)
    ]
    equal(
        measure(scores, masks, image_scores=image_scores, n_threads=1),
        measure(elsewhere, masks, image_scores=image_scores, n_threads=1),
    )


@few
@given(case=maps_with_void())
def test_an_image_that_is_void_throughout_adds_nothing_but_its_image_score(case):
    scores, masks = case
    more = [*scores, np.full((2, 3), 9, np.float32)], [*masks, np.ma.array(np.ones((2, 3), bool), mask=True)]
    without, with_it = measure(scores, masks, n_threads=1), measure(*more, n_threads=1)
    for key in without.values.keys() | with_it.values.keys():
        if METRICS[key].level != "image":
            assert with_it.values.get(key) == without.values.get(key), key
    for of_images in with_it.per_image.values():
        assert np.isnan(of_images[-1])
    labels = [*(bool(mask.any()) for mask in masks), True]
    by_label = measure(*more, metrics=["image_auroc"], image_labels=labels)
    if not all(labels[:-1]):
        top = np.array([score_map.max() for score_map in more[0]])
        assert by_label.values["image_auroc"] == pytest.approx(oracles.auroc(oracles.Pairs(top, np.array(labels))))


@few
@given(case=maps_with_void(max_images=5), data=st.data())
def test_whole_streamed_and_merged_have_the_same_bits(case, data):
    scores, masks = case
    whole = measure(scores, masks, n_threads=1)
    equal(measure(scores, masks, n_threads=3), whole)
    stream = MetricStream()
    firsts = [FirstPass(needs_of(tuple(METRICS))) for _ in range(2)]
    owners = [data.draw(st.integers(0, 1)) for _ in scores]
    for i, owner in enumerate(owners):
        stream.update(scores[i], masks[i])
        firsts[owner].update(scores[i] if firsts[owner].wants_scores(masks[i]) else None, masks[i], index=i)
    equal(stream.compute(n_threads=1), whole)
    firsts[0].merge(firsts[1])
    seconds = [SecondPass(firsts[0].compute()) for _ in range(2)]
    for i, owner in enumerate(owners):
        seconds[owner].update(scores[i], masks[i], index=i)
    seconds[0].merge(seconds[1])
    equal(finish(seconds[0].compute(), tuple(METRICS)), whole)


@few
@given(case=maps_with_void(), threshold=st.integers(0, 4))
def test_counts_at_a_threshold_are_those_of_the_remaining_pixels(case, threshold):
    scores, masks = case
    values, labels = oracles.pooled(scores, masks)
    normal = [oracles.valid(*pair).scores for pair in zip(scores, masks, strict=True) if not pair[1].any()]
    found = at_threshold(scores, masks, threshold)
    called = values >= threshold
    assert (found.tp, found.fp) == ((called & labels).sum(), (called & ~labels).sum())
    assert (found.fn, found.tn) == ((~called & labels).sum(), (~called & ~labels).sum())
    assert found.fp_of_normal_images == sum((of_image >= threshold).sum() for of_image in normal)
    assert found.n_normal_images == sum(len(of_image) > 0 for of_image in normal)


def test_every_form_of_a_void_pixel_is_one():
    rng = np.random.default_rng(0)
    scores, masks, void = rng.normal(size=(3, 4, 5)), rng.random((3, 4, 5)) < 0.3, rng.random((3, 4, 5)) < 0.3
    masks[0] = False
    whole = np.ma.array(masks, mask=void)
    expected = evaluate_maps(scores, whole)
    for form in (list(whole), [list(mask) for mask in whole], np.ma.array(masks | void, mask=void, hard_mask=True)):
        assert evaluate_maps(scores, form) == expected
    assert evaluate_maps(scores, np.ma.array(masks)) == evaluate_maps(scores, masks)
    assert aupro(scores, whole) == expected["aupro_0.3"]
    assert np.nanmean(aupimo_per_image(scores, whole)) == pytest.approx(expected["aupimo"])
    assert METRICS["pixel_ap"](scores, whole) == expected["pixel_ap"]


def test_a_region_loses_its_void_pixels_and_goes_with_the_last():
    scores = np.arange(12.0).reshape(1, 3, 4)
    truth, void = np.zeros((2, 1, 3, 4), bool)
    truth[0, 0, :2] = truth[0, 2, 1:] = True
    void[0, 0, 1] = void[0, 2] = True
    regions = [[SaturatedRegion(mask, 2) for mask in np.zeros((2, 3, 4), bool)]]
    regions[0][0].mask[0, :2] = regions[0][1].mask[2, 1:] = True
    masks = np.ma.array(truth, mask=void)
    assert spro(scores, masks, regions, limit=1.0) == oracles.pro(scores, masks, [(0, [(0, 0)], 1)], 1.0)


def test_void_among_values_that_are_not_boolean_keeps_the_error_of_these():
    scores, classes = np.zeros((1, 1, 3)), np.ma.masked_equal(np.array([[[0, 3, 255]]], np.uint8), 255)
    with pytest.raises(InputError, match=r"holds uint8 values 0, 3, neither booleans nor .*; binarise with > 0"):
        evaluate_maps(scores, classes)


def test_scores_with_a_mask_are_refused_with_the_way_to_name_void_pixels():
    masked = np.ma.array(np.zeros((1, 2, 2)), mask=True)
    for scores in (masked, list(masked), [list(masked[0])]):
        with pytest.raises(InputError, match=r"masked array, .*masks=np.ma.array\(masks, mask=...\)"):
            evaluate_maps(scores, np.zeros((1, 2, 2), bool))


def test_a_picture_labelled_anomalous_without_an_anomalous_pixel_is_not_a_normal_one():
    rng = np.random.default_rng(1)
    scores, masks = rng.normal(size=(5, 6, 6)), np.zeros((5, 6, 6), bool)
    masks[:2, 2:4, 2:5] = True
    labels = [True, True, True, False, False]
    found = measure(scores, masks, image_labels=labels, n_threads=1)
    kept = [0, 1, 3, 4]
    without = measure(scores[kept], masks[kept], n_threads=1)
    assert found.values["aupimo"] == without.values["aupimo"]  # its rate is over normal images alone
    plain = measure(scores, masks, n_threads=1)
    for key, of_images in plain.per_image.items():
        np.testing.assert_array_equal(np.delete(found.per_image[key], 2), np.delete(of_images, 2))
        assert np.isnan(found.per_image[key][2])
    assert found.values["dsc"] == pytest.approx(np.mean(plain.per_image["dsc"][kept]))
    threshold = plain.curve.pr_threshold
    assert found.values["fp_pixels"] == (scores[3:] >= threshold).sum() / 2
    others = {"image_auroc", "image_ap", "image_f1_max", "aupimo", "dsc", "iou", "fp_pixels"}
    for key in set(plain.values) - others:
        assert found.values[key] == plain.values[key], key
