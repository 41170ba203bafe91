import math

import numpy as np
import pytest
import torch
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.records import Sample
from aseg_bench.training import data
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.data import Augmentation, FeatureSource, ImageSource, load_images
from aseg_bench.training.tiles import Tiling

from .conftest import TINY

PICTURE = torch.arange(3 * 16, dtype=torch.uint8).reshape(3, 4, 4)
ALL = frozenset({"screw"})


@pytest.fixture
def backbone(weights):
    return Backbone(TINY, (2, 4), weights)


@pytest.fixture
def images(samples):
    return load_images(samples, Tiling(32, 32), quiet=True)


def test_images_are_resized_bilinearly_in_the_order_of_the_samples(samples, images):
    assert images.shape == (6, 3, 32, 32)
    expected = Image.open(samples[4].image_path).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(images[4].transpose(1, 2, 0), np.asarray(expected))


def test_images_that_are_not_square_are_resized_to_height_times_width(samples):
    images = load_images(samples[:1], Tiling(32, 48), quiet=True)
    expected = Image.open(samples[0].image_path).resize((48, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(images[0].transpose(1, 2, 0), np.asarray(expected))


def test_more_images_than_memory_go_to_a_memory_map_with_the_same_content(samples, images, monkeypatch):
    monkeypatch.setattr(data, "MEMORY_LIMIT", 1000)
    mapped = load_images(samples, Tiling(32, 32), quiet=True)
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, images)


def test_tiles_of_an_image_are_images_beside_each_other(samples, monkeypatch):
    whole = load_images(samples, Tiling(60, 30), quiet=True)
    tiles = load_images(samples, Tiling(32, 16, rows=2, columns=2), quiet=True)
    assert tiles.shape == (24, 3, 32, 16)
    for place, (rows, columns) in enumerate(
        [(a, b) for a in (slice(32), slice(28, 60)) for b in (slice(16), slice(14, 30))]
    ):
        assert np.array_equal(tiles[4 + place], whole[1][:, rows, columns])
    monkeypatch.setattr(data, "MEMORY_LIMIT", 24 * 3 * 32 * 16 - 1)
    assert isinstance(load_images(samples, Tiling(32, 16, rows=2, columns=2), quiet=True), np.memmap)


def test_an_unreadable_image_is_named(samples, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(samples[0].image_path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"broken\.png"):
        load_images([*samples, Sample("tiny", "a", "train", "good", "broken", broken)], Tiling(32, 32), quiet=True)


def test_kept_features_are_those_of_the_backbone_in_half_precision(backbone, samples, images):
    source = FeatureSource(backbone, "ababab", images, quiet=True)
    expected = backbone(torch.from_numpy(images[[5, 2]]))
    for _ in range(2):  # the second time from what was kept
        for kept, values in zip(source.batch([5, 2], seed=0), expected, strict=True):
            torch.testing.assert_close(kept, values, atol=2e-3, rtol=2e-3)


def test_features_that_do_not_fit_are_computed_anew(backbone, images, monkeypatch):
    monkeypatch.setattr(data, "FEATURE_LIMIT", 10)
    found = FeatureSource(backbone, "ababab", images, quiet=True).batch([1], seed=0)
    for values, expected in zip(found, backbone(torch.from_numpy(images[[1]])), strict=True):
        torch.testing.assert_close(values, expected)


def test_a_category_that_is_not_listed_stays_as_it_is():
    augmentation = Augmentation(ALL, ALL, ALL)
    random = np.random.default_rng(0)
    assert all(torch.equal(augmentation.apply(PICTURE, "cable", random), PICTURE) for _ in range(20))


def test_flips_come_three_times_in_ten_and_turns_equally_often():
    random, n = np.random.default_rng(0), 4000
    flipped = [Augmentation(flip_horizontal=ALL).apply(PICTURE, "screw", random) for _ in range(n)]
    assert sum(torch.equal(image, PICTURE.flip(2)) for image in flipped) / n == pytest.approx(0.3, abs=0.03)
    assert sum(torch.equal(image, PICTURE) for image in flipped) / n == pytest.approx(0.7, abs=0.03)
    turned = [Augmentation(rotate=ALL).apply(PICTURE, "screw", random) for _ in range(n)]
    for quarters in range(4):
        share = sum(torch.equal(image, PICTURE.rot90(quarters, (1, 2))) for image in turned) / n
        assert share == pytest.approx(0.25, abs=0.03)
    upside_down = Augmentation(flip_vertical=ALL).apply(PICTURE, "screw", np.random.default_rng(3))
    assert torch.equal(upside_down, PICTURE.flip(1)) or torch.equal(upside_down, PICTURE)


def test_tilted_images_keep_their_middle_and_are_grey_where_they_were_not():
    random, image = np.random.default_rng(0), torch.full((3, 40, 60), 255, dtype=torch.uint8)
    tilted = [Augmentation(tilt=ALL).apply(image, "screw", random) for _ in range(50)]
    assert all(found.shape == image.shape and (found[:, 10:30, 10:50] == 255).all() for found in tilted)
    assert {int(found.min()) for found in tilted} >= {114}
    assert min(int(found.min()) for found in tilted) == 114
    bare = max(float((found[0] < 255).double().mean()) for found in tilted)
    assert 0.02 < bare < math.tan(math.radians(5))  # four triangles at the edges, and a rim of mixed pixels
    assert torch.equal(Augmentation(tilt=ALL).apply(image, "cable", random), image)


def test_images_that_are_not_square_are_turned_by_halves_only():
    random, image = np.random.default_rng(0), PICTURE[:, :2]
    turned = [Augmentation(rotate=ALL).apply(image, "screw", random) for _ in range(1000)]
    upside_down = [torch.equal(found, image.rot90(2, (1, 2))) for found in turned]
    assert all(halved or torch.equal(found, image) for halved, found in zip(upside_down, turned, strict=True))
    assert np.mean(upside_down) == pytest.approx(0.5, abs=0.06)


def test_images_go_to_the_model_as_they_are_in_float(images):
    found = ImageSource(torch.device("cpu"), "ababab", images).batch([5, 2], seed=0)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), images[[5, 2]])


def test_features_of_changed_images_are_those_of_the_images_that_others_see(backbone, images):
    turned = Augmentation(rotate=frozenset("ab"))
    seen = ImageSource(torch.device("cpu"), "ababab", images, turned).batch([0, 1, 2], seed=1)
    assert not np.array_equal(seen.numpy(), images[:3])
    features = FeatureSource(backbone, "ababab", images, turned, quiet=True).batch([0, 1, 2], seed=1)
    assert all(torch.equal(*pair) for pair in zip(features, backbone(seen), strict=True))


def test_augmented_batches_depend_on_the_seed_alone(backbone, images):
    source = FeatureSource(backbone, "ababab", images, Augmentation(rotate=frozenset("ab")), quiet=True)
    first, again, other = (source.batch([0, 1, 2], seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
