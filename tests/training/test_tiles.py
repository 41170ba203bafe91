"""Tiles cover a picture exactly, and their maps become one without a seam."""

import numpy as np
import pytest
from PIL import Image

from aseg_bench.training.tiles import Tiling

TILINGS = [Tiling(32, 48), Tiling(32, 48, 2, 1), Tiling(40, 24, 1, 3), Tiling(16, 16, 3, 4), Tiling(7, 5, 2, 2)]


def cut_of(tiling, whole):
    """The parts of an array (height, width) as the documents describe them."""
    tops = [row * (tiling.height - tiling.height // 8) for row in range(tiling.rows)]
    lefts = [column * (tiling.width - tiling.width // 8) for column in range(tiling.columns)]
    return np.stack([whole[top : top + tiling.height, left : left + tiling.width] for top in tops for left in lefts])


@pytest.mark.parametrize("tiling", TILINGS, ids=str)
def test_every_pixel_of_a_picture_lies_in_a_tile(tiling):
    picture = np.random.default_rng(0).integers(0, 255, (*tiling.size, 3), dtype=np.uint8)
    tiles = tiling.cut(picture)
    assert tiles.shape == (tiling.rows * tiling.columns, 3, tiling.height, tiling.width)
    for channel in range(3):
        assert np.array_equal(tiles[:, channel], cut_of(tiling, picture[..., channel]))
    places = np.arange(np.prod(tiling.size)).reshape(tiling.size)
    assert np.array_equal(np.unique(cut_of(tiling, places)), places.ravel())


@pytest.mark.parametrize("tiling", TILINGS, ids=str)
def test_maps_that_agree_where_they_overlap_become_the_map_they_are_cut_from(tiling):
    rows, columns = np.mgrid[: tiling.size[0], : tiling.size[1]]
    for whole in (np.full(tiling.size, 0.3), 2 * rows - 0.5 * columns, np.random.default_rng(0).random(tiling.size)):
        exact = whole.astype(np.float32)
        np.testing.assert_allclose(tiling.join(cut_of(tiling, exact)), exact, rtol=1e-6)


def test_the_map_of_one_tile_keeps_its_bits():
    tiling, scores = Tiling(32, 48), np.random.default_rng(0).random((1, 4, 32, 48), dtype=np.float32)
    assert np.array_equal(tiling.join(scores), scores[0])


def test_maps_that_differ_pass_into_each_other_in_equal_steps():
    low, high = np.zeros((16, 16), np.float32), np.ones((16, 16), np.float32)
    row = Tiling(16, 16, 1, 2).join(np.stack([low, high]))[5]
    assert row.tolist() == [0] * 14 + [0.25, 0.75] + [1] * 14
    column = Tiling(16, 16, 2, 1).join(np.stack([low, high]))[:, 5]
    assert column.tolist() == row.tolist()


def test_the_maps_of_many_pictures_keep_their_order_whatever_is_mapped_at_a_time():
    tiling, random = Tiling(16, 16, 3, 3), np.random.default_rng(0)
    pictures = random.integers(0, 255, (5, *tiling.size, 3), dtype=np.uint8)
    tiles = np.concatenate([tiling.cut(picture) for picture in pictures])
    maps = tiling.mapped(tiles, lambda batch: batch[:, 0].astype(np.float32))
    np.testing.assert_allclose(maps, pictures[..., 0], atol=1e-4)


def test_a_defect_of_few_pixels_is_larger_in_a_tile_than_in_the_whole():
    picture = np.zeros((512, 512, 3), np.uint8)
    picture[100:104, 300:304] = 255
    whole, tiles = Tiling(64, 64).cut(picture), Tiling(64, 64, 4, 4).cut(picture)
    assert np.count_nonzero(tiles[:, 0] > 60) > 4 * np.count_nonzero(whole[:, 0] > 60)
    assert tiles.max() > 2 * whole.max()


def test_one_tile_is_the_picture_resized():
    picture = np.random.default_rng(0).integers(0, 255, (50, 90, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(picture).resize((48, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(Tiling(32, 48).cut(picture)[0].transpose(1, 2, 0), expected)
