"""Mistakes in the values of maps are found, and sound maps raise no suspicion."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.predictions.checks import Looking, finite_map
from aseg_bench.records import Sample

Maps = dict[Sample, NDArray[np.float32]]


@pytest.fixture
def bottle(
    samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> tuple[list[Sample], list[NDArray[np.float32]]]:
    maps = {sample: scores for sample, scores in make_maps(80).items() if sample.category == "bottle"}
    return list(maps), list(maps.values())


def kinds(samples: list[Sample], maps: list[NDArray[np.float32]]) -> set[str]:
    return {suspicion.kind for suspicion in Looking(samples, maps, None).suspicions()}


def test_sound_maps_raise_no_suspicion(bottle: tuple[list[Sample], list[NDArray[np.float32]]]) -> None:
    assert kinds(*bottle) == set()


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("constant", lambda m: np.zeros_like(m)),
        ("constant", lambda m: np.full_like(m, 3)),
        ("clamped", lambda m: (m - 0.3).clip(0, 1)),
        ("clamped", lambda m: (m + 0.1).clip(0, 1)),
        ("few_levels", lambda m: np.round(m * 60)),
        ("half", lambda m: m.astype(np.float16).astype(np.float32)),
        ("per_image_min_max", lambda m: (m - m.min()) / (m.max() - m.min())),
        ("inverted", lambda m: -m),
        ("transposed", lambda m: m.T.copy()),
    ],
)
def test_each_mistake_is_named(
    bottle: tuple[list[Sample], list[NDArray[np.float32]]],
    kind: str,
    spoil: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> None:
    samples, maps = bottle
    assert kind in kinds(samples, [spoil(scores) for scores in maps])


def test_one_constant_map_is_named_by_its_image(bottle: tuple[list[Sample], list[NDArray[np.float32]]]) -> None:
    samples, maps = bottle
    found = Looking(samples, [np.zeros_like(maps[0]), *maps[1:]], None).suspicions()
    assert [suspicion.kind for suspicion in found] == ["constant"]
    assert f"1 of {len(maps)} maps are constant (1 all zero), first {samples[0].name}" in found[0].text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_named_with_its_place(value: float) -> None:
    scores = np.zeros((50, 60), np.float32)
    scores[12, 40] = value
    with pytest.raises(InputError, match=r"score is -?(nan|inf) at screw/test/scratch/007, pixel \(12, 40\)"):
        finite_map(scores, "screw/test/scratch/007")


def test_axes_of_length_one_are_dropped_and_wrong_shapes_refused() -> None:
    assert finite_map(np.zeros((1, 4, 5), np.float16), "a").dtype == np.float32
    assert finite_map(np.zeros((1, 4, 5)), "a").shape == (4, 5)
    with pytest.raises(InputError, match=r"has shape \(2, 4, 5\)"):
        finite_map(np.zeros((2, 4, 5)), "a")
    with pytest.raises(InputError, match="not real numbers"):
        finite_map(np.zeros((4, 5), complex), "a")


@pytest.mark.parametrize(("inverted", "is_of_masks"), [("maps", False), ("masks", True), ("border", True)])
def test_the_advice_on_a_low_auroc_is_about_what_is_inverted(
    bottle: tuple[list[Sample], list[NDArray[np.float32]]], inverted: str, is_of_masks: bool
) -> None:
    samples, maps = bottle
    masks = [np.zeros((80, 80), np.uint8) for _ in samples]
    for sample, mask in zip(samples, masks, strict=True):
        if sample.is_anomalous:
            mask[10:30, 40:70] = 255
            if inverted != "maps":
                mask[:] = 255 - mask
            if inverted == "border":
                mask[5:75, 5:35] = 0  # now the minority of all pixels is anomalous
                mask[35:75, 35:75] = 0
    signed = [-scores if inverted == "maps" else scores for scores in maps]
    (text,) = (one.text for one in Looking(samples, signed, masks).suspicions() if one.kind == "inverted")
    assert ("do these mark what is normal?" in text) == is_of_masks
    assert ("negate them" in text) != is_of_masks
