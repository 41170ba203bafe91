"""Laws that every entry of METRICS obeys."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.metrics import (
    DEFAULT_METRICS,
    METRICS,
    FirstPass,
    Ranking,
    SecondPass,
    evaluate_maps,
    finish,
    measure,
    needs_of,
)
from tests.metrics import oracles
from tests.metrics.cases import both_classes, maps, saturated, smooth

OF_THE_DATA = ("anomaly_rate", "anomaly_rate_anomalous")
SWEPT = [key for key, metric in METRICS.items() if not (metric.is_of_protocols or metric.needs_threshold)]
every_metric = pytest.mark.parametrize("key", SWEPT)
few = settings(max_examples=25, deadline=None)


def values(scores, masks, **options):
    options.setdefault("regions", saturated(masks)[0])
    return measure(scores, masks, n_threads=options.pop("n_threads", 1), **options).values


@every_metric
@few
@given(case=maps())
def test_every_metric_equals_its_plain_oracle(key, case):
    scores, masks = case
    assume(both_classes(masks))
    for_measure, for_oracle = saturated(masks)
    measured = measure(scores, masks, metrics=[key], regions=for_measure, n_threads=1).values[key]
    assert measured == pytest.approx(oracles.metric(key, scores, masks, for_oracle), rel=1e-12, abs=1e-14)


@settings(max_examples=100, deadline=None)
@given(case=maps(highest=1000))
def test_all_metrics_equal_their_oracles_where_ties_are_few(case):
    scores, masks = case
    assume(both_classes(masks))
    for_measure, for_oracle = saturated(masks)
    measured = measure(scores, masks, regions=for_measure, n_threads=1)
    assert set(measured.values) == set(SWEPT)
    for key, value in measured.values.items():
        assert value == pytest.approx(oracles.metric(key, scores, masks, for_oracle), rel=1e-12, abs=1e-14), key


@few
@given(case=maps())
def test_a_monotone_rescaling_changes_nothing(case):
    scores, masks = case
    assert values([np.exp(score_map.astype(np.float64) / 3) - 2 for score_map in scores], masks) == values(
        scores, masks
    )


@few
@given(case=maps(), data=st.data())
def test_the_order_of_images_changes_no_bit(case, data):
    scores, masks = case
    order = data.draw(st.permutations(range(len(scores))))
    assert values([scores[i] for i in order], [masks[i] for i in order]) == values(scores, masks)


@few
@given(case=maps(max_images=6), data=st.data())
def test_splitting_and_merging_changes_no_bit(case, data):
    scores, masks = case
    n_parts = data.draw(st.integers(1, 4))
    regions = saturated(masks)[0]

    def merged(parts, update):
        owners = [data.draw(st.integers(0, n_parts - 1)) for _ in scores]
        for i, owner in enumerate(owners):
            update(parts[owner], i)
        while len(parts) > 1:
            other = parts.pop(data.draw(st.integers(1, len(parts) - 1)))
            parts[0].merge(other)
        return parts[0].compute()

    ranking = merged(
        [FirstPass(needs_of(tuple(METRICS))) for _ in range(n_parts)],
        lambda part, i: part.update(scores[i], masks[i], regions=regions[i], index=i),
    )
    sweep = merged(
        [SecondPass(ranking) for _ in range(n_parts)], lambda part, i: part.update(scores[i], masks[i], index=i)
    )
    whole = measure(scores, masks, regions=regions, n_threads=1)
    parts = finish(sweep, tuple(METRICS))
    assert parts.values == whole.values
    assert parts.undefined == whole.undefined
    for key, per_image in whole.per_image.items():
        np.testing.assert_array_equal(parts.per_image[key], per_image)


@few
@given(case=maps(max_images=6), dtype=st.sampled_from(["f4", "f8", "i8"]), data=st.data())
def test_what_crosses_processes_as_arrays_changes_no_bit(case, dtype, data):
    scores, masks = [score_map.astype(dtype) for score_map in case[0]], case[1]
    keys = [key for key in SWEPT if key != "spro_0.05"]
    n_parts = data.draw(st.integers(1, 4))
    of_part = [range(part, len(scores), n_parts) for part in range(n_parts)]

    def merged(whole, parts, update):
        for places, part in zip(of_part, parts, strict=True):
            for i in places:
                update(part, i)
        for part in data.draw(st.permutations(parts)):
            whole.take(loaded(part.to_arrays()))
        return whole.compute()

    first, *firsts = (FirstPass(needs_of(keys)) for _ in range(n_parts + 1))
    ranking = merged(first, firsts, lambda part, i: part.update(scores[i], masks[i], index=i))
    seconds = [SecondPass(Ranking.of_arrays(ranking.needs, loaded(ranking.to_arrays()))) for _ in of_part]
    sweep = merged(SecondPass(ranking), seconds, lambda part, i: part.update(scores[i], masks[i], index=i))
    whole, parts = measure(scores, masks, metrics=keys, n_threads=1), finish(sweep, keys)
    assert parts.values == whole.values
    assert parts.undefined == whole.undefined
    for key, per_image in whole.per_image.items():
        np.testing.assert_array_equal(parts.per_image[key], per_image)


def loaded(arrays):
    """Arrays as they come from a file."""
    file = BytesIO()
    np.savez_compressed(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


@few
@given(case=maps())
def test_the_number_of_threads_changes_no_bit(case):
    assert values(*case, n_threads=2) == values(*case, n_threads=1) == values(*case, n_threads=3)


@few
@given(case=maps())
def test_turning_the_images_changes_nothing(case):
    scores, masks = case
    turned = values([np.rot90(score_map) for score_map in scores], [np.rot90(mask) for mask in masks])
    assert turned == pytest.approx(values(scores, masks), rel=1e-12)


@few
@given(case=maps())
def test_seeing_every_image_twice_changes_nothing(case):
    scores, masks = case
    assert values(scores * 2, masks * 2) == pytest.approx(values(scores, masks), rel=1e-12)


@few
@given(case=maps())
def test_values_stay_in_their_range(case):
    for key, value in values(*case).items():
        assert value >= 0.0, key
        assert METRICS[key].unit != "fraction" or value <= 1.0, key


@every_metric
@few
@given(case=maps())
def test_a_metric_alone_has_the_bits_it_has_among_all(key, case):
    scores, masks = case
    together = values(scores, masks)
    alone = values(scores, masks, metrics=[key])
    assert alone == ({key: together[key]} if key in together else {})
    if key in together and key != "spro_0.05":
        assert evaluate_maps(scores, masks, metrics=[key], n_threads=1) == alone  # without the curve, if it can be


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", ">f4", ">i8"])
@few
@given(case=maps())
def test_the_type_of_the_scores_changes_no_bit(dtype, case):
    scores, masks = case
    assert values([score_map.astype(dtype) for score_map in scores], masks) == values(scores, masks)


@every_metric
def test_a_perfect_map_is_best(key):
    _, masks = smooth()
    metric = METRICS[key]
    value = values(masks.astype(np.float32), masks)[key]
    if key == "pixel_ap_lift":
        assert value == pytest.approx(1 / masks.mean())
    elif metric.higher_is_better is not None:
        assert value == (1.0 if metric.higher_is_better else 0.0)


@every_metric
def test_without_an_anomalous_pixel_a_metric_is_undefined_with_the_reason(key):
    scores = np.zeros((2, 3, 3))
    measured = measure(scores, np.zeros((2, 3, 3), dtype=bool))
    if key == "anomaly_rate":
        assert measured.values[key] == 0.0
    else:
        assert measured.undefined[key] in ("no pixel is anomalous", "no image is anomalous")
        with pytest.raises(UndefinedMetricError, match=f"{key} is undefined: no (pixel|image) is anomalous"):
            evaluate_maps(scores, np.zeros((2, 3, 3), dtype=bool), metrics=[key])


@every_metric
def test_without_a_normal_pixel_a_metric_is_undefined_with_the_reason(key):
    measured = measure(np.zeros((2, 3, 3)), np.ones((2, 3, 3), dtype=bool))
    if key in OF_THE_DATA:
        assert measured.values[key] == 1.0
    else:
        assert measured.undefined[key] in ("no pixel is normal", "no image is normal")


@pytest.mark.parametrize("key", [key for key, metric in METRICS.items() if metric.is_of_protocols])
def test_a_metric_of_protocols_says_which_define_it(key):
    reason = measure(*smooth(), metrics=[key]).undefined[key]
    assert reason == "only the protocols ader and ader_adeval50 define it"


def test_undefined_metrics_are_left_out_unless_asked_for():
    assert evaluate_maps(np.zeros((1, 1, 1)), np.zeros((1, 1, 1), dtype=bool)) == {"anomaly_rate": 0.0}


def test_the_table_is_whole():
    assert all(
        key == metric.key and metric.label and metric.summary and metric.source for key, metric in METRICS.items()
    )
    assert set(DEFAULT_METRICS) <= set(METRICS)
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
