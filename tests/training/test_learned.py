"""A model that reconstructs no better than a mean does is found out, and one that does is not."""

import numpy as np
import pytest
import torch
from torch import nn

from aseg_bench.methods import MEAN_PICTURE, NOT_LEARNED
from aseg_bench.training.learned import learned_of, not_learned
from aseg_bench.training.network import Network

RNG = np.random.default_rng(0)
TEMPLATES = RNG.integers(0, 200, (2, 3, 6, 8))
IMAGES = np.concatenate([template + RNG.integers(0, 50, (9, 3, 6, 8)) for template in TEMPLATES]).astype(np.uint8)
CATEGORIES = ["bolt"] * 9 + ["nut"] * 9


class Backbone(nn.Module):
    """Two levels: the pixels, and their means of two by two."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, images):
        return [images.float(), nn.functional.avg_pool2d(images.float(), 2)]


class Model(Network):
    """Reconstructs each level by a function of it."""

    def __init__(self, reconstruct):
        super().__init__(Backbone())
        self.reconstruct = reconstruct

    def pairs(self, features):
        return [(values, self.reconstruct(values)) for values in features]


def own_means(values, axes):
    """For one category in a batch, the mean over these axes."""
    return values.mean(axes, keepdim=True).expand_as(values)


def plain_errors(images, axes):
    """Squared error of a mean over that of the category's mean vector, level by level, in plain numpy."""
    ratios = []
    for level in (images, images.reshape(len(images), 3, 3, 2, 4, 2).mean((3, 5))):
        total = ((level - level.mean((0, 2, 3), keepdims=True)) ** 2).sum()
        ratios.append(sum(
            ((image - np.delete(level, index, 0).mean(axes)) ** 2).sum() for index, image in enumerate(level)
        ) / total)  # fmt: skip
    return np.mean(ratios)


def test_errors_are_those_of_plain_loops():
    learned = learned_of(Model(lambda values: 0.5 * values), IMAGES, CATEGORIES)
    for category, own in (("bolt", IMAGES[:9].astype(float)), ("nut", IMAGES[9:].astype(float))):
        assert learned[category].place_error == pytest.approx(plain_errors(own, 0), rel=1e-9)
        levels = (own, own.reshape(9, 3, 3, 2, 4, 2).mean((3, 5)))
        error = np.mean([
            ((level / 2) ** 2).sum() / ((level - level.mean((0, 2, 3), keepdims=True)) ** 2).sum() for level in levels
        ])  # fmt: skip
        assert learned[category].error == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize(
    ("reconstruct", "has_learned"),
    [
        (lambda values: values, True),
        (lambda values: values + 1, True),
        (lambda values: own_means(values, (0, 2, 3)), False),  # one vector for the category
        (lambda values: own_means(values, 0), True),  # of batches, which hold fewer images than the category
        (lambda values: torch.zeros_like(values), False),
    ],
)
def test_what_is_no_better_than_a_mean_has_not_learned(reconstruct, has_learned):
    learned = learned_of(Model(reconstruct), IMAGES, CATEGORIES)
    findings = not_learned(learned, "mine", "mvtec_ad")
    assert [finding.case.category for finding in findings] == ([] if has_learned else ["bolt", "nut"])
    assert {finding.kind for finding in findings} <= {NOT_LEARNED}
    assert all(finding.text.startswith("has not learned: ") for finding in findings)


def test_one_picture_for_all_is_no_better_than_the_mean_picture():
    template = torch.from_numpy(IMAGES[:9].astype(np.float32)).mean(0)
    small = nn.functional.avg_pool2d(template, 2)
    reconstruct = lambda values: (template if values.shape[-1] == 8 else small).expand_as(values)  # noqa: E731
    learned = learned_of(Model(reconstruct), IMAGES[:9], CATEGORIES[:9])
    assert 0 < learned["bolt"].error < 0.5  # far better than one vector
    (finding,) = not_learned({"bolt": learned["bolt"]._replace(error=learned["bolt"].place_error)}, "m", "d")
    assert finding.kind == MEAN_PICTURE


class Judge(Network):
    """Scores each image by a function of a draw and of whether the image is spoilt."""

    tells_apart = True

    def __init__(self, score):
        super().__init__(Backbone())
        self.score = score

    def judged(self, batch):
        draws = torch.randn(2, 1000 * len(batch[0]))
        return self.score(draws[0], 1), self.score(draws[1], -1)


@pytest.mark.parametrize(
    ("score", "error"),
    [
        (lambda draw, truth: truth + 0 * draw, 0),
        (lambda draw, truth: draw, 1),  # a coin
        (lambda draw, truth: 1 + 0 * draw, 1),  # all are normal
        (lambda draw, truth: 0 * draw, 2),  # undecided is never right
        (lambda draw, truth: draw + truth, 2 * 0.158655),  # the normal distribution beyond one deviation
    ],
)
def test_a_discriminator_is_measured_against_a_coin(score, error):
    state = torch.random.get_rng_state()
    learned = learned_of(Judge(score), IMAGES, CATEGORIES)
    assert torch.equal(state, torch.random.get_rng_state())
    assert learned == learned_of(Judge(score), IMAGES, CATEGORIES)
    assert learned["bolt"].error == pytest.approx(error, abs=0.03)
    findings = not_learned(learned, "mine", "mvtec_ad")
    assert [finding.case.category for finding in findings] == (["bolt", "nut"] if error > 0.5 else [])
    assert all(finding.kind == NOT_LEARNED and "than a coin" in finding.text for finding in findings)
