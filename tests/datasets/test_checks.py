import shutil

import pytest

from aseg_bench.datasets import DATASETS, check_images, checksum, count_deviations
from aseg_bench.errors import InputError

MVTEC_AD = DATASETS["mvtec_ad"]


def test_a_sound_set_passes(layout):
    check_images(MVTEC_AD.find(layout, None))


def test_all_bad_files_are_named_at_once(layout, write_image):
    write_image(layout / "nut/ground_truth/scratch/000_mask.png", size=(4, 7))
    (layout / "bolt/train/good/000.png").write_text("no image")
    broken = layout / "nut/test/good/001.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(InputError, match="3 problems") as caught:
        check_images(MVTEC_AD.find(layout, None))
    message = str(caught.value)
    assert "cannot read" in message
    assert "bolt/train/good/000.png" in message
    assert str(broken) in message
    assert "000_mask.png is 7 x 4 pixels but its image 6 x 4" in message


def test_the_checksum_depends_on_contents_and_names_only(layout, write_image, tmp_path):
    samples = MVTEC_AD.find(layout, None)
    before = checksum(samples)
    moved = shutil.copytree(layout, tmp_path / "moved")
    assert checksum(MVTEC_AD.find(moved, None)) == before
    assert checksum(samples[::-1]) == before
    assert checksum(samples[1:]) != before
    write_image(moved / "nut/ground_truth/scratch/000_mask.png", value=254)
    assert checksum(MVTEC_AD.find(moved, None)) != before


def test_the_checksum_of_a_missing_file_is_an_error(layout):
    samples = MVTEC_AD.find(layout, None)
    samples[0].image_path.unlink()
    with pytest.raises(InputError, match=r"cannot read .*bolt"):
        checksum(samples)


def test_counts_other_than_published_are_reported_by_category():
    wood = DATASETS["mvtec_ad"].counts["wood"]
    n_test = {"wood": wood.test_good + wood.test_anomalous, "bottle": 3, "my own": 5}
    assert count_deviations(DATASETS["mvtec_ad"], n_test) == ["bottle 3 instead of 83"]
    assert count_deviations(DATASETS["demo"], n_test) == []
