import numpy as np
import pytest
import torch

from uni_as.maps import LevelMaps, combine, cosine_distance, level_loss


def test_a_perfect_reconstruction_costs_nothing_and_maps_to_zero():
    target = torch.randn(2, 5, 4, 4)
    assert float(level_loss(target.clone(), target)) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(cosine_distance(target, target), torch.zeros(2, 4, 4), atol=1e-6, rtol=0)


def test_the_worse_the_direction_the_higher_the_distance():
    target = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    at = {angle: torch.tensor([np.cos(angle), np.sin(angle)]).float().view(1, 2, 1, 1) for angle in (0, 0.5, 1.5, 3)}
    distances = [float(cosine_distance(values, target)) for values in at.values()]
    losses = [float(level_loss(values, target)) for values in at.values()]
    assert distances == sorted(distances)
    assert losses == sorted(losses)
    assert float(cosine_distance(-target, target)) == pytest.approx(2)


def test_the_loss_is_mean_cosine_distance_plus_mean_squared_error():
    reconstructed, target = np.random.default_rng(0).normal(size=(2, 3, 5, 4, 4))
    cosine = (reconstructed * target).sum(1) / np.linalg.norm(reconstructed, axis=1) / np.linalg.norm(target, axis=1)
    expected = (1 - cosine).mean() + ((reconstructed - target) ** 2).mean()
    assert float(level_loss(torch.tensor(reconstructed), torch.tensor(target))) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [(1,), (4,), (2, 3), (1, 2, 3, 4)])
def test_equation_6_multiplies_the_named_levels(levels):
    maps = torch.rand(2, 4, 3, 3)
    expected = np.prod([maps[:, level - 1].numpy() for level in levels], axis=0)
    np.testing.assert_allclose(combine(maps, levels).numpy(), expected, rtol=1e-6)


def test_maps_of_all_levels_have_the_image_size_and_keep_a_constant():
    distances = [torch.full((2, side, side), 0.3) for side in (16, 8, 4, 2)]
    maps = LevelMaps((9, 7, 5, 3))(distances, (32, 32))
    torch.testing.assert_close(maps, torch.full((2, 4, 32, 32), 0.3))


def test_smoothing_spreads_a_peak_and_none_leaves_plain_upsampling():
    distance = torch.zeros(1, 8, 8)
    distance[0, 4, 4] = 1
    plain = LevelMaps((0,))([distance], (16, 16))
    smooth = LevelMaps((5,))([distance], (16, 16))
    expected = torch.nn.functional.interpolate(distance[None], (16, 16), mode="bilinear")
    torch.testing.assert_close(plain, expected)
    assert smooth.max() < plain.max()
    assert (smooth > 0).sum() > (plain > 0).sum()
