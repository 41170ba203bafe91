"""AUPRO variants are those of the code they restate: of the library itself, or of a plain loop over thresholds."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import label, regionprops
from sklearn.metrics import auc, roc_curve

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.protocols.overlap import Overlaps, aupro


@pytest.fixture
def case() -> Overlaps:
    rng = np.random.default_rng(5)
    truths = [np.zeros((40, 44), np.bool_) for _ in range(4)]
    truths[0][3:9, 5:15] = True
    truths[0][9, 15] = True  # joined by a corner
    truths[0][30:33, 30:34] = True
    truths[1][10:30, 20:30] = True
    maps = [(cv2.GaussianBlur(rng.normal(size=t.shape), (0, 0), 1.5) + 0.4 * t).astype(np.float32) for t in truths]
    return Overlaps(maps, truths, [float((~truth).sum()) for truth in truths])


@dataclass
class Loop:
    """AUPRO as the grid code bases write it: binary maps at equal steps, skimage's regions."""

    n_steps: int
    limit: float = 0.3
    is_dilated: bool = False
    from_lowest: bool = False

    def value(self, maps: NDArray[np.float32], masks: NDArray[np.int64], normal: NDArray[np.float64]) -> float:
        pros, fprs = [], []
        delta = (maps.max() - maps.min()) / self.n_steps
        for threshold in np.arange(maps.min(), maps.max(), delta):
            called = maps > threshold
            parts = []
            for image, mask in zip(called, masks, strict=True):
                reach = cv2.dilate(image.astype(np.uint8), np.ones((5, 5), np.uint8)) if self.is_dilated else image
                parts += [reach[tuple(r.coords.T)].sum() / r.area for r in regionprops(label(mask))]
            pros.append(np.mean(parts))
            fprs.append(np.logical_and(normal, called).sum() / normal.sum())
        pro, fpr = np.array(pros), np.array(fprs)
        pro, fpr = pro[fpr < self.limit], fpr[fpr < self.limit]
        start = fpr.min() if self.from_lowest else 0
        return float(auc((fpr - start) / (fpr.max() - start), pro))


@pytest.mark.parametrize(
    ("rule", "loop"),
    [
        ("grid_200", Loop(200)),
        ("grid_200_dilated", Loop(200, is_dilated=True)),
        ("grid_100_min_max", Loop(100, from_lowest=True)),
        ("grid_200", Loop(200, limit=0.05)),
    ],
)
def test_grid_variants_are_those_of_a_loop_over_binary_maps(case: Overlaps, rule: str, loop: Loop) -> None:
    masks = np.stack(case.truths).astype(np.int64)
    expected = loop.value(np.stack(case.maps), masks, 1.0 - masks)
    assert aupro(case, rule, loop.limit) == pytest.approx(expected, abs=1e-12)  # type: ignore[arg-type]


def test_simplenets_unbinarised_masks_count_partly_normal_pixels_in_part(case: Overlaps) -> None:
    masks = np.stack(case.truths).astype(np.float64)
    masks[0, 2, 5:15] = 0.25
    normal = 1 - masks
    fractional = case._replace(normal_areas=list(normal.sum(axis=(1, 2))))
    expected = Loop(200, is_dilated=True).value(np.stack(case.maps), masks.astype(np.int64), normal)
    assert aupro(fractional, "grid_200_dilated", 0.3) == pytest.approx(expected, abs=1e-12)


def test_the_per_image_variant_is_the_mean_over_anomalous_images_alone(case: Overlaps) -> None:
    alone = []
    for scores, truth in zip(case.maps[:2], case.truths[:2], strict=True):
        masks = truth[None].astype(np.int64)
        alone.append(Loop(200).value(scores[None], masks, 1.0 - masks))
    assert aupro(case, "grid_200_per_image", 0.3) == pytest.approx(np.mean(alone), abs=1e-12)


@pytest.mark.parametrize("n_bins", [50, 1000])
def test_the_histogram_variant_is_adevals(case: Overlaps, n_bins: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(np, "trapz"):  # ADEval 1.1.0 wants numpy before 2.4
        monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    mem_effic = pytest.importorskip("adeval.mem_effic")
    masks = np.stack(case.truths).astype(np.uint8)
    *_, expected = mem_effic.auroc_aupr_aupro(np.stack(case.maps), masks, nstrips=n_bins)
    rule = "histogram_50" if n_bins == 50 else "histogram_1000"
    assert aupro(case, rule, 0.3) == pytest.approx(expected, abs=1e-7)  # its region weights are float32


def test_the_resampled_variant_averages_the_regions_own_curves_by_index(case: Overlaps) -> None:
    """DeSTSeg's AUPRO, from scikit-learn's ROC of each region against all normal pixels."""
    limit = 0.3
    scores = np.stack(case.maps).ravel()
    regions = np.zeros(len(scores), np.int64)
    for index, truth in enumerate(case.truths):
        place = index * truth.size
        found = label(truth).ravel()
        regions[place : place + truth.size] = np.where(found > 0, found + regions.max(), 0)
    fpr, _, _ = roc_curve(regions > 0, scores, drop_intermediate=False)
    n_points = int((fpr <= limit).sum())
    curves = []
    for region in range(1, regions.max() + 1):
        chosen = (regions == 0) | (regions == region)
        fpr, tpr, _ = roc_curve(regions[chosen] == region, scores[chosen], drop_intermediate=False)
        n_kept = int((fpr <= limit).sum())
        index = np.arange(n_kept + 1) / n_kept * (n_points - 1)
        places = np.arange(n_points, dtype=float)
        places[-1] = index[-2] + (index[-1] - index[-2]) * (limit - fpr[n_kept - 1]) / (fpr[n_kept] - fpr[n_kept - 1])
        kept = slice(0, n_kept + 1)
        curves.append((np.interp(places, index, fpr[kept]), np.interp(places, index, tpr[kept])))
    mean_fpr, mean_tpr = np.mean(curves, axis=0)
    expected = auc(mean_fpr, mean_tpr) / mean_fpr[-1]
    assert aupro(case, "resampled_regions", limit) == pytest.approx(expected, abs=1e-12)


def test_without_an_anomalous_pixel_or_a_spread_of_scores_it_is_undefined(case: Overlaps) -> None:
    empty = case._replace(truths=[np.zeros_like(truth) for truth in case.truths])
    with pytest.raises(UndefinedMetricError, match="no anomalous pixel"):
        aupro(empty, "grid_200", 0.3)
    flat = case._replace(maps=[np.zeros_like(scores) for scores in case.maps])
    with pytest.raises(UndefinedMetricError, match="all scores are equal"):
        aupro(flat, "grid_200", 0.3)
