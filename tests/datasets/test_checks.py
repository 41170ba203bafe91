import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from aseg_bench.datasets import AS_USUAL, DATASETS, Reading, check_images, checksum, count_deviations
from aseg_bench.errors import InputError

MVTEC_AD = DATASETS["mvtec_ad"]


def checked(root, reading=AS_USUAL, **options):
    return {finding.kind: finding.text for finding in check_images(MVTEC_AD.find(root, None, reading), root, **options)}


@pytest.fixture
def sound(layout, write_image):
    """A set whose masks mark a part of their pictures."""
    for mask in (layout / "nut/ground_truth", layout / "bolt/ground_truth"):
        for path in mask.rglob("*.png"):
            values = np.zeros((4, 6), np.uint8)
            values[1, 2:4] = 255
            Image.fromarray(values).save(path)
    return layout


def test_a_sound_set_passes(sound):
    assert checked(sound) == {}


def test_no_file_of_a_category_is_left_out_without_a_word(sound, write_image):
    for name in ("train/good/deeper/0.png", "test/0.png", "test/good/deeper/1.png", "ground_truth/0.png"):
        write_image(sound / "nut" / name)
    for name in ("train/good/a.heic", "test/scratch/notes.txt", "test/good/.hidden.txt", "licence.txt"):
        (sound / "nut" / name).touch()
    texts = checked(sound)
    assert texts.keys() == {"pictures_left_out", "files_left_out"}
    assert texts["pictures_left_out"].startswith("4 of 20 pictures are left out, as the layout has no place for them, ")
    assert (
        "first nut/ground_truth/0.png, nut/test/0.png, nut/test/good/deeper/1.png and 1 more"
        in texts["pictures_left_out"]
    )
    assert texts["files_left_out"].startswith("2 of 22 files are left out, as they are not pictures by their endings")
    assert "a.heic" in texts["files_left_out"]


def test_no_folder_of_pictures_is_left_out_without_a_word(sound, write_image):
    for name in (
        "nut/validation/good/0.png",
        "nut/Test/a/0.png",
        "cap/images/0.png",
        ".cache/0.png",
        "nut/@eaDir/0.png",
    ):
        write_image(sound / name)
    (sound / "notes").mkdir()
    (sound / "notes/a.txt").touch()
    texts = checked(sound)
    assert texts.keys() == {"folders_left_out"}
    assert texts["folders_left_out"] == (
        "3 folders of pictures are left out, as the layout has no place for them, first cap, nut/Test, nut/validation"
    )


@pytest.mark.parametrize("folder", ["good", "OK"])
def test_white_pixels_in_masks_of_normal_pictures_are_named(sound, write_image, folder):
    for category in ("nut", "bolt"):
        for split in ("train", "test"):
            (sound / category / split / "good").rename(sound / category / split / folder)
    write_image(sound / f"nut/ground_truth/{folder}/000_mask.png", value=0)
    write_image(sound / f"nut/ground_truth/{folder}/001_mask.png", value=1)
    texts = checked(sound, Reading(folder))
    assert texts.keys() == {"mask_of_normal"}
    assert (
        f"1 of 2 masks of normal pictures have anomalous pixels, first nut/ground_truth/{folder}/001"
        in texts["mask_of_normal"]
    )


def test_pictures_without_masks_are_named(sound):
    (sound / "nut/ground_truth/scratch/000_mask.png").unlink()
    texts = checked(sound, Reading(image_level=True))
    assert texts.keys() == {"image_level"}
    assert texts["image_level"].startswith(
        "1 of 4 pictures that show a defect have no mask and enter image metrics only, first nut"
    )


@pytest.mark.parametrize(("highest", "bits"), [(1023, 10), (4000, 12), (65535, None), (200, None)])
def test_a_camera_of_fewer_bits_is_suspected(sound, highest, bits):
    for path in (sound / "nut/train/good").iterdir():
        Image.fromarray(np.full((4, 6), highest, np.uint16)).save(path)
    texts = checked(sound)
    assert ("bit_depth" in texts) == (bits is not None)
    if bits:
        assert f"the 2 pictures of 16 bits per channel reach only {highest}" in texts["bit_depth"]
        assert f"--bit-depth {bits}" in texts["bit_depth"]
        assert "bit_depth" not in checked(sound, Reading(bit_depth=bits))
        with pytest.raises(InputError, match=f"nut/train/good/000.png reaches {highest}, more than 9 bits hold"):
            checked(sound, Reading(bit_depth=9))
        with pytest.raises(InputError, match="a bit depth is 9 to 16, not 8"):
            Reading(bit_depth=8)


def test_masks_that_were_turned_are_named(sound):
    path = sound / "nut/test/scratch/000.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path, exif=exif)
    assert checked(sound).keys() == {"mask_turned"}


def test_only_masks_are_read_where_pictures_do_not_matter(sound):
    (sound / "nut/train/good/000.png").write_text("no image")
    assert checked(sound, whole=False) == {}
    with pytest.raises(InputError, match="nut/train/good/000"):
        checked(sound)


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
    assert checksum([replace(sample, bit_depth=12) for sample in samples]) != before
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
