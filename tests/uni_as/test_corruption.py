import pytest

torch = pytest.importorskip("torch")

from uni_as.corruption import swap  # noqa: E402 - needs torch


def levels(n_images=6):
    """Features that tell their image and place: the image's number plus the column's share of the width."""
    torch.manual_seed(0)
    return [
        (torch.arange(n_images).float()[:, None, None, None] + torch.arange(side) / side).expand(
            -1, channels, side, side
        )
        for side, channels in ((56, 2), (28, 3), (14, 4))
    ]


def test_without_swapping_the_features_stay():
    given = levels()
    assert all(torch.equal(a, b) for a, b in zip(swap(given, 0.0), given, strict=True))


def test_swapping_takes_at_most_a_fifth_of_an_image():
    given = levels()
    for _ in range(20):
        changed = (swap(given, 1.0)[0] != given[0]).any(1).flatten(1).float().mean(1)
        assert 0 < changed.max() <= 0.2


def test_only_the_given_share_of_images_is_touched():
    given = levels(400)
    touched = (swap(given, 0.3)[0] != given[0]).flatten(1).any(1)
    assert touched.float().mean() == pytest.approx(0.3, abs=0.08)


def test_the_same_place_is_swapped_on_all_levels():
    given = levels()
    found = swap(given, 1.0)
    for fine, coarse, fine_given, coarse_given in zip(found, found[1:], given, given[1:], strict=False):
        side = coarse.shape[-1]
        in_cell = torch.nn.functional.max_pool2d((fine - fine_given).abs(), fine.shape[-1] // side).amax(1)
        is_changed = (coarse - coarse_given).abs().amax(1) > 1e-6
        assert not (is_changed & (in_cell == 0)).any()


def test_what_is_put_in_is_a_piece_of_an_image_of_the_batch():
    given = levels()
    fine, clean = swap(given, 1.0)[0], given[0]
    put_in = fine[fine != clean].unique()
    assert len(put_in) > 0
    assert torch.isin(put_in, clean.unique()).all()
