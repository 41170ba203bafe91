"""Metrics in anomalib: against `evaluate_maps` on the raw maps of the same model."""

import numpy as np
import pytest

from aseg_bench.metrics import evaluate_maps
from tests.conftest import write_category

torch = pytest.importorskip("torch")
pytest.importorskip("anomalib", reason="anomalib is not installed: pip install '.[anomalib]'")
from anomalib.data import Folder, ImageBatch  # noqa: E402 - needs anomalib
from anomalib.engine import Engine  # noqa: E402
from anomalib.metrics import Evaluator  # noqa: E402
from anomalib.models import Padim  # noqa: E402
from anomalib.post_processing import PostProcessor  # noqa: E402

from aseg_bench.integrations.anomalib import PixelMetric  # noqa: E402
from aseg_bench.integrations.lightning import LogSegmentationMetrics  # noqa: E402

pytestmark = pytest.mark.anomalib


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """What anomalib logs of a Padim, with its post-processor and without, and the raw maps and masks of the test."""
    place = tmp_path_factory.mktemp("anomalib")
    write_category(place, "bolt")
    found = {}
    for is_normalised in (True, False):
        torch.manual_seed(0)
        data = Folder(
            "bolt",
            root=place / "bolt",
            normal_dir="train/good",
            abnormal_dir="test/hole",
            normal_test_dir="test/good",
            mask_dir="ground_truth/hole",
            num_workers=0,
        )
        model = Padim(
            backbone="resnet18",
            layers=["layer1"],
            n_features=10,
            pre_trained=False,
            pre_processor=Padim.configure_pre_processor((64, 64)),
            post_processor=PostProcessor(enable_normalization=is_normalised),
            evaluator=Evaluator(test_metrics=[PixelMetric("pixel_ap"), PixelMetric("dsc", prefix="our_")]),
            visualizer=False,
        )
        engine = Engine(
            accelerator="cpu",
            logger=False,
            default_root_dir=place / "results",
            callbacks=[LogSegmentationMetrics(["pixel_ap"])],
            enable_progress_bar=False,
        )
        engine.fit(model, datamodule=data)
        (logged,) = engine.test(model, datamodule=data, verbose=False)
        model.eval()
        with torch.inference_mode():
            batches = [(model.model(model.pre_processor(one.image)), one.gt_mask) for one in data.test_dataloader()]
        maps = np.concatenate([predicted.anomaly_map.numpy()[:, 0] for predicted, _ in batches])
        masks = torch.cat([mask for _, mask in batches])
        masks = torch.nn.functional.interpolate(masks[:, None].float(), maps.shape[1:], mode="nearest")
        found[is_normalised] = logged, evaluate_maps(maps, masks, metrics=["pixel_ap", "dsc"])
    return found


def test_the_evaluator_of_a_model_without_normalisation_logs_the_numbers_of_its_raw_maps(tested):
    logged, expected = tested[False]
    assert logged["pixel_ap"] == pytest.approx(expected["pixel_ap"], rel=1e-6)
    assert logged["our_dsc"] == pytest.approx(expected["dsc"], rel=1e-6)


def test_the_callback_of_the_engine_sees_raw_maps_whatever_the_post_processor(tested):
    for logged, expected in tested.values():
        assert logged["test_pixel_ap"] == pytest.approx(expected["pixel_ap"], rel=1e-6)


def test_clamped_maps_are_told_and_fields_are_anomalibs():
    masks = torch.zeros(2, 40, 40, dtype=torch.bool)
    masks[0, :9, :9] = True
    maps = torch.rand(2, 40, 40, generator=torch.Generator().manual_seed(0)) * 3 - 1
    metric = PixelMetric("pixel_auroc")
    metric.update(ImageBatch(image=torch.rand(2, 3, 40, 40), gt_mask=masks, anomaly_map=maps.clamp(0, 1)))
    with pytest.warns(UserWarning, match="pixel_auroc: .*clamped.*enable_normalization=False"):
        metric.compute()
    metric = PixelMetric("image_auroc", fields=["anomaly_map", "gt_mask", "pred_score"])
    metric.update(
        ImageBatch(image=torch.rand(2, 3, 40, 40), gt_mask=masks, anomaly_map=maps, pred_score=torch.tensor([0.9, 0.1]))
    )
    assert metric.compute() == 1
