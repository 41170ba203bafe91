"""CORRUPTIONS: what a camera or a line may do to an image, in five strengths, as data sets ``KEY+CORRUPTION@STRENGTH``.

Only test images are corrupted, as they are read: no file is written, and what is trained is trained on clean images.
The kinds follow Hendrycks and Dietterich (2019), https://arxiv.org/abs/1903.12261; the strengths are our own, milder at
their lower end, as defects are finer than what makes a photograph a dog.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.errors import InputError, near_matches

STRENGTHS = range(1, 6)
_JOINT, _AT = "+", "@"
_EDGE = 224  # pixels of the shorter edge for which blurs are given

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Corruption:
    """One way to spoil images.

    Attributes:
        key: name in the key of a data set.
        label: name in print.
        levels: its parameter at each of ``STRENGTHS``.
        function: spoils RGB pixels, (height, width, 3) uint8, by the parameter; random numbers come from the generator.
        summary: what it does, in one line.
    """

    key: str
    label: str
    levels: Sequence[Any]
    function: Callable[[Pixels, Any, np.random.Generator], Pixels]
    summary: str


def _noise(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    return _bytes(pixels + 255 * deviation * random.standard_normal(pixels.shape, np.float32))


def _blur(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    sigma = deviation * min(pixels.shape[:2]) / _EDGE
    return _bytes(cv2.GaussianBlur(pixels, (0, 0), sigma))


def _light(pixels: Pixels, change: tuple[float, float], random: np.random.Generator) -> Pixels:
    shift, contrast = change
    sign = 1 if random.random() < 0.5 else -1
    return _bytes((pixels.astype(np.float32) - 127.5) * contrast + 127.5 + 255 * sign * shift)


def _jpeg(pixels: Pixels, quality: int, random: np.random.Generator) -> Pixels:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=["JPEG"]).convert("RGB"))


def _bytes(values: NDArray[Any]) -> Pixels:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
    one.key: one
    for one in (
        Corruption("noise", "Noise", (0.02, 0.04, 0.08, 0.12, 0.18), _noise,
                   "Gaussian noise on each pixel and channel; standard deviation as a share of the range"),
        Corruption("blur", "Blur", (0.5, 1.0, 1.5, 2.0, 3.0), _blur,
                   f"Gaussian blur; standard deviation in pixels where the shorter edge has {_EDGE}"),
        Corruption("light", "Light", ((0.05, 0.9), (0.1, 0.8), (0.15, 0.7), (0.2, 0.6), (0.3, 0.5)), _light,
                   "brighter or darker, an image at random, by a share of the range, and contrast times a factor"),
        Corruption("jpeg", "JPEG", (50, 25, 15, 10, 5), _jpeg,
                   "saved as JPEG of this quality (Pillow, its usual subsampling of colours)"),
    )
}  # fmt: skip


def corrupted(pixels: Pixels, named: str, name: str) -> Pixels:
    """An image as a corruption leaves it.

    Args:
        pixels: RGB, (height, width, 3) uint8.
        named: corruption and strength, ``noise@3``.
        name: of the image; with the kind of corruption it seeds what is random, so that all strengths are of one draw.

    Raises:
        InputError: there is no such corruption.
    """
    key, strength = parsed(named)
    one = CORRUPTIONS[key]
    random = np.random.default_rng(crc32(f"{key}\0{name}".encode(errors="surrogateescape")))
    return one.function(pixels, one.levels[strength - 1], random)


def parsed(named: str) -> tuple[str, int]:
    """Key and strength in a text like ``noise@3``.

    Raises:
        InputError: there is no such corruption, or the strength is not 1 to 5.
    """
    key, _, strength = named.partition(_AT)
    if key not in CORRUPTIONS:
        raise InputError(f"no corruption {key}; {near_matches(key, list(CORRUPTIONS))}; write for instance noise@3")
    if strength not in map(str, STRENGTHS):
        raise InputError(f"{named} names no strength of {key} from 1 to {STRENGTHS[-1]}; write for instance {key}@3")
    return key, int(strength)


def parts_of(dataset: str) -> tuple[str, str]:
    """Key of the clean data set, and the corruption behind it, which may be none or one that does not exist."""
    clean, _, named = dataset.partition(_JOINT)
    return clean, named


def clean_of(dataset: str) -> str:
    """Key of the data set that was corrupted, or of this one."""
    return parts_of(dataset)[0]
