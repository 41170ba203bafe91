import numpy as np
import torch
from scipy.ndimage import convolve
from scipy.signal.windows import gaussian

from uni_as.features import FilteredFeatures, GaussianBlur


def test_a_constant_stays_constant_up_to_the_border_and_leaves_no_residual():
    features = torch.full((1, 3, 6, 5), 2.5)
    target, inputs = FilteredFeatures()(features)
    torch.testing.assert_close(target, features)
    torch.testing.assert_close(inputs[:, 3:], torch.zeros_like(features))


def test_the_blur_is_scipys_gaussian_with_mirrored_borders_channel_by_channel():
    features = torch.randn(1, 2, 7, 9)
    line = gaussian(5, 1.5)
    kernel = np.outer(line, line) / line.sum() ** 2
    expected = [convolve(channel.numpy(), kernel, mode="mirror") for channel in features[0]]
    np.testing.assert_allclose(GaussianBlur(5, 1.5)(features)[0].numpy(), expected, atol=1e-6)


def test_the_input_is_the_target_with_its_residual_beside_it():
    features = torch.randn(2, 4, 6, 6)
    target, inputs = FilteredFeatures(3, 1.0)(features)
    assert inputs.shape == (2, 8, 6, 6)
    torch.testing.assert_close(inputs[:, :4], target)
    torch.testing.assert_close(target - inputs[:, 4:], features)
