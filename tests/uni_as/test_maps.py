import numpy as np
import pytest
import torch

from uni_as.maps import LevelMaps, combine, cosine_distance, joint_map, level_loss, weighted


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


def test_the_joint_map_of_one_level_is_its_own_distance():
    torch.manual_seed(0)
    target, found = torch.randn(2, 5, 8, 8), torch.randn(2, 5, 8, 8)
    small = joint_map([(target, found)], (64, 64))
    wanted = torch.nn.functional.interpolate(cosine_distance(found, target)[:, None], (64, 64), mode="bilinear")[:, 0]
    torch.testing.assert_close(small, wanted)


def test_a_level_without_energy_has_no_say_in_the_joint_map_but_silences_the_product():
    torch.manual_seed(0)
    target, found = torch.randn(1, 5, 8, 8), torch.randn(1, 5, 8, 8)
    silent = 1e-6 * torch.ones(1, 3, 8, 8)
    both = joint_map([(silent, silent), (target, found)], (64, 64))
    torch.testing.assert_close(both, joint_map([(target, found)], (64, 64)))
    assert (
        combine(
            LevelMaps((0, 0))([cosine_distance(silent, silent), cosine_distance(found, target)], (64, 64)), (1, 2)
        ).max()
        < 1e-5
    )


def test_the_joint_distance_is_taken_on_the_grid_of_the_finest_level():
    torch.manual_seed(0)
    fine, coarse = ((torch.randn(1, n, side, side), torch.randn(1, n, side, side)) for n, side in ((3, 16), (5, 4)))
    found = joint_map([coarse, fine], (16, 16))
    for row, column in ((0, 0), (7, 9), (15, 3)):
        vectors = []
        for own, deep in zip(fine, coarse, strict=True):
            wide = torch.nn.functional.interpolate(deep, (16, 16), mode="bilinear", align_corners=False)
            vectors.append(torch.cat([wide[0, :, row, column], own[0, :, row, column]]))
        one, other = vectors
        expected = 1 - float(one @ other) / float(one.norm() * other.norm())
        assert float(found[0, row, column]) == pytest.approx(expected, abs=1e-5)


def test_the_weight_is_the_geometric_mean_of_the_levels_to_the_power_of_a_quarter():
    levels = torch.tensor([0.5, 0.02, 0.3, 1.2]).view(1, 4, 1, 1)
    joint = torch.tensor([0.7]).view(1, 1, 1)
    expected = 0.7 * float(np.exp(np.log([0.5, 0.02, 0.3, 1.2]).mean() / 4))
    assert float(weighted(joint, combine(levels, (1, 2, 3, 4)), 4)) == pytest.approx(expected, rel=1e-6)
    assert float(weighted(joint, torch.zeros(1, 1, 1), 4)) == 0


def test_perfect_reconstructions_have_a_joint_map_of_zeros():
    torch.manual_seed(0)
    levels = [(values, values) for values in (torch.randn(2, 3, 32, 32), torch.randn(2, 4, 4, 4))]
    assert joint_map(levels, (64, 64)).abs().max() < 1e-5
