"""Scores by the area of defects are those of maps in which every other defect is void."""

from pathlib import Path

import numpy as np
import pytest

from aseg_bench.analysis.areas import area_scores
from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.analysis.slices import AREA_BOUNDS, AREAS
from aseg_bench.records import Case, Sample
from tests.metrics import oracles

SHAPE = (30, 34)


def category(seed):
    """Eight images with several defects each from one pixel to a quarter of the image, void pixels, and many ties."""
    random = np.random.default_rng(seed)
    samples, scores, masks = [], [], []
    for i in range(8):
        truth, void = np.zeros(SHAPE, bool), random.random(SHAPE) < 0.1
        for _ in range(random.integers(1, 4) if i > 2 else 0):
            top, left, edge = *random.integers(0, 30, 2), random.integers(1, random.choice([3, 9, 16]))
            truth[top : top + edge, left : left + edge] = True
        samples.append(Sample("d", "c", "test", "cut" if i > 2 else "good", f"{i}", Path("none.png")))
        scores.append((random.integers(0, 6, SHAPE) + 2 * truth).astype(np.float32))
        masks.append(np.ma.array(truth, mask=void))
    return ScoredMaps(Case("m", "d", "c"), samples, scores, masks)


def only(mask, place):
    """The mask with all defects void that have another area, and how many are left."""
    bounds = [0, *AREA_BOUNDS, 1.1]
    kept = mask.copy()
    n_kept, n_pixels = 0, (~np.ma.getmaskarray(mask)).sum()
    for region in oracles.components(mask):
        if bounds[place] <= len(region) / n_pixels < bounds[place + 1]:
            n_kept += 1
        else:
            for at in region:
                kept[at] = np.ma.masked
    return kept, n_kept


@pytest.mark.parametrize("seed", range(6))
def test_scores_by_area_are_those_with_all_other_defects_void(seed):
    maps = category(seed)
    threshold, *_ = oracles.at_pr_threshold(oracles.pooled(maps.scores, maps.masks))
    by_area = {row.area: row for row in area_scores(maps)}
    for place, area in enumerate(AREAS):
        masks, n_defects = zip(*(only(mask, place) for mask in maps.masks), strict=True)
        if not sum(n_defects):
            assert area not in by_area
            continue
        pairs = oracles.pooled(maps.scores, masks)
        dice = []
        for scores, mask, n_own in zip(maps.scores, masks, n_defects, strict=True):
            values, labels = oracles.valid(scores, mask)
            if n_own:
                dice.append(2 * (labels & (values >= threshold)).sum() / (labels.sum() + (values >= threshold).sum()))
        row = by_area[area]
        found = [
            any(scores[at] >= threshold for at in region)
            for scores, mask in zip(maps.scores, masks, strict=True)
            for region in oracles.components(mask)
        ]
        assert row.missed == found.count(False) / len(found)
        assert row.n_defects == sum(n_defects)
        assert row.pixel_ap == pytest.approx(oracles.ap(pairs), rel=1e-12)
        assert row.aupro == pytest.approx(oracles.aupro(maps.scores, masks, 0.05), rel=1e-9)
        assert row.recall == (pairs.labels & (pairs.scores >= threshold)).sum() / pairs.labels.sum()
        assert row.dsc == pytest.approx(np.mean(dice), rel=1e-12)
    assert len(by_area) > 2


def test_a_category_without_a_defect_has_no_scores_by_area():
    maps = category(0)
    assert not area_scores(ScoredMaps(maps.case, maps.samples[:3], maps.scores[:3], maps.masks[:3]))
