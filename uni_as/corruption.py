"""What is done to the inputs in training, so that the decoder learns normal features and does not copy what it sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from aseg_bench.training.features import jitter

_GRAINS = (4, 8, 16, 28)  # cells a side of the noise that blobs are cut from: one large blob to many small ones
_MOST = 0.2  # share of an image that is swapped at most


@dataclass(frozen=True)
class Corruption:
    """Damage to features; the clean ones are the target.

    Attributes:
        jitter_scale: noise, in units of the features' norm over C.
        jitter_probability: share of the images whose features of a level get noise.
        swap_probability: share of the images that get pieces of another one.
    """

    jitter_scale: float
    jitter_probability: float
    swap_probability: float

    def __call__(self, features: Sequence[Tensor], filtered: Callable[[Tensor], tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Inputs (B, 2 C_i, H_i, W_i) of eq. 2 for damaged features (B, C_i, H_i, W_i), shallowest level first."""
        swapped = swap(features, self.swap_probability)
        return [jitter(filtered(values)[1], self.jitter_scale, self.jitter_probability) for values in swapped]


def swap(features: Sequence[Tensor], probability: float) -> list[Tensor]:
    """Put another image's features into random blobs, at the same place on all levels.

    Not in the paper: as CutPaste on images (Li et al., 2021), but on features, which costs next to nothing.

    Args:
        features: (B, C_i, H_i, W_i), shallowest level first.
        probability: share of the images that are changed, in [0, 1], each on up to a fifth of its area.

    Returns:
        Features of the same shapes.
    """
    if not probability:
        return list(features)
    n_images, device = len(features[0]), features[0].device
    size, coarsest = features[0].shape[-2:], features[-1].shape[-2:]
    grain = _GRAINS[int(torch.randint(len(_GRAINS), ()))]
    coarse = torch.rand(n_images, 1, grain, grain, device=device)
    noise = functional.interpolate(coarse, size, mode="bicubic").flatten(1)
    share = _MOST * torch.rand(n_images, 1, device=device) * (torch.rand(n_images, 1, device=device) < probability)
    highest = noise.sort(descending=True).values
    blobs = noise > highest.gather(1, (share * noise.shape[1]).long())
    cover = blobs.view(n_images, 1, *size).to(features[0].dtype)
    giver = torch.randperm(n_images, device=device)
    shift = [int(torch.randint(side, ())) for side in coarsest]
    swapped = []
    for values in features:
        steps = [by * side // least for by, side, least in zip(shift, values.shape[-2:], coarsest, strict=True)]
        given = values[giver].roll(steps, (2, 3))
        swapped.append(values.lerp(given, functional.interpolate(cover, values.shape[-2:], mode="area")))
    return swapped
