"""Corruptions spoil test images alone, the same way every time, and more with every strength."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from aseg_bench.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from aseg_bench.datasets import DATASETS, find_dataset, find_samples
from aseg_bench.errors import InputError
from aseg_bench.images import picture_of, read_image
from aseg_bench.records import Sample


@pytest.fixture(scope="module")
def pixels():
    row, column = np.mgrid[:224, :240]
    return np.stack(
        [row % 60 * 3 + 20, column % 80 * 2 + 40, 90 + 60 * ((row // 7 + column // 5) % 2)], axis=-1
    ).astype(np.uint8)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_strength_changes_more_than_the_last(kind, pixels):
    spoilt = [corrupted(pixels, f"{kind}@{strength}", "a/test/good/0") for strength in STRENGTHS]
    changes = [np.abs(one.astype(float) - pixels).mean() for one in spoilt]
    assert all(one.shape == pixels.shape and one.dtype == np.uint8 for one in spoilt)
    assert changes == sorted(changes)
    assert changes[0] > 0


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_name_has_the_same_corruption_every_time(kind, pixels):
    first, again = (corrupted(pixels.copy(), f"{kind}@2", "a/test/good/0") for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_noise_differs_between_images_and_has_its_deviation():
    grey = np.full((100, 100, 3), 128, np.uint8)
    one, other = (corrupted(grey, "noise@3", name).astype(float) for name in ("a", "b"))
    assert (one != other).any()
    assert (one - 128).std() == pytest.approx(255 * 0.08, rel=0.03)
    assert (one - 128).mean() == pytest.approx(0, abs=0.5)


def test_light_is_a_shift_and_a_contrast():
    ramp = np.repeat(np.arange(100, 160, dtype=np.uint8)[:, None, None], 3, axis=2).repeat(4, axis=1)
    spoilt = {corrupted(ramp, "light@1", str(i))[27, 0, 0] for i in range(20)}
    assert spoilt == {127 - 13, 127 + 13}  # grey 127 shifted by 0.05 of 255, both ways
    assert np.ptp(corrupted(ramp, "light@5", "x")[:, 0, 0]) == pytest.approx(0.5 * 59, abs=1)


def test_a_blur_grows_with_the_picture():
    edge = np.zeros((448, 448, 3), np.uint8)
    edge[:, 224:] = 255
    large, small = corrupted(edge, "blur@4", "x"), corrupted(edge[::2, ::2], "blur@4", "x")
    np.testing.assert_allclose(large[0, ::2, 0].astype(float), small[0, :, 0], atol=30)
    assert ((large[0, :, 0] > 30) & (large[0, :, 0] < 225)).sum() > (
        (small[0, :, 0] > 30) & (small[0, :, 0] < 225)
    ).sum()


def test_only_test_images_are_corrupted_and_files_stay(tmp_path, pixels):
    clean = {sample.name: sample for sample in find_samples("demo")}
    spoilt = find_samples("demo+noise@3")
    assert {sample.name for sample in spoilt} == set(clean)
    for sample in spoilt:
        expected = "" if sample.split == "train" else "noise@3"
        assert replace(sample, dataset="demo", corruption="") == clean[sample.name]
        assert (sample.dataset, sample.corruption) == ("demo+noise@3", expected)
    path = tmp_path / "0.png"
    Image.fromarray(pixels).save(path)
    before = path.read_bytes()
    sample = Sample("d", "c", "test", "good", "0", path, corruption="jpeg@1")
    np.testing.assert_array_equal(picture_of(sample), corrupted(pixels, "jpeg@1", "c/test/good/0"))
    np.testing.assert_array_equal(picture_of(replace(sample, corruption="")), read_image(path))
    assert path.read_bytes() == before


def test_a_corrupted_data_set_is_named_as_such():
    assert DATASETS["visa+blur@2"].label_of(DATASETS["visa"].counts) == "VisA, blur 2"
    assert DATASETS["visa+blur@2"].label_of({"mine"}) == "Own images, blur 2"
    assert "visa+blur@9" not in DATASETS
    assert "nothing+blur@2" not in DATASETS
    assert len(find_dataset("visa+blur@2").summary) > len(find_dataset("visa").summary)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("demo+nose@3", "no corruption nose; did you mean noise"),
        ("demo+noise", "noise names no strength of noise from 1 to 5; write for instance noise@3"),
        ("demo+noise@6", "noise@6 names no strength"),
        ("dmo+noise@3", "no data set dmo"),
    ],
)
def test_what_does_not_exist_is_refused_in_a_line(key, message):
    with pytest.raises(InputError) as caught:
        find_dataset(key)
    assert message in str(caught.value)
