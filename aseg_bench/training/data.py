"""Images as tensors: decoded once and kept as bytes; the frozen features of unchanged images are kept as well."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aseg_bench.images import picture_of
from aseg_bench.progress import track
from aseg_bench.records import Sample
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.tiles import Tiling

MEMORY_LIMIT = 4 << 30  # bytes of images kept in memory; more go to a memory map on disk
FEATURE_LIMIT = 6 << 30  # bytes of features kept in memory; more are computed again in every step
N_SCALED = 512  # images that tell mean and deviation of features
FEATURE_BATCH = 16  # images whose features are extracted at a time
_TILT, _TILT_FILL = 5.0, (114, 114, 114)  # degrees and colour of the official code of DeSTSeg


def load_images(samples: Sequence[Sample], tiling: Tiling, quiet: bool = False) -> NDArray[np.uint8]:
    """Decode the images in threads, resize them bilinearly and cut them.

    Args:
        samples: the images.
        tiling: of the images; one tile is the image.
        quiet: no progress bar.

    Returns:
        RGB, (images * tiles, 3, height, width) uint8, in the order of the samples, the tiles of one row by row.

    Raises:
        InputError: an image cannot be read.
    """
    n_tiles = tiling.n_tiles
    shape = (len(samples) * n_tiles, 3, tiling.height, tiling.width)
    fits = np.prod(shape, dtype=np.int64) <= MEMORY_LIMIT
    images = np.empty(shape, np.uint8) if fits else _on_disk(shape)

    def decode(sample: Sample) -> NDArray[np.uint8]:
        return tiling.cut(picture_of(sample))

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter lock
        decoded = pool.map(decode, samples)
        for index, tiles in enumerate(track(decoded, "images", len(samples), quiet)):
            images[index * n_tiles : (index + 1) * n_tiles] = tiles
    return images


def _on_disk(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    with TemporaryFile() as file:  # the mapping outlives the name
        return np.memmap(file, np.uint8, "w+", shape=shape)


@dataclass(frozen=True)
class Augmentation:
    """Flips and turns, for the categories that look the same afterwards (UniAS and DeSTSeg, the authors' code).

    Attributes:
        flip_horizontal: categories mirrored left to right with ``flip_probability``.
        flip_vertical: categories mirrored top to bottom with ``flip_probability``.
        rotate: categories turned by 0, 90, 180 or 270 degrees, equally likely; by 0 or 180 where images are not square,
            since a quarter turn would change their size.
        tilt: categories turned by up to 5 degrees to either side, what is then empty filled with grey (DeSTSeg).
        flip_probability: chance of either flip.
    """

    flip_horizontal: frozenset[str] = field(default_factory=frozenset)
    flip_vertical: frozenset[str] = field(default_factory=frozenset)
    rotate: frozenset[str] = field(default_factory=frozenset)
    tilt: frozenset[str] = field(default_factory=frozenset)
    flip_probability: float = 0.3

    def __bool__(self) -> bool:
        return bool(self.flip_horizontal or self.flip_vertical or self.rotate or self.tilt)

    def apply(self, image: Tensor, category: str, random: np.random.Generator) -> Tensor:
        """Change one image (3, H, W) at random; its size stays."""
        flips, turns = random.random(2) < self.flip_probability, int(random.integers(4))
        if category in self.flip_horizontal and flips[0]:
            image = image.flip(2)
        if category in self.flip_vertical and flips[1]:
            image = image.flip(1)
        if category in self.rotate:
            is_square = image.shape[1] == image.shape[2]
            image = image.rot90(turns if is_square else turns - turns % 2, (1, 2))
        if category in self.tilt:
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            degrees = random.uniform(-_TILT, _TILT)
            tilted = picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_TILT_FILL)
            image = torch.from_numpy(np.array(tilted)).permute(2, 0, 1)
        return image


class Source(Protocol):
    """What a model is trained on, by index of the training images.

    Attributes:
        categories: of the images, one each.
    """

    categories: tuple[str, ...]

    def __len__(self) -> int:
        """How many images there are."""

    def prepare(self) -> None:
        """Whatever is done once, before the clock of a training starts."""

    def batch(self, indices: Sequence[int], seed: int) -> Any:
        """What the model's ``losses`` gets of the images at ``indices``; augmented by ``seed``."""


class ImageSource:
    """The images themselves, by index.

    Args:
        device: where they will go.
        categories: of the images, one each.
        images: (images, 3, H, W) uint8.
        augmentation: changes of the images in training; None for none.
    """

    def __init__(
        self,
        device: torch.device,
        categories: Sequence[str],
        images: NDArray[np.uint8],
        augmentation: Augmentation | None = None,
    ) -> None:
        self._device, self._images = device, images
        self.categories = tuple(categories)
        self._augmentation = augmentation or Augmentation()

    def __len__(self) -> int:
        return len(self.categories)

    def prepare(self) -> None:
        """Nothing is left to be done: the images are decoded."""

    def batch(self, indices: Sequence[int], seed: int) -> Tensor:
        """RGB (B, 3, H, W) float32 in [0, 255]; augmented by ``seed``."""
        chosen = torch.from_numpy(self._images[list(indices)])
        if self._augmentation:
            random = np.random.default_rng(seed)
            categories = [self.categories[index] for index in indices]
            pairs = zip(chosen, categories, strict=True)
            chosen = torch.stack([self._augmentation.apply(image, category, random) for image, category in pairs])
        return chosen.to(self._device).float()


class FeatureSource:
    """Backbone features of a set of images, by index.

    Without augmentation the features never change, so they are computed once and kept in half precision.

    Args:
        backbone: on the device where it will run.
        categories: of the images, one each.
        images: (images, 3, H, W) uint8.
        augmentation: changes of the images in training; None for none.
        quiet: no progress bar.
        n_all: of how many images these are a few, which are kept only if all could be; 0 where they are all.
    """

    def __init__(
        self,
        backbone: Backbone,
        categories: Sequence[str],
        images: NDArray[np.uint8],
        augmentation: Augmentation | None = None,
        quiet: bool = False,
        n_all: int = 0,
    ) -> None:
        self._backbone, self._images, self._quiet = backbone, images, quiet
        self.categories = tuple(categories)
        self._changed = ImageSource(backbone.mean.device, categories, images, augmentation) if augmentation else None
        self._kept: list[Tensor] | None = None
        self._n_all = n_all or len(images)

    def __len__(self) -> int:
        return len(self.categories)

    def prepare(self) -> None:
        """Extract the features that are kept, which ``batch`` does otherwise when it is first asked."""
        if self._changed is None and self._kept is None:
            self._kept = self._keep()

    def batch(self, indices: Sequence[int], seed: int) -> list[Tensor]:
        """Features of the images at ``indices``, a tensor (B, C, H, W) float32 per stride; augmented by ``seed``."""
        if self._changed is not None:
            return self._extract(self._changed.batch(indices, seed))
        self.prepare()
        device = self._backbone.mean.device
        if not self._kept:
            return self._extract(torch.from_numpy(self._images[list(indices)]))
        return [level[list(indices)].to(device).float() for level in self._kept]  # half the bytes on their way

    @property
    def is_kept(self) -> bool:
        """Whether features are computed once, for all steps."""
        if self._changed is not None:
            return False
        sample = self._extract(torch.from_numpy(self._images[:1]))
        return sum(level.numel() for level in sample) * 2 * self._n_all <= FEATURE_LIMIT

    def unchanged(self, most: int = N_SCALED) -> Iterator[list[Tensor]]:
        """Features of up to ``most`` evenly spaced images without augmentation, in batches."""
        indices = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int))
        for start in range(0, len(indices), FEATURE_BATCH):
            yield self._extract(torch.from_numpy(self._images[indices[start : start + FEATURE_BATCH]]))

    def _extract(self, images: Tensor) -> list[Tensor]:
        return [level.float() for level in self._backbone(images.to(self._backbone.mean.device))]

    def _keep(self) -> list[Tensor]:
        if not self.is_kept:
            return []
        sample = self._extract(torch.from_numpy(self._images[:1]))
        kept = [torch.empty((len(self), *level.shape[1:]), dtype=torch.float16) for level in sample]
        starts: Iterable[int] = range(0, len(self), FEATURE_BATCH)
        for start in track(starts, "features", -(-len(self) // FEATURE_BATCH), self._quiet):
            features = self._extract(torch.from_numpy(self._images[start : start + FEATURE_BATCH]))
            for level, values in zip(kept, features, strict=True):
                level[start : start + FEATURE_BATCH] = values
        return kept
