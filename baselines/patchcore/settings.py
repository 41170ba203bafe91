"""Every number of PatchCore, with the section or configuration it is from. No torch is needed to read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from aseg_bench.training.settings import OFFLINE_BACKBONE, FeatureSettings


@dataclass(frozen=True)
class PatchCoreSettings(FeatureSettings):
    """Every number of PatchCore; the defaults are the paper's, and the authors' configuration where it is silent.

    Attributes:
        levels: strides of the backbone's features that make up a patch (section 3.1: blocks 2 and 3).
        stride: of the patches in the image; coarser levels are interpolated to their grid, finer ones averaged.
        pool: side of the neighbourhood over which a level's features are averaged (section 3.1, p = 3); odd.
        borders: what lies beyond a level in that neighbourhood: ``zeros`` (configuration), which bring the distances of
            border patches down, or the level ``mirrored`` (ours).
        dimensions: to which the channels of each level, and of all of them together, are averaged (configuration);
            0 keeps them all, side by side.
        combination: one ``joint`` bank over all levels, or one bank per level, whose distances are multiplied
            (``product``, ours).
        coreset: how the bank is chosen, ``greedy`` (section 3.2) or at ``random`` (its comparison in section 4.4).
        bank_share: of all patches, which the bank keeps; 10 % in most of the paper's tables.
        bank_size: entries of the bank; 0 takes ``bank_share``.
        projection: random dimensions in which the greedy choice measures distances (configuration); 0 takes all.
        smoothing: deviation in pixels of the Gaussian over the finished map (section 3.3); 0 for none.
        memory_gib: most that the patches and the bank may take.
    """

    backbone: str = "wide_resnet50_2.tv_in1k"  # section 4.1; torchvision's first weights, as in the configuration
    levels: tuple[PositiveInt, ...] = (8, 16)
    stride: PositiveInt = 8
    pool: PositiveInt = 3
    borders: Literal["zeros", "mirrored"] = "zeros"
    dimensions: NonNegativeInt = 1024
    combination: Literal["joint", "product"] = "joint"
    coreset: Literal["greedy", "random"] = "greedy"
    bank_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    bank_size: NonNegativeInt = 0
    projection: NonNegativeInt = 128
    smoothing: NonNegativeFloat = 4.0
    memory_gib: PositiveFloat = 32.0  # all of MVTec-AD takes 13, all of VisA 32

    def entries(self, n_patches: int) -> int:
        """Entries of a bank that is made of so many patches."""
        return min(self.bank_size or max(round(self.bank_share * n_patches), 1), n_patches)


_CPU = PatchCoreSettings(
    backbone=OFFLINE_BACKBONE,  # weights come with the package
    feature_scaling="z_score",  # as in the other methods' cpu presets
    levels=(2, 4, 8, 16),  # the network has few channels at each: 192 in all
    dimensions=0,
    smoothing=0.0,  # smoothed maps have 1.3 to 2 points less pixel AP on two sets of real categories
    memory_gib=8.0,
)

PRESETS: Mapping[str, PatchCoreSettings] = {
    "paper": PatchCoreSettings(),  # but images are shown whole, where the authors cut out the centre of 256 pixels
    "cpu": _CPU,
    "quick": _CPU,  # filling a bank is quick
}
