"""Image scores equal torch's pooling and plain numpy."""

import numpy as np
import pytest

from aseg_bench.errors import InputError
from aseg_bench.protocols.image_scores import image_score, pooled


@pytest.mark.parametrize(("edge", "padding"), [(16, 0), (21, 10), (8, 0), (1, 0)])
def test_pooling_is_torchs_average_pool(edge: int, padding: int) -> None:
    torch = pytest.importorskip("torch")
    scores = np.random.default_rng(0).normal(size=(40, 53))
    expected = torch.nn.functional.avg_pool2d(torch.from_numpy(scores)[None, None], edge, stride=1, padding=padding)
    np.testing.assert_allclose(pooled(scores, edge, padding), expected[0, 0].numpy(), atol=1e-12)


def test_pooling_takes_the_mean_of_every_window() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 17)).astype(np.float32)
    windows = [scores[i : i + 16, j : j + 16].mean(dtype=np.float64) for i in range(5) for j in range(2)]
    assert image_score(scores, "pool_16_max") == pytest.approx(max(windows), rel=1e-12)


def test_eight_pools_are_eight_pools() -> None:
    torch = pytest.importorskip("torch")
    scores = np.random.default_rng(0).random((70, 64))
    expected = torch.from_numpy(scores)[None, None]
    for _ in range(8):
        expected = torch.nn.functional.avg_pool2d(expected, 8, stride=1)
    assert image_score(scores, "pool_8_eight_times_max") == pytest.approx(expected.max().item(), abs=1e-12)


def test_plain_rules_are_numpys() -> None:
    scores = np.random.default_rng(0).random((30, 20)).astype(np.float32)
    assert image_score(scores, "max") == scores.max()
    assert image_score(scores, "std") == scores.std()
    assert image_score(scores, "top_100_mean") == pytest.approx(np.sort(scores.ravel())[-100:].mean(), abs=1e-7)
    assert image_score(scores[:5, :5], "top_100_mean") == pytest.approx(scores[:5, :5].mean(), abs=1e-7)


def test_a_map_smaller_than_the_window_is_an_error() -> None:
    with pytest.raises(InputError, match="smaller than the 16 x 16 window"):
        image_score(np.zeros((15, 40)), "pool_16_max")
