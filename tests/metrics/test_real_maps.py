"""The metrics on maps of real photographs with real masks, beside the libraries that others use."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from aseg_bench.datasets import DATASETS
from aseg_bench.images import read_image, read_mask
from aseg_bench.metrics import functions, measure
from tests.metrics.test_region import mvtec_aupro

ROOT = Path(os.environ.get("ASEG_BENCH_REAL_DATA", Path(__file__).parents[3] / "shared" / "data" / "real_mix"))
pytestmark = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"no real images at {ROOT}; name them in ASEG_BENCH_REAL_DATA"
)


@pytest.fixture(scope="module", params=["ball_screw", "cookie"])
def maps(request):
    """Local contrast as anomaly score, 200 x 200 pixels of up to 16 test images; one half normal."""
    found = [sample for sample in DATASETS["mvtec_ad"].find(ROOT, [request.param]) if sample.split == "test"]
    normal, anomalous = ([sample for sample in found if sample.is_anomalous == kind][:8] for kind in (False, True))
    scores, masks = [], []
    for sample in normal + anomalous:
        grey = read_image(sample.image_path).mean(axis=2)
        mask = np.zeros(grey.shape, dtype=bool) if sample.mask_path is None else read_mask(sample.mask_path) > 0
        step = -(-max(grey.shape) // 200)
        contrast = ndimage.gaussian_filter(np.abs(grey - ndimage.gaussian_filter(grey, 8)), 2)
        scores.append(contrast[::step, ::step].astype(np.float32))
        masks.append(mask[::step, ::step])
    shape = np.min([score_map.shape for score_map in scores], axis=0)
    cut = np.s_[: shape[0], : shape[1]]
    return np.stack([score_map[cut] for score_map in scores]), np.stack([mask[cut] for mask in masks])


def test_the_curve_equals_scikit_learns(maps):
    scores, masks = maps
    truth, flat = masks.ravel(), scores.ravel()
    measured = measure(scores, masks)
    precision, recall, thresholds = precision_recall_curve(truth, flat)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert measured.values["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-12)
    assert measured.values["pixel_ap"] == pytest.approx(average_precision_score(truth, flat), abs=1e-12)
    assert measured.values["pixel_f1_max"] == pytest.approx(f1.max(), abs=1e-12)
    assert measured.curve.pr_threshold == thresholds[np.argmax(precision + recall)]


def test_aupro_equals_mvtecs_evaluation_with_scipys_regions(maps):
    for limit in (0.05, 0.3):
        assert functions.aupro(*maps, limit=limit) == pytest.approx(mvtec_aupro(*maps, limit), abs=1e-9)


def test_aupro_comes_near_anomalibs(maps):
    torch, library = pytest.importorskip("torch"), pytest.importorskip("anomalib.metrics.aupro")
    metric = library._AUPRO()
    metric.update(torch.from_numpy(maps[0]), torch.from_numpy(maps[1]))
    assert functions.aupro(*maps) == pytest.approx(float(metric.compute()), abs=1e-5)  # it sums in float32


def test_aupimo_comes_near_anomalibs_grid(maps):
    torch, library = pytest.importorskip("torch"), pytest.importorskip("anomalib.metrics.pimo.pimo")
    bounds = (1e-4, 1e-2)
    metric = library._AUPIMO(num_thresholds=30_000, fpr_bounds=bounds, return_average=False)
    metric.update(torch.from_numpy(maps[0]), torch.from_numpy(maps[1]))
    theirs = metric.compute()[1].aupimos.numpy()
    ours = functions.aupimo_per_image(*maps, lower=bounds[0], upper=bounds[1])
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
