"""Whether a trained model has learned: does it reconstruct normal features better than a mean does?"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aseg_bench.methods import MEAN_PICTURE, NOT_LEARNED
from aseg_bench.records import Case, Finding
from aseg_bench.training.reconstruction import FeatureReconstruction

N_IMAGES = 16  # of a category are enough to tell
_BATCH = 8
_NO_BETTER = 0.95  # of the error of the mean vector: a model that stands there is never quite at it
_TEXTS = {
    NOT_LEARNED: "has not learned: it reconstructs normal features no better than one mean vector does, so its scores "
    "are those of a training that is too short or has collapsed",
    MEAN_PICTURE: "has not learned more than a mean picture: it reconstructs normal features no better than the mean "
    "at each position does, so a longer training may change its scores",
}


class Learned(NamedTuple):
    """Squared error on the normal features of a category, over that of the category's mean vector; levels count alike.

    Attributes:
        error: of the reconstruction; 0 is perfect, 1 no better than the same vector everywhere.
        place_error: of the mean at each position over the other images: no better than one picture for all.
    """

    error: float
    place_error: float


class _Sums:
    """What a category's images add up to at one level, in double precision."""

    def __init__(self) -> None:
        self.n = 0
        self.error = self.squares = 0.0
        self.by_place: Tensor | float = 0.0  # (C, positions)

    def add(self, target: Tensor, reconstructed: Tensor) -> None:
        target, reconstructed = (values.flatten(2).double().cpu() for values in (target, reconstructed))
        self.n += len(target)
        self.error += float((target - reconstructed).square().sum())
        self.squares += float(target.square().sum())
        self.by_place = self.by_place + target.sum(0)

    def learned(self) -> Learned:
        assert isinstance(self.by_place, Tensor), "images have been added"
        n_places = self.by_place.shape[1]
        mean = self.by_place.sum(1) / (self.n * n_places)
        of_mean = max(self.squares - self.n * n_places * float(mean.square().sum()), 1e-12)
        of_place = self.squares - float(self.by_place.square().sum()) / self.n
        left_out = (self.n / max(self.n - 1, 1)) ** 2  # the mean of the others lies that much further away
        return Learned(self.error / of_mean, of_place * left_out / of_mean)


@torch.inference_mode()
def learned_of(
    model: FeatureReconstruction, images: NDArray[np.uint8], categories: Sequence[str]
) -> dict[str, Learned]:
    """How well a model reconstructs the first images of each category.

    Args:
        model: trained.
        images: RGB, (images, 3, H, W) uint8, normal.
        categories: one per image.
    """
    was_training = model.training
    model.eval()
    found = {}
    for category in dict.fromkeys(categories):
        own = [index for index, name in enumerate(categories) if name == category][:N_IMAGES]
        sums: list[_Sums] = []
        for start in range(0, len(own), _BATCH):
            batch = torch.from_numpy(images[own[start : start + _BATCH]]).to(model.backbone.mean.device)
            pairs = model.pairs(model.backbone(batch))
            sums = sums or [_Sums() for _ in pairs]
            for level, pair in zip(sums, pairs, strict=True):
                level.add(*pair)
        by_level = [level.learned() for level in sums]
        found[category] = Learned(*np.mean(by_level, axis=0).tolist())
    model.train(was_training)
    return found


def not_learned(learned: Mapping[str, Learned], method: str, dataset: str) -> list[Finding]:
    """A finding for each category whose features a method reconstructs no better than a mean does."""
    findings = []
    for category, (error, place_error) in learned.items():
        if error >= min(_NO_BETTER, place_error):
            kind = NOT_LEARNED if error >= _NO_BETTER else MEAN_PICTURE
            findings.append(Finding(kind, _TEXTS[kind], Case(method, dataset, category)))
    return findings
