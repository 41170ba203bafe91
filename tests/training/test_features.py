import pytest
import torch
from scipy.ndimage import gaussian_filter

from aseg_bench.training.features import FeatureScaler, jitter, neighbour_mask, smoothed


def test_scaled_training_features_have_mean_zero_and_deviation_one_per_channel():
    batches = [[torch.randn(3, 4, 5, 5) * 7 + 3, torch.rand(3, 2, 3, 3)] for _ in range(3)]
    scaler = FeatureScaler((4, 2))
    scaler.fit(batches)
    for level in (torch.cat([scaler(batch)[index] for batch in batches]) for index in range(2)):
        torch.testing.assert_close(level.mean((0, 2, 3)), torch.zeros(level.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(level.var((0, 2, 3), correction=0), torch.ones(level.shape[1]))


def test_features_pass_unchanged_before_the_scaler_is_fitted_and_a_dead_channel_stays_finite():
    features = [torch.randn(2, 3, 4, 4)]
    scaler = FeatureScaler((3,))
    assert torch.equal(scaler(features)[0], features[0])
    features[0][:, 1] = 0.5
    scaler.fit([features])
    assert scaler(features)[0].isfinite().all()


def test_jitter_has_the_deviation_of_the_papers_formula():
    torch.manual_seed(0)
    values = torch.randn(4, 8, 60, 60)
    noise = jitter(values, 20.0, 1.0) - values
    expected = values.norm(dim=1) * 20 / 8  # (B, H, W)
    standard = noise / expected[:, None]
    assert float(standard.mean()) == pytest.approx(0, abs=0.01)
    assert float(standard.std()) == pytest.approx(1, abs=0.01)


def test_jitter_strikes_the_given_share_of_samples_as_wholes():
    torch.manual_seed(0)
    values = torch.ones(2000, 2, 1, 2)
    struck = (jitter(values, 1.0, 0.3) != values).flatten(1)
    assert (struck.all(1) | ~struck.any(1)).all()
    assert float(struck.any(1).float().mean()) == pytest.approx(0.3, abs=0.04)


def test_jitter_takes_the_norm_along_the_given_axis():
    values = torch.zeros(1, 5, 3)
    values[0, 2] = 1
    struck = (jitter(values, 1.0, 1.0, channel_axis=2) != values).any(2)[0]
    assert struck.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(("grid", "size"), [((5, 5), 3), ((14, 14), 7), ((4, 4), 3), ((3, 6), 3), ((6, 2), 5)])
def test_the_mask_hides_exactly_the_square_around_each_position(grid, size):
    places = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    expected = [[max(abs(a - c), abs(b - d)) <= size // 2 for c, d in places] for a, b in places]
    mask = neighbour_mask(grid, size)
    assert mask.tolist() == expected


def test_size_nought_hides_nothing():
    assert neighbour_mask((14, 14), 0) is None


@pytest.mark.parametrize("size", [(40, 56), (5, 9)])
def test_maps_are_smoothed_as_scipy_does_it_also_where_the_kernel_is_wider_than_the_map(size):
    maps = torch.randn(2, 3, *size)
    for sigma in (0, 1.5, 4):
        expected = gaussian_filter(maps.numpy(), (0, 0, sigma, sigma))
        torch.testing.assert_close(smoothed(maps, sigma), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_smoothing_stays_in_single_precision_where_the_rest_does_not():
    maps = torch.randn(1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = smoothed(maps, 4)
    assert torch.equal(found, smoothed(maps, 4))
