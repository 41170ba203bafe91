"""Settings of the bridge: what all models of anomalib have in common; all else is an argument of their constructors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from aseg_bench.training.settings import ImageSize, Tiles
from aseg_bench.training.tiles import Tiling
from baselines.anomalib.models import traits


@dataclass(frozen=True)
class BridgeSettings:
    """What a model of anomalib is trained on, and for how long.

    Attributes:
        image_size: pixels to which images are resized: the side of a square, or height x width, ``256x384``.
        tiles: rows x columns of overlapping tiles, each of ``image_size``.
        batch_size: images per step.
        n_steps: gradient steps; 0 takes ``n_epochs``. Neither counts for a model that collects features in one pass.
        n_epochs: passes over the training images.
        weights: ``random`` leaves the networks that anomalib takes pretrained without a training; scores then say
            nothing about the method.
    """

    image_size: ImageSize = 224
    tiles: Tiles = "1x1"
    batch_size: PositiveInt = 8
    n_steps: NonNegativeInt = 600
    n_epochs: PositiveInt = 1000
    weights: Literal["pretrained", "random"] = "pretrained"

    @property
    def tiling(self) -> Tiling:
        """How images are cut."""
        size, tiles = ([int(side) for side in str(text).split("x")] for text in (self.image_size, self.tiles))
        return Tiling(size[0], size[-1], *tiles)

    def steps(self, n_batches: int) -> int:
        """Gradient steps of a training in which a pass has this many batches."""
        return self.n_steps or self.n_epochs * n_batches

    def epochs(self, n_batches: int) -> int:
        """Passes, the last one perhaps in part."""
        return math.ceil(self.steps(n_batches) / n_batches)


def presets(name: str) -> Mapping[str, BridgeSettings]:
    """Presets of a model: ``cpu`` in steps that a CPU can take, ``paper`` what anomalib does by itself."""
    known = traits(name)
    cpu = BridgeSettings(
        image_size=known.size if known.is_fixed else max(224, known.minimum),
        batch_size=min(8, known.batch_size),
        n_epochs=known.n_epochs,
    )
    return {
        "cpu": cpu,
        "quick": replace(cpu, n_steps=cpu.n_steps // 3),
        "paper": BridgeSettings(
            image_size=known.size, batch_size=known.batch_size, n_steps=known.n_steps, n_epochs=known.n_epochs
        ),
    }
