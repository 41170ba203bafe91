import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from aseg_bench.metrics import SaturatedRegion, functions, measure
from tests.metrics import oracles
from tests.metrics.cases import both_classes, maps, saturated, smooth


@settings(max_examples=60, deadline=None)
@given(case=maps(), limit=st.floats(0.01, 1.0))
def test_aupro_to_any_limit_equals_its_oracle(case, limit):
    scores, masks = case
    assume(both_classes(masks))
    assert functions.aupro(scores, masks, limit=limit) == pytest.approx(oracles.aupro(scores, masks, limit), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(case=maps(), limit=st.floats(0.01, 1.0))
def test_spro_to_any_limit_equals_its_oracle(case, limit):
    scores, masks = case
    assume(both_classes(masks))
    regions, for_oracle = saturated(masks)
    expected = oracles.pro(scores, masks, for_oracle, limit)
    assert functions.spro(scores, masks, regions, limit=limit) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(case=maps(max_images=6), bounds=st.tuples(st.floats(0.001, 1.0), st.floats(0.001, 1.0)))
def test_aupimo_over_any_range_equals_its_oracle(case, bounds):
    scores, masks = case
    lower, upper = sorted(bounds)
    assume(both_classes(masks) and lower < upper * 0.999)
    values = functions.aupimo_per_image(scores, masks, lower=lower, upper=upper)
    np.testing.assert_array_equal(np.isnan(values), [not mask.any() for mask in masks])
    expected = oracles.aupimo(scores, masks, lower, upper)
    np.testing.assert_allclose(values[~np.isnan(values)], expected, rtol=1e-9, atol=1e-12)
    assert functions.aupimo(scores, masks, lower=lower, upper=upper) == pytest.approx(np.mean(expected), abs=1e-9)


def mvtec_aupro(scores, masks, limit):
    """MVTec's evaluation in plain numpy: sort everything, cumulate, keep the last of ties, cut at the limit."""
    sizes = np.zeros(masks.shape)
    n_regions = 0
    for image, mask in enumerate(masks):
        labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
        n_regions += n
        for label in range(1, n + 1):
            sizes[image][labels == label] = (labels == label).sum()
    flat, truth = scores.ravel(), masks.ravel()
    order = np.argsort(flat)[::-1]
    fpr = np.cumsum(~truth[order]) / (~truth).sum()
    pro = np.cumsum(np.where(truth[order], 1 / np.maximum(sizes.ravel()[order], 1), 0)) / n_regions
    last = np.append(flat[order][1:] != flat[order][:-1], True)
    fpr, pro = np.append(0, fpr[last]), np.append(0, pro[last])
    inside = fpr <= limit
    end = np.interp(limit, fpr, pro)
    return np.trapezoid(np.append(pro[inside], end), np.append(fpr[inside], limit)) / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("levels", [0, 7])
def test_aupro_equals_mvtecs_evaluation(limit, levels):
    scores, masks = smooth(n_images=9, seed=3)
    if levels:
        scores = np.round(scores * levels) / levels
    assert functions.aupro(scores, masks, limit=limit) == pytest.approx(mvtec_aupro(scores, masks, limit), abs=1e-9)


def test_pixels_that_touch_at_a_corner_are_one_region():
    masks = np.zeros((1, 4, 4), dtype=bool)
    masks[0, [0, 1, 3], [0, 1, 3]] = True
    scores = np.zeros((1, 4, 4))
    scores[0, 3, 3] = 1.0  # the lone pixel is found first: one of two regions
    assert functions.aupro(scores, masks, limit=1e-9) == pytest.approx(0.5)


def test_every_region_counts_alike_whatever_its_size():
    masks = np.zeros((2, 10, 10), dtype=bool)
    masks[0, :5] = True
    masks[1, 0, 0] = True
    scores = masks * np.array([1.0, 0.0])[:, None, None] - 1e-3 * ~masks
    assert functions.aupro(scores + 1, masks, limit=1.0) == 1.0
    scores[0][masks[0]] = -1.0  # the large region is lost altogether
    assert functions.aupro(scores, masks, limit=1.0) == pytest.approx(0.5, abs=1e-12)


def test_finding_the_saturation_area_is_finding_the_region():
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[0, :2] = True
    scores = np.where(np.arange(16).reshape(1, 4, 4) < 3, 1.0, 0.0).repeat(2, axis=0)
    scores[1] = 0.5
    for saturation, expected in ((3, 1.0), (4, 0.75), (6, 0.5), (100, 0.375)):
        regions = [[SaturatedRegion(masks[0], saturation)], []]
        assert functions.spro(scores, masks, regions, limit=0.01) == pytest.approx(expected)


def test_a_region_beyond_the_mask_is_an_error():
    scores, masks = smooth(n_images=3)
    whole = np.ones_like(masks[2])
    for region, message in (
        (SaturatedRegion(whole, 3), "reaches beyond the mask"),
        (SaturatedRegion(~whole, 3), "is empty"),
        (SaturatedRegion(masks[2][:5], 3), "beyond the mask"),
        (SaturatedRegion(masks[2], 0), "at least 1"),
        (SaturatedRegion(masks[2] * np.uint8(3), 1), "binarise"),
    ):
        with pytest.raises(ValueError, match=message):
            functions.spro(scores, masks, [[], [], [region]])


def test_aupimo_is_that_of_each_image_and_their_mean():
    scores, masks = smooth(n_images=9)
    measured = measure(scores, masks, metrics=["aupimo", "dsc", "iou"])
    assert np.nanmean(measured.per_image["aupimo"]) == pytest.approx(measured.values["aupimo"], rel=1e-12)
    assert measured.per_image["dsc"].mean() == pytest.approx(measured.values["dsc"], rel=1e-12)
    assert measured.per_image["iou"].shape == (9,)
