"""What reports count of maps with void pixels is what the metric core counts."""

from math import fsum
from pathlib import Path

import numpy as np
import pytest

from aseg_bench.analysis.comparison import compare_methods
from aseg_bench.analysis.resampling import RESAMPLED, count_images, weighted_values
from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.metrics import measure
from aseg_bench.records import Case, Sample, Score
from aseg_bench.reporting.figures.panels import chosen_images
from aseg_bench.reporting.report import false_alarms
from tests.metrics import oracles


def category(seed, n_levels=9):
    """Ten images with ties and void pixels: 7 is void throughout, 8 labelled anomalous without an anomalous pixel."""
    rng = np.random.default_rng(seed)
    truth = rng.random((10, 12, 13)) < 0.2
    truth[:4] = truth[8] = False
    void = rng.random(truth.shape) < 0.3
    void[7] = True
    kinds = ["good"] * 4 + ["cut"] * 3 + ["hole"] * 3
    samples = [Sample("d", "c", "test", kind, f"{i}", Path("none.png")) for i, kind in enumerate(kinds)]
    scores = (rng.integers(0, n_levels, truth.shape) + 2 * truth).astype(np.float32)
    return ScoredMaps(Case("m", "d", "c"), samples, list(scores), list(np.ma.array(truth, mask=void)))


@pytest.mark.parametrize("seed", range(5))
def test_level_counts_are_those_of_the_remaining_pixels(seed):
    maps = category(seed)
    counts = maps.counts
    measured = measure(maps.scores, maps.masks, image_labels=maps.image_labels)
    assert counts.threshold == measured.curve.pr_threshold
    for i, (score_map, mask) in enumerate(zip(maps.scores, maps.masks, strict=True)):
        values, labels = oracles.valid(score_map, mask)
        for level, threshold in enumerate(counts.levels, start=1):
            assert counts.normal[i, level:].sum() == ((values >= threshold) & ~labels).sum()
            assert counts.anomalous[i, level:].sum() == ((values >= threshold) & labels).sum()
    regions = [len(places) for mask in maps.masks for places in oracles.components(mask)]
    assert sorted(counts.regions.sum(axis=1)) == sorted(regions)
    at = counts.code(counts.threshold)
    assert counts.curves.recall[at] == measured.values["recall"]
    assert counts.curves.precision[at] == pytest.approx(measured.values["precision"])
    assert set(range(10)) - {i for part in counts.slices for i in part.positions} == {0, 1, 2, 3, 7}
    for part in counts.slices:
        some = [i for i in range(10) if i in part.positions or i < 4]
        alone = measure([maps.scores[i] for i in some], [maps.masks[i] for i in some]).values
        assert part.pixel_ap == alone.get("pixel_ap")
    assert false_alarms([[maps]])[maps.case] == measured.values["fp_pixels"]
    assert not {7, 8} & set(chosen_images([maps]).values())


@pytest.mark.parametrize("seed", range(5))
def test_intervals_stand_around_the_metrics_of_the_remaining_pixels(seed):
    maps = category(seed)
    values = measure(maps.scores, maps.masks, metrics=RESAMPLED, image_labels=maps.image_labels).values
    counts = count_images(maps.scores, maps.masks, labels=maps.image_labels)
    assert counts.strata.tolist() == [0, 0, 0, 0, 1, 1, 1, -1, 0, 1]
    for repeats in (np.ones(10), np.array([1, 2, 0, 1, 1, 3, 1, 5, 1, 1])):
        some = np.repeat(np.arange(10), repeats.astype(int))
        exact = measure(
            [maps.scores[i] for i in some], [maps.masks[i] for i in some], image_labels=maps.image_labels[some]
        ).values
        for key, (found, error) in weighted_values(counts, repeats[None]).items():
            assert abs(found[0] - exact[key]) <= error[0] + 1e-9, key
    scores = [Score(maps.case, key, value, 10, "exact") for key, value in values.items()]
    numbers = compare_methods([[maps]], scores, n_replicates=50).numbers["d", "c"]
    for key, value in values.items():
        assert numbers[key]["m"].estimate == value
        low, high = numbers[key]["m"].interval()
        assert low <= value <= high
        assert np.isfinite(numbers[key]["m"].replicates).all()


def test_void_images_move_no_interval():
    maps = category(0)
    kept = [i for i in range(10) if i != 7]
    without = ScoredMaps(maps.case, *([of[i] for i in kept] for of in (maps.samples, maps.scores, maps.masks)))
    values = measure(maps.scores, maps.masks, metrics=RESAMPLED, image_labels=maps.image_labels).values
    scores = [Score(maps.case, key, value, 10, "exact") for key, value in values.items()]
    one, other = (compare_methods([[of]], scores, n_replicates=80).numbers["d", "c"] for of in (maps, without))
    for key in RESAMPLED:
        np.testing.assert_allclose(one[key]["m"].replicates, other[key]["m"].replicates, rtol=1e-12)
        if one[key]["m"].influence is not None:
            assert fsum(one[key]["m"].influence ** 2) == pytest.approx(fsum(other[key]["m"].influence ** 2))
