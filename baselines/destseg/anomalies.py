"""Section 3.1: synthetic anomalies, textures blended into normal images where Perlin noise is high, as in DRAEM."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.images import IMAGE_SUFFIXES
from aseg_bench.records import Sample
from aseg_bench.training.data import load_images
from aseg_bench.training.tiles import Tiling

_THRESHOLD = 0.5  # of the noise; this and what follows is of the authors' code, which took it from DRAEM's
_SCALES = 6  # of the noise: 2^0 to 2^5 cells along either axis
_TURN = 90.0  # degrees by which the noise is turned at most
_OPACITY = 0.8  # largest share that the image keeps within an anomaly


class SyntheticAnomalies:
    """Draws an anomaly into every image of a batch, by torch's generator.

    Args:
        textures: RGB pictures of other things, (textures, 3, H, W) uint8 in the size of the images, DTD's in the
            paper; None makes the texture of each image from another image of its batch (not in the paper).
    """

    def __init__(self, textures: Tensor | None = None) -> None:
        self._textures = textures

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The images (B, 3, H, W) in [0, 255] with anomalies, and masks (B, 1, H, W) in {0, 1} of where they are."""
        size = (int(images.shape[2]), int(images.shape[3]))
        masks = torch.stack([perlin_mask(size) for _ in images])[:, None].to(images)
        if self._textures is None:
            textures = made_textures(images)
        else:
            textures = self._textures[torch.randint(len(self._textures), (len(images),))].to(images)
        kept = (_OPACITY * torch.rand(len(images), 1, 1, 1)).to(images)
        return torch.where(masks > 0, kept * images + (1 - kept) * textures, images), masks


def perlin_mask(size: tuple[int, int]) -> Tensor:
    """Where turned Perlin noise of random scales is above one half, (height, width) bool; it may be nowhere."""
    cells = [2**scale for scale in torch.randint(_SCALES, (2,)).tolist()]
    directions = 2 * math.pi * torch.rand(cells[0] + 1, cells[1] + 1)
    turn = math.radians(_TURN) * (2 * float(torch.rand(())) - 1)
    return perlin_noise(size, directions, turn) > _THRESHOLD


def perlin_noise(size: tuple[int, int], directions: Tensor, turn: float = 0.0) -> Tensor:
    """Perlin noise (height, width), about -1 to 1, turned about the middle; 0 where it is turned out of the picture.

    Args:
        size: height and width.
        directions: angles of the gradients at the corners of the cells, (rows + 1, columns + 1).
        turn: angle in radians.

    Source: Perlin (1985), with the smoother fade of Perlin (2002), https://doi.org/10.1145/566570.566636
    """
    cells = [side - 1 for side in directions.shape]
    y, x = torch.meshgrid(*(torch.arange(side) - (side - 1) / 2 for side in size), indexing="ij")
    turned = (math.cos(turn) * y - math.sin(turn) * x, math.sin(turn) * y + math.cos(turn) * x)
    corner, within, inside = [], [], torch.ones(size, dtype=torch.bool)
    for place, side, n_cells in zip(turned, size, cells, strict=True):
        pixel = (place + (side - 1) / 2).round(decimals=4)  # a turn by nothing is exactly that
        inside &= (pixel >= 0) & (pixel <= side - 1)
        position = pixel * (n_cells / side)
        corner.append(position.floor().long().clamp(0, n_cells - 1))
        within.append(position - corner[-1])
    dots = []
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        angle = directions[corner[0] + down, corner[1] + right]
        dots.append(angle.cos() * (within[0] - down) + angle.sin() * (within[1] - right))
    fade = [((6 * share - 15) * share + 10) * share**3 for share in within]
    top, bottom = (torch.lerp(left, right, fade[1]) for left, right in (dots[:2], dots[2:]))
    return math.sqrt(2) * torch.lerp(top, bottom, fade[0]) * inside


def made_textures(images: Tensor) -> Tensor:
    """Of each image (B, 3, H, W) a texture: a part of another image of the batch, enlarged, turned and recoloured."""
    n_images, _, height, width = images.shape
    others = (torch.arange(n_images) + torch.randint(1, max(n_images, 2), (n_images,))) % n_images
    textures = []
    for other in others.tolist():
        rows, columns = (math.ceil(side * float(torch.empty(()).uniform_(0.25, 1))) for side in (height, width))
        top, left = (int(torch.randint(room + 1, ())) for room in (height - rows, width - columns))
        part = images[other, torch.randperm(3), top : top + rows, left : left + columns]
        turns, mirrored = torch.randint(4, ()), torch.rand(()) < 0.5
        part = part.rot90(int(turns), (1, 2))
        part = part.flip(1) if mirrored else part
        sized = functional.interpolate(part[None], (height, width), mode="bilinear", align_corners=False)[0]
        gain = torch.empty(3, 1, 1).uniform_(0.5, 1.5) * torch.randint(2, ()).mul(2).sub(1)  # half of them negatives
        shift = torch.empty(3, 1, 1).uniform_(-64, 64)
        textures.append(((sized - 127.5) * gain.to(images) + 127.5 + shift.to(images)).clamp(0, 255))
    return torch.stack(textures)


def load_textures(folder: Path, size: Sequence[int]) -> Tensor:
    """All pictures below a folder, (pictures, 3, height, width) uint8, in the order of their paths.

    Raises:
        InputError: there is no such folder, it holds no pictures, or one is unreadable.
    """
    if not folder.is_dir():
        raise InputError(f"textures: there is no folder {folder}; leave it out to make them from training images")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise InputError(f"textures: {folder} holds no pictures, neither itself nor in folders below")
    samples = [Sample("textures", "textures", "train", "good", path.stem, path) for path in files]
    return torch.from_numpy(load_images(samples, Tiling(*size), quiet=True))
