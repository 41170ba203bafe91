"""What the command ``run`` says of images and masks that are not what they should be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aseg_bench.runs.scores import read_scores
from tests.conftest import Call, Installed, run_on, save


def remove_image(root: Path) -> None:
    (root / "bolt/test/hole/001.png").unlink()


def remove_mask(root: Path) -> None:
    (root / "bolt/ground_truth/hole/001_mask.png").unlink()


def crop_mask(root: Path) -> None:
    save(root / "bolt/ground_truth/hole/001_mask.png", np.zeros((24, 24)))


def cut_image(root: Path) -> None:
    file = root / "bolt/test/hole/001.png"
    file.write_bytes(file.read_bytes()[:100])


def write_text_as_image(root: Path) -> None:
    (root / "bolt/train/good/001.png").write_text("no picture")


def write_floats_as_image(root: Path) -> None:
    (root / "bolt/test/hole/001.png").unlink()
    save(root / "bolt/test/hole/001.tiff", np.ones((24, 32)), np.float32)


def colour_mask(root: Path) -> None:
    save(root / "bolt/ground_truth/hole/001_mask.png", np.arange(24 * 32 * 3).reshape(24, 32, 3) % 251)


def empty_training(root: Path) -> None:
    for image in (root / "bolt/train/good").iterdir():
        image.unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove_image, ["bolt/ground_truth/hole/001_mask.png has no image in"]),
        (remove_mask, ["bolt/test/hole/001.png has no mask; expected", "bolt/ground_truth/hole/001_mask.png"]),
        (crop_mask, ["001_mask.png is 24 x 24 pixels but its image 32 x 24"]),
        (cut_image, ["cannot read", "bolt/test/hole/001.png"]),
        (write_text_as_image, ["cannot read", "bolt/train/good/001.png"]),
        (write_floats_as_image, ["bolt/test/hole/001.tiff holds 32-bit values"]),
        (colour_mask, ["001_mask.png is a colour picture"]),
        (empty_training, ["bolt/train/good holds no images"]),
    ],
)
def test_a_flawed_data_set_is_one_error_before_any_work(
    call: Call, installed: Installed, tiny: Path, harm: Callable[[Path], None], said: list[str]
) -> None:
    harm(tiny)
    error = call(*run_on(tiny)).error
    assert all(part in error for part in said)
    assert installed.diary == []


def test_grey_16_bit_and_transparent_images_are_read(call: Call, installed: Installed, tiny: Path) -> None:
    grey = np.asarray(Image.open(tiny / "bolt/test/hole/000.png").convert("L"))
    save(tiny / "bolt/test/hole/000.png", grey)
    save(tiny / "bolt/test/hole/001.png", grey.astype(np.uint16) * 257, np.uint16)
    save(tiny / "bolt/test/hole/002.png", np.dstack([grey] * 3 + [np.full_like(grey, 9)]))
    assert call(*run_on(tiny)).code == 0
    scores = {score.metric: score.value for score in read_scores(tiny.parent / "out/scores.csv")}
    assert scores["pixel_auroc"] == 1
