"""A case under a protocol gives what the protocol's original gives, restated plainly."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from aseg_bench.errors import InputError
from aseg_bench.protocols import EXACT, NATIVE, PROTOCOLS, Protocol
from aseg_bench.records import Case, Sample
from aseg_bench.scoring.categories import DEGENERATE, mean_of, score_category

CASE = Case("m", "d", "c")
EDGE = 64
Maps = list[NDArray[np.float32]]
Masks = list[NDArray[np.float32]]


def make_samples(labels: Sequence[bool]) -> list[Sample]:
    return [
        Sample("d", "c", "test", "bad" if label else "good", f"{index:03}", Path("none.png"))
        for index, label in enumerate(labels)
    ]


def scored(
    maps: Sequence[Any], masks: Sequence[Any], protocol: Protocol, samples: list[Sample] | None = None, **options: Any
) -> dict[str, float | None]:
    samples = samples or make_samples([bool(mask.any()) for mask in masks])
    scores = score_category(CASE, samples, maps, masks=masks, protocol=protocol, **options).scores
    assert all(score.protocol == protocol.stamp and score.n_images == len(maps) for score in scores)
    return {score.metric: score.value for score in scores}


def make_images(sign: float, seed: int = 0) -> tuple[Maps, Masks]:
    """Anomalous images, one with a faint mask, and normal ones with and without a pixel above the threshold."""
    rng = np.random.default_rng(seed)
    masks = [np.zeros((224, 224), np.float32) for _ in range(8)]
    for index in range(4):
        masks[index][20 + index : 60, 30:70] = 1 if index else 0.2
    maps = [(rng.normal(size=mask.shape) * 0.2 + sign * 2 * (mask > 0)).astype(np.float32) for mask in masks]
    maps[6][0, 0] = 9
    maps[7][:] -= 3
    return maps, masks


def restated_unias(maps: Maps, masks: Masks) -> dict[str, float]:
    """UniAS' evaluation in plain scikit-learn, image by image."""

    def flipped_auc(labels: NDArray[Any], scores: NDArray[Any]) -> float:
        fpr, tpr, _ = roc_curve(labels, scores)
        area = float(auc(fpr, tpr))
        return 1 - area if area < 0.5 else area

    truths = [mask > 0 for mask in masks]
    labels, scores = np.concatenate([t.ravel() for t in truths]), np.concatenate([m.ravel() for m in maps])
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    threshold = thresholds[np.argmax(precision + recall)]
    dice, iou = [], []
    for score_map, truth in zip(maps, truths, strict=True):
        called = score_map >= threshold
        if not truth.any():
            dice.append(0.0 if called.any() else 1.0)
            iou.append(dice[-1])
        else:
            both = int((truth & called).sum())
            total = int(truth.sum()) + int(called.sum())
            dice.append(2 * both / total)
            iou.append(both / (total - both))
    is_anomalous = np.array([truth.any() for truth in truths]).astype(int)
    return {
        "pixel_auroc": flipped_auc(labels, scores),
        "pixel_ap": float(average_precision_score(labels, scores)),
        "dsc": float(np.mean(dice)),
        "iou": float(np.mean(iou)),
        "max": flipped_auc(is_anomalous, np.array([m.max() for m in maps])),
        "std": flipped_auc(is_anomalous, np.array([m.std() for m in maps])),
    }


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_unias_equals_a_plain_restatement_with_scikit_learn(sign: float, seed: int) -> None:
    maps, masks = make_images(sign, seed)
    expected = restated_unias(maps, masks)
    values = scored(maps, masks, PROTOCOLS["unias"])
    for key in ("pixel_auroc", "pixel_ap", "dsc", "iou"):
        assert values[key] == pytest.approx(expected[key], abs=1e-12), key
    assert values["image_auroc"] == pytest.approx(expected["max"], abs=1e-12)
    by_std = scored(maps, masks, replace(PROTOCOLS["unias"], image_score="std"))
    assert by_std["image_auroc"] == pytest.approx(expected["std"], abs=1e-12)
    if sign < 0:
        exact = scored(maps, masks, EXACT)["pixel_auroc"]
        assert exact is not None
        assert exact < 0.5
        assert values["pixel_auroc"] == pytest.approx(1 - exact, abs=1e-15)


def test_dice_variants_are_the_metrics_of_their_names() -> None:
    maps, masks = make_images(1.0)
    keys = ["dsc", "iou", "dsc_anomalous", "iou_anomalous", "dsc_pooled", "iou_pooled"]
    exact = scored(maps, masks, EXACT, metrics=keys)
    for rule, end in (("anomalous_only", "anomalous"), ("pooled", "pooled")):
        values = scored(maps, masks, replace(EXACT, dsc_rule=rule), metrics=["dsc", "iou"])  # type: ignore[arg-type]
        assert values == {"dsc": exact[f"dsc_{end}"], "iou": exact[f"iou_{end}"]}


def test_a_threshold_that_calls_nearly_everything_anomalous_is_a_finding() -> None:
    rng = np.random.default_rng(0)
    masks = [np.zeros((EDGE, EDGE), np.float32) for _ in range(3)]
    masks[0][:4, :2] = 1
    maps = [rng.random(mask.shape).astype(np.float32) for mask in masks]
    maps[0][0, 0] = 0
    samples = make_samples([mask.any() for mask in masks])
    (finding,) = score_category(CASE, samples, maps, masks=masks, metrics=["dsc"]).findings
    assert (finding.kind, finding.case) == (DEGENERATE, CASE)
    assert "the DSC's threshold calls more than half of all pixels anomalous" in finding.text
    assert not score_category(CASE, samples, maps, masks=masks, metrics=["pixel_ap"]).findings
    assert not score_category(CASE, samples, [mask + 0.0 for mask in masks], masks=masks).findings


@pytest.fixture
def on_disk(tmp_path: Path) -> tuple[list[Sample], list[NDArray[np.uint8]]]:
    """Images of 120 x 90 pixels with their masks in files."""
    samples, masks = [], []
    for index in range(4):
        mask = np.zeros((120, 90), np.uint8)
        if index < 2:
            mask[40 + index : 71, 20:53] = 255
        image = tmp_path / f"{index}.png"
        Image.fromarray(mask).save(image)
        path = tmp_path / f"{index}_mask.png" if index < 2 else None
        if path:
            Image.fromarray(mask).save(path)
        samples.append(Sample("d", "c", "test", "bad" if index < 2 else "good", str(index), image, path))
        masks.append(mask)
    return samples, masks


def test_exact_takes_the_truth_to_the_maps_resolution_by_pillows_nearest_neighbour(
    on_disk: tuple[list[Sample], list[NDArray[np.uint8]]],
) -> None:
    samples, masks = on_disk
    rng = np.random.default_rng(0)
    maps = [rng.random((32, 48)) for _ in samples]
    labels = [np.asarray(Image.fromarray(m).resize((48, 32), Image.Resampling.NEAREST)).ravel() > 0 for m in masks]
    values = {score.metric: score.value for score in score_category(CASE, samples, maps).scores}
    truth, scores = np.concatenate(labels), np.concatenate([m.ravel() for m in maps])
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert values["pixel_ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert values["anomaly_rate"] == pytest.approx(truth.mean(), abs=1e-15)


def test_native_takes_maps_to_the_image_and_leaves_the_truth_alone(
    on_disk: tuple[list[Sample], list[NDArray[np.uint8]]],
) -> None:
    torch = pytest.importorskip("torch")
    samples, masks = on_disk
    rng = np.random.default_rng(0)
    maps = [rng.random((32, 48)) for _ in samples]
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(np.stack(maps))[:, None], (120, 90), mode="bilinear", align_corners=False
    )[:, 0].numpy()
    values = {score.metric: score.value for score in score_category(CASE, samples, maps, protocol=NATIVE).scores}
    truth = np.stack(masks).ravel() > 0
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(truth, resized.ravel()), abs=1e-6)
    assert values["anomaly_rate"] == truth.mean()


def test_patchcore_crops_maps_and_truth_as_torchvision_does(
    on_disk: tuple[list[Sample], list[NDArray[np.uint8]]],
) -> None:
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchvision.transforms")
    samples, masks = on_disk
    to_truth = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    truth = np.stack([to_truth(Image.fromarray(mask))[0].numpy().astype(int) for mask in masks])
    frame = transforms.Resize(256)(Image.fromarray(masks[0])).size[::-1]
    assert frame == (341, 256)
    rng = np.random.default_rng(0)
    maps = [rng.random(frame) + 0.3 * (index < 2) for index in range(4)]
    crops = transforms.CenterCrop(224)(torch.from_numpy(np.stack(maps))).numpy()
    scaled = (crops - crops.min()) / (crops.max() - crops.min())
    found = score_category(CASE, samples, maps, protocol=PROTOCOLS["patchcore"]).scores
    values = {s.metric: s.value for s in found}
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(truth.ravel(), scaled.ravel()), abs=1e-12)


@pytest.mark.parametrize("name", ["anomalib_2_6", "anomalib_2_7"])
def test_anomalib_presets_are_its_post_processor_and_metrics(name: str) -> None:
    torch = pytest.importorskip("torch")
    post_processing = pytest.importorskip("anomalib.post_processing")
    metrics = pytest.importorskip("anomalib.metrics")
    data = pytest.importorskip("anomalib.data")
    rng = np.random.default_rng(2)
    masks = [np.zeros((256, 256), np.uint8) for _ in range(6)]
    for index in range(3):
        masks[index][50 : 90 + index, 100:150] = 255
    maps = [(rng.normal(size=mask.shape) + (mask > 0) * 2).astype(np.float32) * 7 for mask in masks]
    labels = torch.tensor([bool(mask.any()) for mask in masks])

    def batch() -> Any:
        stack = torch.from_numpy(np.stack(maps))
        return data.ImageBatch(
            image=torch.zeros(6, 3, 256, 256), gt_mask=torch.from_numpy(np.stack(masks) > 0), gt_label=labels,
            anomaly_map=stack, pred_score=stack.amax(dim=(1, 2)),
        )  # fmt: skip

    post_processor = post_processing.PostProcessor()
    post_processor.on_validation_batch_end(None, None, batch())
    post_processor.on_validation_epoch_end(None, None)
    processed = batch()
    post_processor.normalize_batch(processed)
    values = scored(maps, masks, PROTOCOLS[name])
    for key, metric, fields in (
        ("pixel_auroc", metrics.AUROC, ["anomaly_map", "gt_mask"]),
        ("image_auroc", metrics.AUROC, ["pred_score", "gt_label"]),
        ("pixel_ap", metrics.AUPR, ["anomaly_map", "gt_mask"]),
        ("pixel_f1_max", metrics.F1Max, ["anomaly_map", "gt_mask"]),
    ):
        if key == "pixel_ap" and name == "anomalib_2_6":
            continue  # installed is 2.7, which has steps where 2.6 had trapezoids
        measured = metric(fields=fields)
        measured.update(processed)
        assert values[key] == pytest.approx(float(measured.compute()), abs=2e-6), key
    if name == "anomalib_2_6":
        precision, recall, _ = precision_recall_curve(
            (np.stack(masks) > 0).ravel(), processed.anomaly_map.numpy().ravel()
        )
        order = np.argsort(recall, kind="stable")
        assert values["pixel_ap"] == pytest.approx(auc(recall[order], precision[order]), abs=1e-9)


def test_image_labels_come_from_the_folder_or_from_the_evaluated_mask() -> None:
    rng = np.random.default_rng(0)
    masks = [np.zeros((EDGE, EDGE), np.float32) for _ in range(4)]
    masks[0][5:9, 5:9] = 1
    masks[1][7:9, 5:9] = 1
    samples = make_samples([True, True, True, False])  # the third image's mask has vanished
    maps = [rng.random(mask.shape).astype(np.float32) for mask in masks]
    scores = [m.max() for m in maps]
    by_folder = scored(maps, masks, EXACT, samples)
    by_mask = scored(maps, masks, replace(EXACT, image_label="mask"), samples)
    assert by_folder["image_auroc"] == roc_auc_score([1, 1, 1, 0], scores)
    assert by_mask["image_auroc"] == roc_auc_score([1, 1, 0, 0], scores)


def test_one_class_is_undefined_with_its_reason_and_means_say_how_many_they_cover() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random((EDGE, EDGE)) for _ in range(3)]
    normal = [np.zeros((EDGE, EDGE), np.float32) for _ in range(3)]
    some = [*normal[:2], np.eye(EDGE, dtype=np.float32)]
    alone = score_category(Case("m", "d", "a"), make_samples([False] * 3), maps, masks=normal).scores
    both = score_category(Case("m", "d", "b"), make_samples([False, False, True]), maps, masks=some).scores
    by_key = {score.metric: score for score in alone}
    assert by_key["pixel_auroc"].value is None
    assert by_key["pixel_auroc"].undefined_because
    by_metric = [[score for score in (*alone, *both) if score.metric == key] for key in ("pixel_auroc", "anomaly_rate")]
    expected = next(score.value for score in both if score.metric == "pixel_auroc")
    assert mean_of(by_metric[0]) == (expected, "defined in 1 of 2 categories")
    assert mean_of(by_metric[1])[1] == ""
    assert mean_of([by_key["pixel_auroc"]]) == (None, "defined in 0 of 1 categories")


def test_counts_masks_and_shapes_are_checked_before_any_work() -> None:
    samples, scores = make_samples([True]), np.zeros((4, 4))
    with pytest.raises(InputError, match="c: 1 images, 2 maps; one of each is needed"):
        score_category(CASE, samples, [scores, scores])
    with pytest.raises(InputError, match="c/test/bad/000 shows a defect but has no mask"):
        score_category(CASE, samples, [scores])
    with pytest.raises(InputError, match=r"the map of c/test/bad/000 has shape \(1, 4, 4\)"):
        score_category(CASE, samples, [scores[None]], masks=[scores])
