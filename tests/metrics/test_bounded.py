"""Bounds hold the plain truth, and no tighter ones would."""

import pickle
from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import BoundedStream, measure
from tests.metrics import oracles
from tests.metrics.cases import CROWDS, DTYPES, crowded, maps_with_void, smooth

ORACLES = {"pixel_auroc": oracles.auroc, "pixel_ap": oracles.ap, "pixel_f1_max": oracles.f1_max}
WIDTH = 4  # scores in a bucket, so that three anomalous pixels and a normal one can all differ


def streamed(scores, masks, n_buckets=2**20):
    stream = BoundedStream(n_buckets)
    for score_map, mask in zip(scores, masks, strict=True):
        stream.update(score_map, mask)
    return stream


def assert_held(scores, masks, n_buckets):
    bounds = streamed(scores, masks, n_buckets).compute()
    pairs = oracles.pooled(scores, masks)
    for key, oracle in ORACLES.items():
        assert bounds[key].lower <= oracle(pairs) <= bounds[key].upper, key
    return bounds


@given(maps_with_void(), st.sampled_from([2, 3, 5, 64]))
@settings(deadline=None, max_examples=60)
def test_the_value_lies_between_the_bounds(case, n_buckets):
    scores, masks = case
    labels = oracles.pooled(scores, masks).labels
    assume(labels.any() and not labels.all())
    assert_held(scores, masks, n_buckets)


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_any_type_that_crowd_anywhere_lie_between_the_bounds(crowd, dtype):
    for seed, n_buckets in enumerate((2, 7, 40, 2**12)):
        assert_held(*crowded(crowd, dtype, seed), n_buckets)


@given(st.lists(st.lists(st.booleans(), max_size=4), min_size=2, max_size=3))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_some_scores_within_the_buckets_attain_each_bound(buckets):
    labels = np.array([label for bucket in buckets for label in bucket])
    assume(labels.size <= 5 and labels.any() and not labels.all() and all(sum(bucket) < WIDTH for bucket in buckets))
    starts = WIDTH * np.repeat(range(len(buckets)), list(map(len, buckets)))
    ends = np.array([0, WIDTH * len(buckets) - 1])  # of void pixels, which set the buckets
    mask = np.ma.array([[*labels, False, False]], mask=[[*np.zeros_like(labels), True, True]])
    bounds = streamed([np.array([[*starts, *ends]], np.int64)], [mask], len(buckets)).compute()
    values = {
        key: [oracle(oracles.Pairs(starts + place, labels)) for place in product(range(WIDTH), repeat=labels.size)]
        for key, oracle in ORACLES.items()
    }
    for key, of in values.items():
        assert bounds[key] == pytest.approx((min(of), max(of)), abs=1e-12), key


@pytest.mark.parametrize("n_anomalous", [63, 64, 65, 1000])
def test_many_pixels_of_a_bucket_have_nearly_the_least_sum_of_precisions(n_anomalous):
    scores = np.zeros((1, n_anomalous + 300))
    bounds = streamed([scores], [np.arange(scores.size)[None] < n_anomalous]).compute()
    rank = np.arange(1, n_anomalous + 1)
    least = np.mean(rank / (rank + 300))
    assert bounds["pixel_ap"].lower <= least
    assert bounds["pixel_ap"].lower == pytest.approx(least, rel=1e-12 if n_anomalous <= 64 else 1e-3)


def test_streams_merge_in_any_order_to_the_bits_of_one():
    scores, masks = smooth()
    whole = streamed(scores, masks, 500)
    parts = [streamed(scores[i::3] * (1, 10, 0.1)[i], masks[i::3], 500) for i in (0, 1, 2)]
    merged = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        total = BoundedStream(500)
        for i in order:
            total.merge(pickle.loads(pickle.dumps(parts[i])))
        merged.append(total.compute())
    assert merged[0] == merged[1] == merged[2]
    halves = streamed(scores[:2], masks[:2], 500)
    halves.merge(streamed(scores[2:], masks[2:], 500))
    assert halves.compute() == whole.compute()


def test_more_buckets_bring_the_bounds_together_and_memory_stays():
    scores, masks = smooth()
    exact = measure(scores, masks).values
    gaps = []
    for n_buckets in (2**8, 2**12, 2**16, 2**20):
        stream = streamed(scores, masks, n_buckets)
        assert len(stream._normal.counts) <= n_buckets
        lower, upper = stream.compute()["pixel_ap"]
        assert lower <= exact["pixel_ap"] <= upper
        gaps.append(upper - lower)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3


def test_bounds_of_as_many_pixels_as_nobody_has_are_those_of_few():
    scores, masks = smooth()
    stream = streamed(scores, masks, 100)
    few = stream.compute()
    for _ in range(44):  # doubles the pixels
        stream.merge(pickle.loads(pickle.dumps(stream)))
    for key, bounds in stream.compute().items():
        assert bounds == pytest.approx(few[key], rel=1e-2 if key == "pixel_ap" else 1e-9)  # longer chords


def test_what_cannot_be_bounded_is_one_error():
    scores, masks = smooth()
    with pytest.raises(InputError, match="at least 2 are needed"):
        BoundedStream(1)
    with pytest.raises(UndefinedMetricError, match="no pixel is anomalous"):
        streamed(scores[:1], masks[:1]).compute()
    with pytest.raises(UndefinedMetricError, match="no pixel is normal"):
        streamed(scores[:1], ~masks[:1]).compute()
    stream = streamed(scores, masks)
    with pytest.raises(InputError, match=r"image 6 has float64 scores, other images float32"):
        stream.update(scores[0].astype(float), masks[0])
    with pytest.raises(InputError, match=r"score is nan at image 6, pixel \(0, 0\)"):
        stream.update(np.where(np.arange(50) == 0, np.float32(np.nan), scores[0]), masks[0])
    with pytest.raises(InputError, match="a merged stream has float64 scores"):
        stream.merge(streamed(scores.astype(float), masks))
    with pytest.raises(InputError, match="have 1048576 and 8 buckets"):
        stream.merge(BoundedStream(8))
