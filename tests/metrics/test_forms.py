"""What other people's loaders yield is taken as it is: the form of maps and masks never changes a number."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from aseg_bench.errors import InputError
from aseg_bench.metrics import METRICS, BoundedStream, FirstPass, MetricStream, Needs, evaluate_maps, functions
from aseg_bench.records import LazySequence
from tests.metrics.cases import smooth

torch = pytest.importorskip("torch")
from aseg_bench.training.torch_metric import SegmentationMetrics  # noqa: E402 - needs torch

SCORES, MASKS = smooth(n_images=4)
VOID = np.random.default_rng(0).random(MASKS.shape) < 0.1
NUMBERS = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "uint64", "float16", "float32", "float64")
SHAPES: dict[str, Callable[[Any], Any]] = {
    "stack": lambda maps: maps,
    "stack with a channel": lambda maps: maps[:, None],
    "list": list,
    "tuple of maps with a channel": lambda maps: tuple(maps[:, None]),
}
MAKERS: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda maps: maps,
    "not contiguous": lambda maps: np.asfortranarray(maps),
    "read-only": lambda maps: np.frombuffer(maps.tobytes(), maps.dtype).reshape(maps.shape),
    "backwards in memory": lambda maps: np.flip(np.flip(maps, (1, 2)).copy(), (1, 2)),
    "of another byte order": lambda maps: maps.astype(maps.dtype.newbyteorder(">")),
    "torch": lambda maps: torch.from_numpy(maps),
    "torch with a gradient": lambda maps: torch.from_numpy(maps).requires_grad_(maps.dtype.kind == "f"),
}
if torch.cuda.is_available():
    MAKERS["cuda"] = lambda maps: torch.from_numpy(maps).cuda()


def stream(scores: Any, masks: Any) -> dict[str, float]:
    made = MetricStream()
    for score_map, mask in zip(scores, masks, strict=True):
        made.update(score_map, mask)
    return made.compute().values


def bounds(scores: Any, masks: Any) -> Any:
    made = BoundedStream()
    for score_map, mask in zip(scores, masks, strict=True):
        made.update(score_map, mask)
    return made.compute()


def torch_metric(scores: Any, masks: Any) -> dict[str, float]:
    made = SegmentationMetrics()
    made.update(scores, masks)
    made.update(scores[:1], masks[:1])  # a batch of one image
    return {key: value.item() for key, value in made.compute().items()}


DOORS: dict[str, Callable[[Any, Any], Any]] = {
    "evaluate_maps": evaluate_maps,
    "MetricStream": stream,
    "BoundedStream": bounds,
    "SegmentationMetrics": torch_metric,
    "METRICS": lambda scores, masks: [METRICS[key](scores, masks) for key in ("pixel_ap", "dsc", "image_auroc")],
    "aupro": functions.aupro,
    "aupimo": functions.aupimo,
    "at_threshold": lambda scores, masks: functions.at_threshold(scores, masks, 0.5),
}
PLAIN = {name: door(SCORES, MASKS) for name, door in DOORS.items()}
WITH_VOID = {name: door(SCORES, np.ma.array(MASKS, mask=VOID)) for name, door in DOORS.items()}


@settings(max_examples=40, deadline=None)
@given(
    door=st.sampled_from(sorted(DOORS)),
    dtype=st.sampled_from(NUMBERS),
    level=st.sampled_from([1, 255]),
    shapes=st.tuples(*[st.sampled_from(sorted(SHAPES))] * 2),
    makers=st.tuples(*[st.sampled_from(sorted(MAKERS))] * 2),
)
def test_every_form_has_the_numbers_of_the_plain_one(door, dtype, level, shapes, makers):
    level = 1 if dtype in ("bool", "int8") else level
    masks = SHAPES[shapes[1]](MAKERS[makers[1]](MASKS.astype(dtype) * np.array(level, dtype)))
    scores = SHAPES[shapes[0]](MAKERS[makers[0]](SCORES))
    assert DOORS[door](scores, masks) == PLAIN[door]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_void_is_void_in_every_form(door, shape):
    masks = np.ma.array(MASKS.astype(np.uint8) * 255, mask=VOID)
    masks.data[VOID] = 7  # what lies below a void pixel is nobody's business
    assert DOORS[door](SHAPES[shape](SCORES), SHAPES[shape](masks)) == WITH_VOID[door]


@pytest.mark.parametrize("door", [name for name in DOORS if name != "SegmentationMetrics"])
def test_images_of_several_sizes_come_as_a_list(door):
    scores = [score_map[: 20 + index] for index, score_map in enumerate(SCORES)]
    masks = [mask[: 20 + index] for index, mask in enumerate(MASKS)]
    loaded = [torch.from_numpy(mask[None].astype(np.float32)) for mask in masks]
    assert DOORS[door]([score_map[None] for score_map in scores], loaded) == DOORS[door](scores, masks)


def test_a_batch_of_several_sizes_is_a_list():
    scores = [torch.from_numpy(score_map[: 20 + index]) for index, score_map in enumerate(SCORES)]
    masks = [torch.from_numpy(mask[: 20 + index]) for index, mask in enumerate(MASKS)]
    metric = SegmentationMetrics()
    metric.update(scores, masks)
    assert {key: value.item() for key, value in metric.compute().items()} == evaluate_maps(scores, masks)


AMBIGUOUS = {
    "class indices": MASKS * np.arange(4, dtype=np.uint8)[:, None, None],
    "three values": MASKS.astype(np.uint8) * 255 - 127 * (SCORES > 0.5).astype(np.uint8) * MASKS,
    "another value": MASKS.astype(np.int32) * 128,
    "probabilities": SCORES / SCORES.max(),
    "signed": MASKS.astype(np.int16) * -1,
    "void as a number": np.where(VOID, 255, MASKS).astype(np.uint8),
    "text": MASKS.astype(str),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", AMBIGUOUS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_ambiguous_is_refused_in_every_form(door, kind, shape):
    with pytest.raises(InputError, match=r"neither booleans nor 0 and 1 or 0 and 255; |not real numbers"):
        DOORS[door](SHAPES[shape](SCORES), SHAPES[shape](AMBIGUOUS[kind]))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_masks_that_are_given_together_have_one_value_for_anomalous(door, shape):
    masks = MASKS.astype(np.uint8)
    masks[3] *= 255
    with pytest.raises(InputError, match="255 may mean void"):
        DOORS[door](SHAPES[shape](SCORES), SHAPES[shape](masks))


@pytest.mark.parametrize("door", [name for name in DOORS if name != "SegmentationMetrics"])
def test_masks_of_a_lazy_sequence_have_one_value_for_anomalous(door):
    lazy, others = (LazySequence(len(MASKS), of.__getitem__) for of in (SCORES, MASKS.astype(np.uint8) * 255))
    assert DOORS[door](lazy, others) == PLAIN[door]
    mixed = LazySequence(len(MASKS), lambda index: MASKS[index].astype(np.uint8) * (255 if index == 3 else 1))
    with pytest.raises(InputError, match=r"the mask of image 1 holds 0 and 1, the mask of image 3 0 and 255"):
        DOORS[door](lazy, mixed)


@pytest.mark.parametrize("maker", [MetricStream, BoundedStream, lambda: FirstPass(Needs())])
def test_parts_that_are_merged_have_one_value_for_anomalous(maker):
    parts = [maker() for _ in range(3)]
    for part, level in zip(parts, (1, 255, None), strict=True):
        part.update(SCORES[1], MASKS[1] if level is None else MASKS[1].astype(np.uint8) * np.uint8(level))
    parts[0].merge(parts[2])  # booleans say what they mean
    with pytest.raises(InputError, match="255 may mean void"):
        parts[0].merge(parts[1])


@pytest.mark.parametrize("maker", [MetricStream, BoundedStream])
def test_an_image_that_is_refused_leaves_nothing_behind(maker):
    stream = maker()
    with pytest.raises(InputError, match="shape"):
        stream.update(SCORES[1][:-1], MASKS[1].astype(np.uint8))
    stream.update(SCORES[1], MASKS[1].astype(np.uint8) * np.uint8(255))


def test_a_batch_that_is_refused_leaves_nothing_behind():
    metric = SegmentationMetrics(["pixel_ap"])
    scores, masks = [torch.from_numpy(one) for one in SCORES], [torch.from_numpy(one.astype(np.uint8)) for one in MASKS]
    metric.update(scores[1:2], masks[1:2])
    with pytest.raises(InputError, match="255 may mean void"):
        metric.update(scores, [masks[0], *(255 * mask for mask in masks[1:])])
    metric.update(scores[2:], masks[2:])
    assert metric.compute() == evaluate_maps(SCORES[1:], MASKS[1:], metrics=["pixel_ap"])


@pytest.mark.parametrize("call", ["update", "forward"])
@pytest.mark.parametrize("shape", SHAPES)
def test_batches_have_one_value_for_anomalous_until_a_reset(call, shape):
    metric, masks = SegmentationMetrics(["pixel_ap"]), MASKS.astype(np.uint8)
    form = SHAPES[shape]

    def take(first: int, level: int) -> Any:
        batch = slice(first, first + 2)
        getattr(metric, call)(
            form(torch.from_numpy(SCORES[batch])), form(torch.from_numpy(masks[batch] * np.uint8(level)))
        )
        return metric.compute()

    take(0, 1)
    with pytest.raises(InputError, match="255 may mean void"):
        take(2, 255)
    metric.reset()
    take(0, 255)
    assert take(2, 255)["pixel_ap"].item() == evaluate_maps(SCORES, MASKS, metrics=["pixel_ap"])["pixel_ap"]
