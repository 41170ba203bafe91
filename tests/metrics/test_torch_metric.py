import numpy as np
import pytest

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import MetricStream, evaluate_maps
from tests.metrics.cases import smooth

torch = pytest.importorskip("torch")
torchmetrics = pytest.importorskip("torchmetrics")
from aseg_bench.training.torch_metric import SegmentationMetrics  # noqa: E402 - needs torch

SCORES, MASKS = smooth(n_images=8)
EXPECTED = evaluate_maps(SCORES, MASKS)


def batches(size=3):
    for start in range(0, len(SCORES), size):
        yield torch.from_numpy(SCORES[start : start + size]), torch.from_numpy(MASKS[start : start + size])


def numbers(values):
    return {key: value.item() for key, value in values.items()}


def test_batches_give_the_bits_of_the_whole():
    metric = SegmentationMetrics()
    for scores, masks in batches():
        metric.update(scores, masks)
    assert numbers(metric.compute()) == EXPECTED
    metric.reset()
    for scores, masks in batches(5):
        metric.update(scores[:, None], masks[:, None])  # with a channel, after a reset
    assert numbers(metric.compute()) == EXPECTED


def test_void_pixels_come_as_a_masked_array():
    masks = np.ma.array(MASKS, mask=np.random.default_rng(0).random(MASKS.shape) < 0.2)
    metric = SegmentationMetrics()
    metric.update(torch.from_numpy(SCORES[:3]), masks[:3])
    metric.update(torch.from_numpy(SCORES[3:, None]), masks[3:, None])
    assert numbers(metric.compute()) == evaluate_maps(SCORES, masks)


def test_forward_gives_the_batch_and_keeps_all():
    metric = SegmentationMetrics()
    for scores, masks in batches(4):
        assert numbers(metric(scores, masks)) == evaluate_maps(scores.numpy(), masks.numpy())
    assert numbers(metric.compute()) == EXPECTED


def test_it_works_in_a_collection_and_survives_a_copy():
    collection = torchmetrics.MetricCollection({"maps": SegmentationMetrics(["pixel_ap", "dsc"])}).clone()
    for scores, masks in batches():
        collection.update(scores, masks)
    assert numbers(collection.compute()) == {key: EXPECTED[key] for key in ("pixel_ap", "dsc")}


def test_image_scores_come_with_every_batch_or_with_none():
    metric = SegmentationMetrics(["image_auroc"])
    given = SCORES.std(axis=(1, 2))
    metric.update(torch.from_numpy(SCORES[:4]), torch.from_numpy(MASKS[:4]), torch.from_numpy(given[:4]))
    with pytest.raises(InputError, match="with every batch or with none"):
        metric.update(torch.from_numpy(SCORES[4:]), torch.from_numpy(MASKS[4:]))
    metric.update(torch.from_numpy(SCORES[4:]), torch.from_numpy(MASKS[4:]), torch.from_numpy(given[4:]))
    expected = evaluate_maps(SCORES, MASKS, metrics=["image_auroc"], image_scores=given)
    assert numbers(metric.compute()) == expected


@pytest.mark.parametrize(
    ("scores", "masks", "message"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 5, dtype=torch.bool), "the mask"),
        (torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.bool), "images, height, width"),
        (torch.zeros(1, 3, 4), torch.rand(1, 3, 4), "neither booleans nor"),
        (torch.zeros(2, 2, 3, 4), torch.zeros(2, 2, 3, 4, dtype=torch.bool), "images, 1, height, width"),
    ],
)
def test_a_bad_batch_is_one_clear_error(scores, masks, message):
    with pytest.raises(InputError, match=message):
        SegmentationMetrics().update(scores, masks)


def test_what_is_asked_for_by_name_must_be_defined():
    metric = SegmentationMetrics(["pixel_auroc"])
    metric.update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
    with pytest.raises(UndefinedMetricError, match="pixel_auroc is undefined: no pixel is anomalous"):
        metric.compute()
    with pytest.raises(InputError, match="no metric 'x'"):
        SegmentationMetrics(["x"])


def share(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    metric = SegmentationMetrics()
    metric.update(torch.from_numpy(SCORES[rank::2]), torch.from_numpy(MASKS[rank::2]))
    together = numbers(metric.compute())
    assert together == EXPECTED
    assert len(metric.score_maps) == 4  # no map was gathered, and the own ones are still there
    metric.update(torch.from_numpy(SCORES[:1]), torch.from_numpy(MASKS[:1]))
    assert numbers(metric.compute()) != together
    torch.distributed.destroy_process_group()


def test_two_processes_merge_to_the_bits_of_one(tmp_path):
    torch.multiprocessing.start_processes(share, args=(str(tmp_path),), nprocs=2, start_method="spawn")


def test_half_precision_scores_are_taken():
    metric = SegmentationMetrics(["pixel_auroc"])
    metric.update(torch.from_numpy(SCORES).bfloat16(), torch.from_numpy(MASKS))
    rounded = torch.from_numpy(SCORES).bfloat16().float().numpy()
    assert numbers(metric.compute()) == evaluate_maps(rounded, MASKS, metrics=["pixel_auroc"])
    assert np.isfinite(list(EXPECTED.values())).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "int16", "int64"])
def test_tensors_of_every_type_have_the_digits_of_their_values(dtype):
    scores = torch.from_numpy(SCORES).mul(8).to(getattr(torch, dtype))
    plain = np.array([value.item() for value in scores.flatten()]).reshape(SCORES.shape)
    if scores.is_floating_point() and scores.dtype.itemsize > 1:
        scores.requires_grad_()
    expected, masks = evaluate_maps(plain, MASKS), torch.from_numpy(MASKS)
    stream, metric = MetricStream(), SegmentationMetrics()
    for score_map, mask in zip(scores, masks, strict=True):
        stream.update(score_map, mask)
    metric.update(scores, masks)
    assert evaluate_maps(scores, masks) == expected
    assert evaluate_maps(list(scores), list(MASKS)) == expected
    assert evaluate_maps(scores[:, ::2, ::3], MASKS[:, ::2, ::3]) == evaluate_maps(
        plain[:, ::2, ::3], MASKS[:, ::2, ::3]
    )
    assert stream.compute().values == expected
    assert numbers(metric.compute()) == expected
    images = scores.flatten(1).float().amax(1)
    assert evaluate_maps(scores, masks, image_scores=images) == expected


@pytest.mark.parametrize("make", [lambda t: t.to_sparse(), lambda t: t.to("meta")])
def test_a_tensor_without_an_array_is_one_clear_error(make):
    with pytest.raises(InputError, match="not an array of numbers"):
        evaluate_maps(make(torch.from_numpy(SCORES)), MASKS)


def test_a_single_key_is_a_scalar_and_nan_where_it_has_no_value():
    metric = SegmentationMetrics("pixel_ap")
    for scores, masks in batches():
        metric.update(scores, masks)
    assert metric.compute().item() == EXPECTED["pixel_ap"]
    metric.reset()
    metric.update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
    with pytest.warns(UserWarning, match="pixel_ap is undefined: no pixel is anomalous"):
        assert metric.compute().isnan()
