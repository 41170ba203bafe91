"""The truth rules of the field are those of Pillow, OpenCV and torchvision themselves."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.protocols import EXACT, PROTOCOLS
from aseg_bench.protocols.truth import binarised, truth_fractions


def disc_and_scratch() -> NDArray[np.uint8]:
    """A 900 x 900 mask with a small disc and a scratch three pixels wide."""
    mask = np.zeros((900, 900), np.uint8)
    cv2.circle(mask, (300, 400), 20, 255, -1)
    cv2.line(mask, (500, 200), (800, 700), 255, 3)
    return mask


def truth(mask: NDArray[np.number], name: str, shape: tuple[int, int] = (256, 256)) -> NDArray[np.bool_]:
    return binarised(truth_fractions(mask, shape, PROTOCOLS[name]), PROTOCOLS[name].truth_rule)


def test_the_five_rules_give_five_counts_and_equal_pillow_and_opencv() -> None:
    mask = disc_and_scratch()
    bilinear = np.asarray(Image.fromarray(mask).resize((256, 256), Image.Resampling.BILINEAR))
    nearest = np.asarray(Image.fromarray(mask).resize((256, 256), Image.Resampling.NEAREST))
    linear = cv2.resize(mask, (256, 256), interpolation=cv2.INTER_LINEAR)
    expected = {
        "patchcore": (bilinear / 255).astype(int) == 1,
        "draem": (linear / 255).astype(np.uint8) == 1,
        "rd4ad": bilinear / 255 > 0.5,
        "uniad": nearest > 0,
        "diad": bilinear > 0,
    }
    for name, by_library in expected.items():
        np.testing.assert_array_equal(truth(mask, name), by_library, err_msg=name)
    counts = {name: int(by_library.sum()) for name, by_library in expected.items()}
    assert len(set(counts.values())) == 5, counts
    assert counts["patchcore"] < counts["draem"] < counts["rd4ad"] < counts["diad"]


@pytest.mark.parametrize("shape", [(256, 256), (100, 333)])
def test_torch_rules_are_those_of_torchvision(shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchvision.transforms.v2.functional")
    mask = disc_and_scratch()
    fractions = transforms.resize(torch.from_numpy(mask / np.float32(255))[None], list(shape), antialias=True)[0]
    np.testing.assert_allclose(truth_fractions(mask, shape, PROTOCOLS["destseg"]), fractions.numpy(), atol=5e-5)
    is_clear = (fractions - 0.5).abs().numpy() > 5e-5  # torch keeps its weights in float32
    np.testing.assert_array_equal(truth(mask, "destseg", shape)[is_clear], (fractions >= 0.5).numpy()[is_clear])
    nearest = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None], shape, mode="nearest")[0, 0]
    np.testing.assert_array_equal(truth(mask, "anomalib_2_7", shape), nearest.numpy() > 0)


def test_ader_binarises_before_and_after_the_resize() -> None:
    mask = disc_and_scratch() // 2 + disc_and_scratch() // 4  # grey defects of 190
    whole = np.where(mask > 0, np.uint8(255), np.uint8(0))
    bilinear = np.asarray(Image.fromarray(whole).resize((256, 256), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(truth(mask, "ader"), bilinear / 255 > 0.5)
    assert truth(mask, "rd4ad").sum() < truth(mask, "ader").sum()


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_raw_visa_class_indices_never_vanish(name: str) -> None:
    indices = (disc_and_scratch() // 255 * 9).astype(np.uint8)
    np.testing.assert_array_equal(truth(indices, name), truth(disc_and_scratch(), name))
    assert truth(indices, name).any()


def test_a_mask_of_the_right_size_is_only_binarised() -> None:
    mask = np.array([[0, 100, 127, 128, 254, 255]], np.uint8)
    for rule, expected in {
        "above_zero": [0, 1, 1, 1, 1, 1],
        "above_127": [0, 0, 0, 1, 1, 1],
        "above_half": [0, 0, 0, 1, 1, 1],
        "at_least_half": [0, 0, 0, 1, 1, 1],
        "only_full": [0, 0, 0, 0, 0, 1],
    }.items():
        protocol = replace(EXACT, truth_rule=rule)  # type: ignore[arg-type]
        fractions = truth_fractions(mask, (1, 6), protocol)
        np.testing.assert_array_equal(binarised(fractions, protocol.truth_rule)[0], np.array(expected, bool))


def test_fractional_masks_that_travel_with_maps_are_anomalous_above_zero() -> None:
    mask = np.array([[0, 0.01, 1]], np.float32)
    fractions = truth_fractions(mask, (1, 3), PROTOCOLS["unias"])
    np.testing.assert_array_equal(fractions, [[0, 1, 1]])
