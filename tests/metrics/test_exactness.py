"""Exact means: equal to the slow, plain truth, wherever scores crowd, in every type, and on every way to a number."""

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aseg_bench.analysis.resampling import RESAMPLED, count_images, weighted_values
from aseg_bench.analysis.slices import sliced
from aseg_bench.metrics import (
    METRICS,
    Curve,
    FirstPass,
    MetricStream,
    SecondPass,
    counting,
    finish,
    first_pass,
    measure,
    needs_of,
    second_pass,
    tallies,
)
from aseg_bench.metrics import _kernels as kernels
from aseg_bench.metrics.keys import KEY_TYPES
from aseg_bench.records import Sample
from tests.metrics import oracles
from tests.metrics.cases import CROWDS, DTYPES, crowded, saturated

SEEDS = st.integers(0, 2**32 - 1)
every_crowd = pytest.mark.parametrize("crowd", CROWDS)
some = settings(max_examples=12, deadline=None)
SWEPT = tuple(key for key, metric in METRICS.items() if not (metric.is_of_protocols or metric.needs_threshold))
ALONE = tuple(key for key in SWEPT if key != "spro_0.05")  # what needs no regions with saturation


def assert_true(values, scores, masks, regions=None):
    for key, value in values.items():
        assert value == pytest.approx(oracles.metric(key, scores, masks, regions), rel=1e-12, abs=1e-14), key


@pytest.mark.parametrize("scores", [[-15704, 29856, 29872, 30944], [0, 0.9999, 0.99995, 1]])
def test_scores_that_crowd_in_the_last_bucket_are_told_apart(scores):
    maps, masks = np.array([[scores]], dtype=np.float32), np.array([[[True, True, True, False]]])
    values = measure(maps, masks).values
    assert values["pixel_auroc"] == 0.0
    assert values["pixel_ap"] == pytest.approx(23 / 36)  # (1/2 + 2/3 + 3/4) / 3


@every_crowd
@some
@given(dtype=st.sampled_from(DTYPES), seed=SEEDS)
def test_every_metric_is_the_truth_wherever_scores_crowd(crowd, dtype, seed):
    scores, masks = crowded(crowd, dtype, seed)
    for_measure, for_oracle = saturated(masks)
    measured = measure(scores, masks, regions=for_measure)
    assert tuple(measured.values) == SWEPT
    assert_true(measured.values, scores, masks, for_oracle)


@every_crowd
@some
@given(dtype=st.sampled_from(DTYPES), seed=SEEDS)
def test_streamed_and_merged_maps_have_the_true_values(crowd, dtype, seed):
    scores, masks = crowded(crowd, dtype, seed)
    stream, other = MetricStream(ALONE), MetricStream(ALONE)
    firsts = [FirstPass(needs_of(ALONE)) for _ in range(2)]
    for i, (score_map, mask) in enumerate(zip(scores, masks, strict=True)):
        (stream, other)[i % 2].update(score_map, mask)
        firsts[i % 2].update(score_map, mask, index=i)
    stream.merge(other)
    firsts[1].merge(firsts[0])
    ranking = firsts[1].compute()
    seconds = [SecondPass(ranking) for _ in range(2)]
    for i, (score_map, mask) in enumerate(zip(scores, masks, strict=True)):
        seconds[i % 2].update(score_map, mask, index=i)
    seconds[0].merge(seconds[1])
    assert_true(stream.compute().values, scores, masks)
    assert_true(finish(seconds[0].compute(), ALONE).values, scores, masks)


@contextmanager
def narrow(n_cells, n_buckets, n_waiting, n_parts):
    """Tables, buckets and buffers as small as they are for millions of pixels, beside a few hundred."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_pass, "N_CELLS", n_cells)
        patch.setattr(first_pass, "CELLS_PER_KEY", (0, 512))
        patch.setattr(tallies, "N_BUCKETS", n_buckets)
        patch.setattr(counting, "N_WAITING", (n_waiting, n_waiting))
        patch.setattr(counting, "N_PARTS", n_parts)
        patch.setattr(counting, "N_PER_PART", 1)
        patch.setattr(second_pass, "N_TOGETHER", n_waiting)
        yield


@every_crowd
@some
@given(
    dtype=st.sampled_from(DTYPES),
    seed=SEEDS,
    n_cells=st.sampled_from([4, 40, 300, 2**26]),
    n_buckets=st.integers(2, 40),
    n_waiting=st.integers(1, 99),
    n_parts=st.sampled_from([1, 8, 1024]),
)
def test_however_coarse_the_tables_are_the_values_are_true(crowd, dtype, seed, n_cells, n_buckets, n_waiting, n_parts):
    scores, masks = crowded(crowd, dtype, seed)
    with narrow(n_cells, n_buckets, n_waiting, n_parts):
        assert_true(measure(scores, masks, metrics=ALONE).values, scores, masks)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(list(KEY_TYPES.values())),
    distinct=st.lists(st.integers(-(2**30), 2**30) | st.integers(-40, 40), min_size=1, unique=True),
    others=st.lists(st.integers(-(2**30), 2**30) | st.integers(-50, 50), min_size=1),
    n_cells=st.integers(4, 2**18),
)
def test_the_ladder_finds_and_counts_how_many_keys_lie_below(kind, distinct, others, n_cells):
    ordered = np.sort(np.array(distinct, dtype=kind.integer))
    keys = np.array([*others, *distinct], dtype=kind.integer)
    with narrow(n_cells, 2, 1, 1):
        ladder = first_pass.ladder_of(ordered, len(ordered), kind)
    places, counts = np.empty(len(keys), dtype=np.int64), np.zeros(2 * len(ordered) + 1, dtype=np.uint32)
    cut = np.clip(keys, ladder.low, ladder.high).astype(kind.integer)
    kernels.locate(cut, ladder, places)
    kernels.count(cut, ladder, counts, np.empty_like(places))
    below, not_above = np.searchsorted(ordered, keys), np.searchsorted(ordered, keys, side="right")
    np.testing.assert_array_equal(places, below)
    np.testing.assert_array_equal(counts, np.bincount(below + not_above, minlength=len(counts)))


@every_crowd
@some
@given(dtype=st.sampled_from(DTYPES), seed=SEEDS, n_thresholds=st.sampled_from([2, 9, 4000]))
def test_resampled_values_lie_within_their_error_of_the_truth(crowd, dtype, seed, n_thresholds):
    scores, masks = crowded(crowd, dtype, seed)
    repeats = np.random.default_rng(seed).integers(1, 3, len(scores))
    counts = count_images(scores, masks, n_thresholds=n_thresholds)
    np.testing.assert_array_equal(counts.anomalous.sum(axis=1), [mask.sum() for mask in masks])
    np.testing.assert_array_equal(counts.normal.sum(axis=1), [(~mask).sum() for mask in masks])
    again = [i for i, n in enumerate(repeats) for _ in range(n)]
    scores, masks = [scores[i] for i in again], [masks[i] for i in again]
    for key in RESAMPLED:
        (value,), (error,) = weighted_values(counts, repeats[None].astype(np.float64))[key]
        assert abs(value - oracles.metric(key, scores, masks)) <= error + 1e-12, key


@every_crowd
@some
@given(dtype=st.sampled_from(DTYPES), seed=SEEDS)
def test_slices_have_the_true_average_precision_and_threshold(crowd, dtype, seed, tmp_path_factory):
    scores, masks = crowded(crowd, dtype, seed)
    samples = [
        Sample("own", "bolt", "test", f"kind{i % 2}" if mask.any() else "good", str(i), tmp_path_factory.getbasetemp())
        for i, mask in enumerate(masks)
    ]
    threshold, slices, _ = sliced(samples, scores, masks)
    assert threshold == oracles.at_pr_threshold(oracles.pooled(scores, masks))[0]
    normal = [i for i, sample in enumerate(samples) if not sample.is_anomalous]
    for part in slices:
        kept = [*normal, *part.positions]
        pairs = oracles.pooled([scores[i] for i in kept], [masks[i] for i in kept])
        assert part.pixel_ap == pytest.approx(oracles.ap(pairs), rel=1e-12)


@every_crowd
@some
@given(dtype=st.sampled_from(DTYPES), seed=SEEDS)
def test_the_curve_of_a_few_scores_is_the_truth(crowd, dtype, seed):
    pairs = oracles.pooled(*crowded(crowd, dtype, seed))
    curve, (thresholds, tp, fp) = Curve.of(*pairs), oracles.points(pairs)
    assert curve.auroc == pytest.approx(oracles.auroc(pairs), rel=1e-12)
    assert curve.average_precision == pytest.approx(oracles.ap(pairs), rel=1e-12)
    at = [list(thresholds).index(threshold) for threshold in curve.thresholds]
    np.testing.assert_array_equal((curve.tp, curve.fp), (tp[at], fp[at]))
