"""Seeded scenes, and the tools that are measured on them: our suite and its peers, each on its own metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from aseg_bench.metrics import evaluate_maps

Values = dict[str, float]


@dataclass(frozen=True, eq=False)
class Scene:
    """Maps to measure: scores (images, side, side) float32; masks of the same shape, bool."""

    scores: NDArray[np.float32]
    masks: NDArray[np.bool_]


def smooth(n_images: int, side: int) -> Scene:
    """Smooth maps with two blobs on three of four images: 3 % of the pixels are anomalous."""
    rng = np.random.default_rng(0)
    scores = np.empty((n_images, side, side), dtype=np.float32)
    masks = np.zeros(scores.shape, dtype=np.bool_)
    rows, columns = np.ogrid[:side, :side]
    for i in range(n_images):
        coarse = rng.standard_normal((side // 8, side // 8), dtype=np.float32)
        for _ in range(2 if i % 4 else 0):
            radius = rng.integers(side // 17, side // 10)
            row, column = rng.integers(radius, side - radius, 2)
            masks[i] |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        blob = ndimage.uniform_filter(masks[i].astype(np.float32), 9)
        grain = rng.standard_normal((side, side), dtype=np.float32)
        scores[i] = np.exp(0.5 * ndimage.zoom(coarse, 8, order=1) + 0.8 * blob + 0.005 * grain)
    return Scene(scores, masks)


def worst(n_images: int, side: int) -> Scene:
    """Random scores, every second pixel anomalous."""
    rng = np.random.default_rng(0)
    shape = (n_images, side, side)
    return Scene(rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32) < 0.5)


def few(n_images: int, side: int) -> Scene:
    """The smooth maps with about a hundred distinct scores."""
    scene = smooth(n_images, side)
    return Scene(np.round(scene.scores * 10) / np.float32(10), scene.masks)


SCENES: dict[str, Callable[[int, int], Scene]] = {"smooth": smooth, "worst": worst, "few": few}


def ours(*keys: str) -> Callable[[Scene], Values]:
    """Our suite on some metrics, or on all of them."""
    return lambda scene: evaluate_maps(scene.scores, scene.masks, metrics=keys or None)


def scikit_learn(scene: Scene) -> Values:
    """The three exact functions that the field calls."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    scores, truth = scene.scores.ravel(), scene.masks.ravel()
    precision, recall, _ = precision_recall_curve(truth, scores)
    best = np.argmax(precision + recall)
    return {
        "pixel_auroc": float(roc_auc_score(truth, scores)),
        "pixel_ap": float(average_precision_score(truth, scores)),
        "precision": float(precision[best]),
        "recall": float(recall[best]),
    }


def torchmetrics(n_thresholds: int | None) -> Callable[[Scene], Values]:
    """Its AUROC and AP, exact or binned, one update per image."""

    def run(scene: Scene) -> Values:
        import torch
        from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

        auroc, ap = BinaryAUROC(thresholds=n_thresholds), BinaryAveragePrecision(thresholds=n_thresholds)
        low, high = scene.scores.min(), scene.scores.max()
        for score_map, mask in zip(scene.scores, scene.masks, strict=True):
            share = torch.from_numpy((score_map - low) / (high - low))  # outside [0, 1] it would apply a sigmoid
            auroc.update(share, torch.from_numpy(mask))
            ap.update(share, torch.from_numpy(mask))
        return {"pixel_auroc": float(auroc.compute()), "pixel_ap": float(ap.compute())}

    return run


def adeval(scene: Scene) -> Values:
    """Its AUROC, AP and AUPRO from histograms of 1,000 bins."""
    vars(np).setdefault("trapz", np.trapezoid)  # ADEval 1.1.0 calls it by the name that numpy 2.4 dropped
    from adeval import EvalAccumulator

    accumulator = EvalAccumulator(0.0, 1.0, float(scene.scores.min()), float(scene.scores.max()))
    for score_map, mask in zip(scene.scores, scene.masks, strict=True):
        accumulator.add_anomap(score_map, mask.astype(np.uint8))
        accumulator.add_image(0.5, int(mask.any()))
    found = accumulator.summary()
    return {"pixel_auroc": found["p_auroc"], "pixel_ap": found["p_aupr"], "aupro_0.3": found["p_aupro"]}


def anomalib(key: str) -> Callable[[Scene], Values]:
    """Its AUPRO or AUPIMO, with its defaults."""

    def run(scene: Scene) -> Values:
        import torch
        from anomalib.metrics import AUPIMO, AUPRO

        metric = {"aupro_0.3": AUPRO, "aupimo": AUPIMO}[key](fields=["anomaly_map", "gt_mask"])
        maps, masks = torch.from_numpy(scene.scores), torch.from_numpy(scene.masks)
        metric.update(SimpleNamespace(anomaly_map=maps, gt_mask=masks))
        return {key: float(metric.compute())}

    return run


@dataclass(frozen=True)
class Tool:
    """One thing to measure: a suite on its own metrics; a peer names our suite on the same ones."""

    label: str
    package: str
    run: Callable[[Scene], Values]
    match: str = ""
    scenes: tuple[str, ...] = ("smooth",)


ALL_SCENES = tuple(SCENES)
TOOLS = {
    "ours": Tool("aseg-bench: AUROC, AP, PR threshold", "aseg-bench",
                 ours("pixel_auroc", "pixel_ap", "precision", "recall"), scenes=ALL_SCENES),
    "ours_all": Tool("aseg-bench: all metrics", "aseg-bench", ours(), scenes=ALL_SCENES),
    "ours_with_aupro": Tool("aseg-bench: AUROC, AP, AUPRO", "aseg-bench", ours("pixel_auroc", "pixel_ap", "aupro_0.3")),
    "ours_aupro": Tool("aseg-bench: AUPRO", "aseg-bench", ours("aupro_0.3")),
    "ours_aupimo": Tool("aseg-bench: AUPIMO", "aseg-bench", ours("aupimo")),
    "scikit_learn": Tool("scikit-learn: AUROC, AP, PR curve", "scikit-learn", scikit_learn, "ours", ALL_SCENES),
    "torchmetrics": Tool("torchmetrics, exact: AUROC, AP", "torchmetrics", torchmetrics(None), "ours"),
    "torchmetrics_100": Tool("torchmetrics, 100 bins: AUROC, AP", "torchmetrics", torchmetrics(100), "ours"),
    "adeval": Tool("ADEval: AUROC, AP, AUPRO", "ADEval", adeval, "ours_with_aupro"),
    "anomalib_aupro": Tool("anomalib: AUPRO", "anomalib", anomalib("aupro_0.3"), "ours_aupro"),
    "anomalib_aupimo": Tool("anomalib: AUPIMO", "anomalib", anomalib("aupimo"), "ours_aupimo"),
}  # fmt: skip
