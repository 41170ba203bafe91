"""Approximate areas are those of the code they restate: of the library itself, or of a plain loop over thresholds."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import auc, f1_score

from aseg_bench.protocols.curves import (
    best_f1_threshold,
    grid_f1,
    histogram_auroc_ap,
    percentile_auroc_ap,
    trapezoid_ap,
)

Images = tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]


@pytest.fixture
def images() -> Images:
    rng = np.random.default_rng(3)
    truths = [np.zeros((48, 40), np.bool_) for _ in range(5)]
    for index, truth in enumerate(truths[:3]):
        truth[5 : 12 + index, 8:20] = True
        truth[30:33, 30:34] = True
    maps = [(rng.normal(size=truth.shape) + 1.5 * truth).astype(np.float32) for truth in truths]
    return maps, truths


def pooled(images: Images) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return np.concatenate([m.ravel() for m in images[0]]), np.concatenate([t.ravel() for t in images[1]])


@pytest.mark.parametrize("n_bins", [50, 1000])
def test_histogram_areas_are_adevals(images: Images, n_bins: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(np, "trapz"):  # ADEval 1.1.0 wants numpy before 2.4
        monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    mem_effic = pytest.importorskip("adeval.mem_effic")
    maps, truths = images
    expected = mem_effic.auroc_and_aupr(np.stack(maps), np.stack(truths).astype(np.uint8), nstrips=n_bins)
    assert histogram_auroc_ap(maps, truths, n_bins) == pytest.approx(expected, abs=1e-12)
    scores, labels = np.array([m.max() for m in maps]), np.array([t.any() for t in truths])
    expected = mem_effic.auroc_and_aupr(scores, labels.astype(np.uint8), nstrips=n_bins)
    assert histogram_auroc_ap([scores], [labels], n_bins) == pytest.approx(expected, abs=1e-12)


def test_percentile_areas_are_those_of_a_loop_over_202_thresholds(images: Images) -> None:
    scores, labels = pooled(images)
    scores = scores.astype(np.float64)  # numpy 1 would compare float32 with a threshold as float32
    anomalous = scores[labels]
    thresholds = np.sort(
        np.concatenate(
            [
                np.percentile(anomalous, np.linspace(100, 0, num=100)),
                np.linspace(anomalous.max(), anomalous.min(), num=100),
                [float(scores.min()) - 1e-8, float(scores.max()) + 1e-8],
            ]
        )
    )[::-1]
    fpr, tpr, precision = [], [], []
    for threshold in thresholds:
        called = scores > threshold
        fpr.append((called & ~labels).sum() / (~labels).sum())
        tpr.append((called & labels).sum() / labels.sum())
        precision.append((called & labels).sum() / called.sum() if called.any() else 1.0)
    assert len(thresholds) == 202
    assert percentile_auroc_ap(*images) == pytest.approx((auc(fpr, tpr), auc(tpr, precision)), abs=1e-12)


def test_grid_f1_is_that_of_a_loop_over_21_steps(images: Images) -> None:
    scores, labels = pooled(images)
    share = (scores - scores.min()) / (scores.max() - scores.min())
    expected = max(f1_score(labels, share > step, zero_division=0) for step in np.arange(0, 1.001, 0.05))
    assert grid_f1(*images) == pytest.approx(expected, abs=1e-6)


def test_the_best_f1_threshold_is_the_lowest_of_the_best() -> None:
    scores = np.array([0.1, 0.2, 0.2, 0.5, 0.7, 0.7])
    labels = np.array([0, 0, 1, 0, 1, 1], bool)
    expected = max(sorted(set(scores)), key=lambda t: f1_score(labels, scores >= t))
    assert best_f1_threshold(scores, labels) == expected
    assert best_f1_threshold(scores, np.zeros(6, bool)) == 0.7


def test_a_constant_score_has_half_the_trapezoid_area() -> None:
    labels = np.zeros(1000, bool)
    labels[:3] = True
    assert trapezoid_ap(np.ones(1000), labels) == pytest.approx((1 + 0.003) / 2)


def test_every_area_reads_images_one_by_one(images: Images) -> None:
    class Once(Sequence[NDArray[np.float32]]):
        def __init__(self) -> None:
            self.n_reads = 0

        def __len__(self) -> int:
            return len(images[0])

        def __getitem__(self, index: int) -> NDArray[np.float32]:  # type: ignore[override]
            self.n_reads += index < len(self)
            return images[0][index]

    maps = Once()
    histogram_auroc_ap(maps, images[1], 50)
    assert maps.n_reads == 2 * len(maps)  # the range, and the counts
