from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from aseg_bench.analysis.scored_maps import ScoredMaps, codes, small, stored_maps
from aseg_bench.analysis.slices import slices
from aseg_bench.metrics import measure
from aseg_bench.predictions.store import MapStore
from aseg_bench.protocols import EXACT, PROTOCOLS
from aseg_bench.records import AnomalyMap, Case, Sample
from tests.categories import make_category


@given(arrays(np.float32, (4, 5), elements=st.integers(0, 4)), arrays(np.float64, 3, elements=st.integers(0, 4)))
def test_code_at_least_k_is_score_at_least_the_kth_level(scores, candidates):
    levels = np.unique(candidates)
    for k, level in enumerate(levels, start=1):
        assert np.array_equal(codes(scores, levels) >= k, scores >= level)


def test_counts_at_the_threshold_are_those_of_the_maps(category):
    for maps in category:
        found = np.stack(maps.scores) >= maps.threshold
        truth = np.stack(maps.masks)
        hits, false_alarms, misses = maps.counts.confusion(maps.threshold)
        assert np.array_equal(hits, (found & truth).sum(axis=(1, 2)))
        assert np.array_equal(false_alarms, (found & ~truth).sum(axis=(1, 2)))
        assert np.array_equal(misses, (~found & truth).sum(axis=(1, 2)))


def test_the_threshold_is_a_level_and_maximises_precision_plus_recall(category):
    for maps in category:
        assert maps.threshold == measure(maps.scores, maps.masks, metrics=["pixel_ap"]).curve.pr_threshold
        assert maps.threshold in maps.counts.levels
        assert len(maps.counts.levels) <= 255
        points = maps.counts.curves
        at = 1 + np.searchsorted(maps.counts.levels, maps.threshold)
        assert (points.precision + points.recall)[at] >= (points.precision + points.recall)[1:].max() - 1e-12


def test_every_pixel_is_counted_once(category):
    for maps in category:
        assert maps.counts.normal.sum() + maps.counts.anomalous.sum() == np.stack(maps.masks).size
        assert maps.counts.anomalous.sum() == np.stack(maps.masks).sum()
        assert np.array_equal(maps.counts.regions.sum(axis=0), maps.counts.anomalous.sum(axis=0))


def test_curves_end_where_everything_is_anomalous(category):
    points = category[0].counts.curves
    assert (points.recall[0], points.fpr[0], points.overlap[0]) == (1, 1, 1)
    assert points.precision[0] == np.stack(category[0].masks).mean()


def test_curve_area_comes_close_to_the_exact_auroc(category):
    maps = category[1]
    points = maps.counts.curves
    exact = measure(np.stack(maps.scores), np.stack(maps.masks), metrics=["pixel_auroc"]).values["pixel_auroc"]
    assert abs(np.trapezoid(points.recall[::-1], points.fpr[::-1]) - exact) < 0.005


def test_a_category_without_a_defect_has_counts_but_no_threshold(category):
    maps = category[0]
    chosen = [i for i, sample in enumerate(maps.samples) if not sample.is_anomalous]
    normal = ScoredMaps(
        Case("m", "toys", "c"),
        [maps.samples[i] for i in chosen],
        [maps.scores[i] for i in chosen],
        [maps.masks[i] for i in chosen],
    )
    assert normal.threshold is None
    assert normal.counts.normal.sum() == len(chosen) * maps.scores[0].size


def test_a_constant_map_has_one_level():
    sample = Sample("toys", "c", "test", "hole", "0", None)
    maps = ScoredMaps(Case("m", "toys", "c"), [sample], [np.ones((4, 4))], [np.eye(4, dtype=bool)])
    assert maps.counts.levels.tolist() == [1.0]
    assert maps.counts.anomalous.tolist() == [[0, 4]]


def test_a_small_picture_keeps_values_and_shape_ratio():
    picture = np.arange(600 * 300).reshape(600, 300)
    shown = small(picture, 256)
    assert shown.shape == (256, 128)
    assert np.isin(shown, picture).all()
    assert np.array_equal(small(picture[:40, :30], 256), picture[:40, :30])


def test_stored_maps_are_read_in_order_with_their_truth(stored, tmp_path):
    fresh = make_category(tmp_path, "cable", n_images=3, size=32, methods=("good",))[0]
    maps = stored[1][0]
    assert (maps.case.category, len(maps.samples)) == ("cable", 3)
    assert all(np.array_equal(a, b) for a, b in zip(maps.scores, fresh.scores, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(maps.masks, fresh.masks, strict=True))


def test_counts_are_kept_for_these_very_maps_under_this_protocol(tmp_path):
    (maps,) = make_category(tmp_path, methods=("good",))
    store = MapStore(tmp_path / "maps")
    for sample, scores in zip(maps.samples, maps.scores, strict=True):
        store.write("good", AnomalyMap(sample, scores))
    masked = [
        replace(sample, mask_path=_written(tmp_path / f"{sample.stem}_mask.png", mask) if mask.any() else None)
        for sample, mask in zip(maps.samples, maps.masks, strict=True)
    ]
    file = tmp_path / "counts.npz"

    def stored(protocol=EXACT):
        return stored_maps(store, maps.case, masked, protocol, file)

    first = stored()
    assert not first.has_counts
    counts = first.counts
    again = stored()
    assert again.has_counts
    for name in ("threshold", "slices", "areas"):
        assert getattr(again.counts, name) == getattr(counts, name)
    for name in ("levels", "normal", "anomalous", "regions", "region_images"):
        np.testing.assert_array_equal(getattr(again.counts, name), getattr(counts, name))
    assert not stored(PROTOCOLS["rd4ad"]).has_counts
    file.write_bytes(file.read_bytes()[:-20])
    assert not stored().has_counts
    _ = first.counts
    counts.save(file, first.key)
    store.write("good", AnomalyMap(masked[0], maps.scores[0] + 1))
    assert not stored().has_counts


def _written(path, mask):
    Image.fromarray(mask).save(path)
    return path


def test_slices_of_mvtec_ad_2_are_by_light_too():
    names = ("000_regular", "001_shift_1", "002_regular", "003_overexposed")
    bad = [Sample("mvtec_ad_2", "can", "test", "bad", name, Path(name)) for name in names]
    parts = slices([*bad, replace(bad[0], defect="good", stem="004_regular")], [0.1, 0.2, 0.3, 0.4, 0])
    lights = {part.name: part.positions for part in parts if part.by == "light"}
    assert lights == {"overexposed": [3], "regular": [0, 2], "shift_1": [1]}
    others = slices([replace(one, dataset="mvtec_ad") for one in bad], [0.1, 0.2, 0.3, 0.4])
    assert {part.by for part in others} == {"kind", "size"}
