"""Whether a trained model has learned: to reconstruct normal features better than a mean, or to tell spoilt ones."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aseg_bench.methods import MEAN_PICTURE, NOT_LEARNED
from aseg_bench.records import Case, Finding
from aseg_bench.training.network import Network

N_IMAGES = 16  # of a category are enough to tell
_BATCH = 8
_NO_BETTER = 0.95  # of the error of the mean vector: a model that stands there is never quite at it
_TEXTS = {
    NOT_LEARNED: "has not learned: it reconstructs normal features no better than one mean vector does, so its scores "
    "are those of a training that is too short or has collapsed",
    MEAN_PICTURE: "has not learned more than a mean picture: it reconstructs normal features no better than the mean "
    "at each position does, so a longer training may change its scores",
}
_AT_CHANCE = (
    "has not learned: it tells what is normal from the same spoilt no better than a coin does, so its scores are those "
    "of a training that is too short or has collapsed"
)


class Learned(NamedTuple):
    """What a model makes of the normal features of a category, over what is possible without learning.

    A reconstruction's squared error is over that of the category's mean vector, levels count alike; the mistakes of a
    discriminator, which tells normal features from spoilt ones, are over those of a coin.

    Attributes:
        error: of the model; 0 is perfect, 1 no better than the same vector everywhere, or than a coin.
        place_error: of the mean at each position over the other images, no better than one picture for all; None of a
            discriminator.
    """

    error: float
    place_error: float | None = None


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
def learned_of(model: Network, images: NDArray[np.uint8], categories: Sequence[str]) -> dict[str, Learned]:
    """How well a model reconstructs, or tells from spoilt ones, the first images of each category.

    Args:
        model: trained; what a discriminator draws is the same in every call.
        images: RGB, (images, 3, H, W) uint8, normal.
        categories: one per image.
    """
    was_training = model.training
    model.eval()
    found = {}
    for category in dict.fromkeys(categories):
        own = [index for index, name in enumerate(categories) if name == category][:N_IMAGES]
        batches = (
            torch.from_numpy(images[own[start : start + _BATCH]]).to(model.backbone.mean.device).float()
            for start in range(0, len(own), _BATCH)
        )
        seen = batches if model.sees_images else map(model.backbone, batches)
        found[category] = _told_apart(model, seen) if model.tells_apart else _reconstructed(model, seen, category)
    model.train(was_training)
    return found


def _reconstructed(model: Network, batches: Iterable[Any], category: str) -> Learned:
    sums: list[_Sums] = []
    for batch in batches:
        pairs = model.pairs(batch, **model.told([category] * len(batch[0])))
        sums = sums or [_Sums() for _ in pairs]
        for level, pair in zip(sums, pairs, strict=True):
            level.add(*pair)
    return Learned(*np.mean(np.array([level.learned() for level in sums]), axis=0).tolist())


def _told_apart(model: Network, batches: Iterable[Any]) -> Learned:
    device = model.backbone.mean.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        judged = [model.judged(batch) for batch in batches]
    normal, spoilt = (torch.cat([scores.flatten() for scores in part]) for part in zip(*judged, strict=True))
    mistakes = (normal <= 0).double().mean() + (spoilt >= 0).double().mean()  # a coin makes a half of each
    return Learned(float(mistakes))


def not_learned(learned: Mapping[str, Learned], method: str, dataset: str) -> list[Finding]:
    """A finding for each category whose features a method knows no better than a mean, or a coin, does."""
    findings = []
    for category, (error, place_error) in learned.items():
        if error >= min(_NO_BETTER, math.inf if place_error is None else place_error):
            kind = NOT_LEARNED if error >= _NO_BETTER else MEAN_PICTURE
            text = _AT_CHANCE if place_error is None else _TEXTS[kind]
            findings.append(Finding(kind, text, Case(method, dataset, category)))
    return findings
