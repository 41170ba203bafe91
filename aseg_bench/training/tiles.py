"""Pictures cut into tiles for a model of fixed input size, and the maps of the tiles put together again."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SHARED = 8  # neighbours overlap by one part in so many of a tile
_BATCH = 16  # tiles that a model maps at a time


@dataclass(frozen=True)
class Tiling:
    """A grid of overlapping tiles, each as large as what the model takes.

    A picture is resized to the size of the whole and then cut, so a tile shows its part of the picture ``rows`` times
    higher and ``columns`` times wider (less the overlaps) than a model without tiles would see it.

    Attributes:
        height: of a tile, in pixels.
        width: of a tile, in pixels.
        rows: of tiles.
        columns: of tiles.
    """

    height: int
    width: int
    rows: int = 1
    columns: int = 1

    @property
    def n_tiles(self) -> int:
        """Tiles per picture."""
        return self.rows * self.columns

    @property
    def overlap(self) -> tuple[int, int]:
        """Pixels that a tile shares with the next one below, and with the next one to the right."""
        return self.height // _SHARED, self.width // _SHARED

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the whole, which the tiles cover exactly."""
        below, right = self.overlap
        return self.rows * (self.height - below) + below, self.columns * (self.width - right) + right

    def cut(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize a picture (height, width, 3) bilinearly and cut it into (tiles, 3, height, width), row by row."""
        whole = np.asarray(Image.fromarray(picture).resize(self.size[::-1], Image.Resampling.BILINEAR))
        return np.stack([whole[place].transpose(2, 0, 1) for place in self._places()])

    def join(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """One map (..., height, width) from the maps of its tiles (tiles, ..., height, width).

        Where tiles overlap, the weight passes linearly from one to the next, so that no seam shows.
        """
        whole = np.zeros((*maps.shape[1:-2], *self.size))
        down, across = _weights(self.rows, self.height), _weights(self.columns, self.width)
        for index, (place, own) in enumerate(zip(self._places(), maps, strict=True)):
            row, column = divmod(index, self.columns)
            whole[(..., *place)] += own * np.outer(down[row], across[column])
        return whole.astype(np.float32)

    def mapped(
        self, pictures: NDArray[np.uint8], maps_of: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """Maps of pictures, in the size of the whole.

        Args:
            pictures: the tiles of one picture after those of another, (pictures * tiles, 3, height, width).
            maps_of: maps (B, ..., height, width) of B tiles.
        """
        parts = [maps_of(pictures[start : start + _BATCH]) for start in range(0, len(pictures), _BATCH)]
        maps = np.concatenate(parts)
        return [self.join(maps[start : start + self.n_tiles]) for start in range(0, len(maps), self.n_tiles)]

    def _places(self) -> list[tuple[slice, slice]]:
        below, right = self.overlap
        tops = [row * (self.height - below) for row in range(self.rows)]
        lefts = [column * (self.width - right) for column in range(self.columns)]
        return [(slice(top, top + self.height), slice(left, left + self.width)) for top in tops for left in lefts]


def _weights(n_tiles: int, side: int) -> NDArray[np.float64]:
    """Weight of every pixel along one axis of each tile, (tiles, side); over all tiles they add up to one."""
    shared = side // _SHARED
    rise = (np.arange(shared) + 0.5) / max(shared, 1)
    weights = np.ones((n_tiles, side))
    weights[1:, :shared] = rise
    weights[:-1, side - shared :] = 1 - rise
    return weights
