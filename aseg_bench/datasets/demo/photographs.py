"""Scenes cut from photographs that scikit-image ships; all four are CC0.

Training and test images come from separate halves of a photograph, so that no part of a test image is seen in training.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from skimage import data

from aseg_bench.datasets.demo.scenes import COLUMNS, ROWS, SIZE, Canvas, Colour, Scene

Split = Literal["train", "test"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Photograph:
    """How crops are cut from a photograph.

    Attributes:
        name: function of ``skimage.data`` that returns it.
        train: first row, last row, first column, last column of the part for training.
        test: the same for testing.
        crop: least and greatest side of a crop, in pixels of the photograph.
        turn: greatest turn of a crop, in degrees.
        is_upright: False also turns crops by a random multiple of 90 degrees.
        colours: what black, mid-grey and white become; None keeps the photograph's own colours.
    """

    name: str
    train: Box
    test: Box
    crop: tuple[float, float]
    turn: float
    is_upright: bool
    colours: tuple[Colour, Colour, Colour] | None = None

    def scene(self, rng: np.random.Generator, split: Split) -> Scene:
        """A crop at random as a scene without parts."""
        everywhere = np.ones((SIZE, SIZE), bool)
        return Scene(self.cut(rng, split), everywhere, np.zeros((SIZE, SIZE), np.float32))

    def cut(self, rng: np.random.Generator, split: Split, zoom: float = 1.0) -> Canvas:
        """A crop at random, (256, 256, 3) in [0, 1]; ``zoom`` below 1 makes its texture finer."""
        top, bottom, left, right = self.train if split == "train" else self.test
        side = min(rng.uniform(*self.crop) / zoom, bottom - top, right - left)
        turn = np.deg2rad(rng.uniform(-self.turn, self.turn)) + (0 if self.is_upright else rng.integers(4) * np.pi / 2)
        y = rng.uniform(top + side / 2, bottom - side / 2)
        x = rng.uniform(left + side / 2, right - side / 2)
        down, across = (ROWS / (SIZE - 1) - 0.5) * side, (COLUMNS / (SIZE - 1) - 0.5) * side
        if rng.random() < 0.5:
            across = -across
        rows = y + np.cos(turn) * down + np.sin(turn) * across
        columns = x + np.cos(turn) * across - np.sin(turn) * down
        # At the corners of a turned crop the picture is mirrored rather than taken from the other part.
        places = np.stack([_mirrored(rows, top, bottom - 1), _mirrored(columns, left, right - 1)])
        layers = [map_coordinates(layer, places, order=1) for layer in _layers(self.name)]
        if self.colours is None:
            return np.stack(layers, axis=-1)
        levels = [np.interp(layers[0], (0, 0.5, 1), channel) for channel in zip(*self.colours, strict=True)]
        return np.stack(levels, axis=-1).astype(np.float32)


BRICK = Photograph(
    "brick",
    train=(0, 512, 0, 300),
    test=(0, 512, 300, 512),
    crop=(185, 205),
    turn=2,
    is_upright=True,
    colours=((0.14, 0.07, 0.06), (0.62, 0.38, 0.32), (0.95, 0.91, 0.86)),
)
GRASS = Photograph(
    "grass",
    train=(0, 512, 0, 300),
    test=(0, 512, 300, 512),
    crop=(170, 205),
    turn=15,
    is_upright=False,
    colours=((0.05, 0.09, 0.03), (0.40, 0.47, 0.22), (0.90, 0.92, 0.70)),
)
GRAVEL = Photograph(
    "gravel",
    train=(0, 512, 0, 300),
    test=(0, 512, 300, 512),
    crop=(170, 205),
    turn=15,
    is_upright=False,
    colours=((0.08, 0.08, 0.09), (0.50, 0.49, 0.47), (0.95, 0.94, 0.92)),
)
RETINA = Photograph(
    "retina", train=(150, 700, 340, 1190), test=(700, 1260, 340, 1190), crop=(300, 380), turn=15, is_upright=False
)


def _mirrored(places: Canvas, first: int, last: int) -> NDArray[np.float32]:
    inside = np.where(places < first, 2 * first - places, places)
    return np.clip(np.where(inside > last, 2 * last - inside, inside), first, last)


@cache
def _layers(name: str) -> tuple[Canvas, ...]:
    picture = np.asarray(getattr(data, name)(), dtype=np.float32) / 255
    return tuple(np.ascontiguousarray(layer) for layer in np.atleast_3d(picture).transpose(2, 0, 1))
