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
from aseg_bench.metrics import METRICS
from aseg_bench.protocols import EXACT, NATIVE, PROTOCOLS, Protocol
from aseg_bench.records import Case, Sample
from aseg_bench.scoring.categories import DEGENERATE, FAINT, mean_of, score_category

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


def test_a_threshold_that_finds_next_to_nothing_is_a_finding_and_the_recall_stands_beside_the_dsc() -> None:
    masks = [np.zeros((40, 40)) for _ in range(9)]
    masks[0][:10, :20] = 1  # 200 pixels, of which few stand out and the others lie among the normal ones
    rng = np.random.default_rng(0)
    for n_found, is_faint in ((4, True), (100, False)):
        maps = [rng.random((40, 40)) for _ in masks]
        maps[0][:10, :20].flat[:n_found] = 2
        values = scored(maps, masks, EXACT)
        precision, recall, thresholds = precision_recall_curve(np.ravel(masks), np.ravel(maps))
        place = np.argmax(precision[:-1] + recall[:-1])
        assert values["recall"] == pytest.approx(recall[:-1][place])
        assert (values["recall"] < 0.05) == is_faint
        found = score_category(CASE, make_samples([True] + [False] * 8), maps, masks=masks).findings
        assert [finding.kind for finding in found] == ([FAINT] if is_faint else [])
        if is_faint:
            assert values["dsc"] > 0.8  # the normal images, in which nothing is marked, count one each
            assert thresholds[place] == 2


def test_the_size_at_which_pixels_were_scored_is_told(tmp_path: Path) -> None:
    samples = of_sizes(tmp_path, [(0, 0, 32, 32), (0, 0, 0, 0)])
    maps = list(np.random.default_rng(0).random((2, 8, 12)))
    assert score_category(CASE, samples, maps).size == "8 x 12"
    assert score_category(CASE, samples, maps, protocol=NATIVE).size == "64 x 64"
    assert score_category(CASE, samples, [maps[0], maps[1][:4]]).size == "4 x 12 to 8 x 12"


def of_sizes(folder: Path, shapes: Sequence[tuple[int, int, int, int]]) -> list[Sample]:
    """Pictures of 64 x 64 with a defect (row, column, height, width) each; a height of 0 is a normal picture."""
    samples = []
    for index, (row, column, height, width) in enumerate(shapes):
        mask = np.zeros((64, 64), np.uint8)
        mask[row : row + height, column : column + width] = 255
        image, path = folder / f"{index}.png", folder / f"{index}_mask.png"
        for file in (image, path):
            Image.fromarray(mask).save(file)
        samples.append(
            Sample("d", "c", "test", "bad" if height else "good", str(index), image, path if height else None)
        )
    return samples


def test_a_defect_that_vanishes_in_resizing_is_a_finding_and_makes_no_normal_picture(tmp_path: Path) -> None:
    samples = of_sizes(tmp_path, [(0, 0, 32, 32), (1, 1, 2, 1), (5, 9, 1, 2), (0, 0, 0, 0), (0, 0, 0, 0)])
    maps = list(np.random.default_rng(0).random((5, 8, 8)))
    keys = ["pixel_auroc", "dsc", "fp_pixels", "image_auroc", "aupimo", "anomaly_rate"]
    scores, findings, _ = score_category(CASE, samples, maps, metrics=keys)
    values = {score.metric: score.value for score in scores}
    (text,) = [found.text for found in findings if found.kind == "defect_lost"]
    assert text.startswith(
        "the defects of 2 of 3 pictures vanish when their masks are brought to the size of the maps, first "
        "c/test/bad/1, c/test/bad/2; "
    )
    assert text.endswith("write larger maps, or score with --protocol native")
    tops = [m.max() for m in maps]
    assert values["image_auroc"] == roc_auc_score([1, 1, 1, 0, 0], tops)
    kept = [0, 3, 4]
    alone = score_category(CASE, [samples[i] for i in kept], [maps[i] for i in kept], metrics=["aupimo"])
    assert values["aupimo"] == alone.scores[0].value
    truth = np.zeros((5, 8, 8), bool)
    truth[0, :4, :4] = True
    pooled = np.concatenate([m.ravel() for m in maps])
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(truth.ravel(), pooled))
    precision, recall, thresholds = precision_recall_curve(truth.ravel(), pooled)
    called = np.stack(maps) >= thresholds[np.argmax(precision[:-1] + recall[:-1])]
    assert values["fp_pixels"] == called[3:].sum() / 2
    dice = 2 * (called[0] & truth[0]).sum() / (called[0].sum() + truth[0].sum())
    assert values["dsc"] == pytest.approx(np.mean([dice, not called[3].any(), not called[4].any()]))


def test_only_where_a_defect_vanishes_is_it_said(tmp_path: Path) -> None:
    samples, maps = of_sizes(tmp_path, [(0, 0, 32, 32), (1, 1, 2, 1), (0, 0, 0, 0)]), list(np.zeros((3, 8, 8)))

    def lost(protocol: Protocol) -> list[str]:
        findings = score_category(CASE, samples, maps, protocol=protocol).findings
        return [found.text for found in findings if found.kind == "defect_lost"]

    assert lost(NATIVE) == []
    assert lost(replace(EXACT, mask_rule="=7")) == []  # no value of the masks is a defect
    (text,) = lost(EXACT)
    assert text.startswith("the defect of 1 of 2 pictures vanishes when its mask is brought to the size of the maps")
    (text,) = lost(replace(PROTOCOLS["uniad"], size=8))
    assert "into the frame of uniad, first c/test/bad/1; such a picture counts as a normal picture" in text


def test_a_picture_with_image_level_truth_counts_in_image_metrics_alone(tmp_path: Path) -> None:
    samples = of_sizes(tmp_path, [(0, 0, 32, 32), (0, 0, 9, 9), (0, 0, 0, 0), (0, 0, 0, 0)])
    samples[1] = replace(samples[1], mask_path=None, is_image_level=True)
    maps = list(np.random.default_rng(0).random((4, 8, 8)))
    values = {score.metric: score.value for score in score_category(CASE, samples, maps).scores}
    kept = [0, 2, 3]
    without = score_category(CASE, [samples[i] for i in kept], [maps[i] for i in kept]).scores
    for score in without:
        assert METRICS[score.metric].level == "image" or values[score.metric] == score.value
    assert values["image_auroc"] == roc_auc_score([1, 1, 0, 0], [m.max() for m in maps])


@pytest.mark.parametrize("seed", range(4))
def test_a_category_under_a_rule_with_void_pixels_has_the_numbers_of_the_rest(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples, values = of_sizes(tmp_path, [(0, 0, 8, 8), (9, 9, 20, 20), (0, 0, 0, 0), (3, 3, 40, 2)]), []
    for sample in samples:
        mask = np.zeros((64, 64), np.uint8)
        if sample.mask_path is not None:
            mask = rng.choice([0, 1, 2, 255], (64, 64)).astype(np.uint8)
            Image.fromarray(mask).save(sample.mask_path)
        values.append(mask)
    maps = list(rng.integers(0, 9, (4, 64, 64)).astype(np.float32))
    found = score_category(CASE, samples, maps, protocol=replace(EXACT, mask_rule="=1,2 ignore=255")).scores
    assert {score.protocol for score in found} == {"exact[=1,2 ignore=255]"}
    pixels = [(m[v != 255], (v[v != 255] > 0)) for m, v in zip(maps, values, strict=True)]
    scores, truth = (np.concatenate(of) for of in zip(*pixels, strict=True))
    by_key = {score.metric: score.value for score in found}
    assert by_key["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert by_key["pixel_ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert by_key["anomaly_rate"] == pytest.approx(truth.mean(), abs=1e-12)
