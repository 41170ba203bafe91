import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from aseg_bench.datasets import DATASETS, Reading, check_images, find_samples
from aseg_bench.errors import InputError
from aseg_bench.records import Sample

find = DATASETS["mvtec_ad"].find
REAL_DATA = Path(os.environ.get("ASEG_BENCH_REAL_DATA", Path(__file__).parents[3] / "shared" / "data" / "real_mix"))


def test_the_published_counts_add_up():
    counts = DATASETS["mvtec_ad"].counts.values()
    totals = [sum(column) for column in zip(*counts, strict=True)]
    assert len(counts) == 15
    assert totals == [3629, 467, 1258]


def test_only_published_categories_bear_the_name_of_the_data_set():
    assert DATASETS["mvtec_ad"].label_of({"screw", "wood"}) == "MVTec-AD"
    assert DATASETS["mvtec_ad"].label_of({"screw", "cookie"}) == "Own images"
    assert DATASETS["demo"].label_of({"anything"}) == DATASETS["demo"].label


def test_samples_are_sorted_and_paired_by_name(layout):
    names = [sample.name for sample in find(layout, None)]
    assert names == [
        f"{category}/{folder}/{stem}"
        for category in ("bolt", "nut")
        for folder in ("test/good", "test/scratch", "train/good")
        for stem in ("000", "001")
    ]
    folder = layout / "nut"
    assert find(layout, ["nut"])[2] == Sample(
        "mvtec_ad",
        "nut",
        "test",
        "scratch",
        "000",
        folder / "test" / "scratch" / "000.png",
        folder / "ground_truth" / "scratch" / "000_mask.png",
    )


@pytest.mark.parametrize("mask_name", ["000.png", "000_mask.bmp", "000.TIF"])
def test_a_mask_may_have_another_ending_and_no_suffix(layout, write_image, mask_name):
    (layout / "nut/ground_truth/scratch/000_mask.png").unlink()
    mask = write_image(layout / "nut/ground_truth/scratch" / mask_name)
    assert find(layout, ["nut"])[2].mask_path == mask


def test_images_may_be_of_any_kind(layout, write_image):
    for suffix in ("jpg", "JPEG", "bmp", "tiff", "webp", "jfif", "jpe"):
        write_image(layout / "nut" / "train" / "good" / f"as_{suffix}.{suffix}")
    assert sum(sample.split == "train" for sample in find(layout, ["nut"])) == 9


def test_hidden_and_foreign_files_are_passed_over(layout):
    before = find(layout, None)
    for name in (
        "nut/train/good/._000.png",
        ".cache/train/good/0.png",
        "nut/test/scratch/Thumbs.db",
        "licence/a.txt",
        "nut/train/good/.ipynb_checkpoints/000.png",
        "nut/test/@eaDir/000.png",
    ):
        (layout / name).parent.mkdir(parents=True, exist_ok=True)
        (layout / name).touch()
    assert find(layout, None) == before


def test_links_are_followed(layout, tmp_path):
    linked = tmp_path / "linked"
    linked.symlink_to(layout)
    (layout / "screw").symlink_to(layout / "nut")
    (layout / "nut/train/good/002.png").symlink_to(layout / "nut/train/good/000.png")
    assert {sample.category for sample in find(linked, None)} == {"bolt", "nut", "screw"}
    assert len(find(linked, ["screw"])) == 7


def test_masks_of_normal_images_are_not_needed(layout, write_image):
    write_image(layout / "nut/ground_truth/good/000_mask.png", value=0)
    assert all(sample.mask_path is None for sample in find(layout, ["nut"]) if not sample.is_anomalous)


def test_an_unknown_category_lists_near_matches(layout):
    with pytest.raises(InputError, match=r"no category nuts in .*did you mean nut\? known: bolt, nut"):
        find(layout, ["nuts"])


def test_no_category_has_the_name_of_the_mean(layout):
    (layout / "bolt").rename(layout / "mean")
    for wanted in (None, ["mean", "nut"]):
        with pytest.raises(
            InputError,
            match=r"a category of .* is named mean, which is the name of the mean over all categories; rename it",
        ):
            find(layout, wanted)
    assert {sample.category for sample in find(layout, ["nut"])} == {"nut"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_are_all_named(layout):
    for category in ("bolt", "nut"):
        image = layout / category / "test" / "good" / "000.png"
        image.rename(image.with_name(os.fsdecode(b"caf\xe9.png")))
    with pytest.raises(InputError, match=r"2 problems .*\n.*the name of .*bolt.*caf.*is not UTF-8; rename it"):
        find(layout)


def rename_folders(root, name):
    for folder in [path for path in root.rglob("good") if path.is_dir()]:
        folder.rename(folder.with_name(name))


@pytest.mark.parametrize("name", ["OK", "ok", "normal", "Good"])
def test_normal_images_may_lie_in_a_folder_of_another_name(layout, name):
    before = [sample.name for sample in find(layout)]
    rename_folders(layout, name)
    with pytest.raises(InputError, match=rf"if the images in {name} are normal, give --normal-folder {name}"):
        find(layout)
    found = find(layout, None, Reading(name))
    assert [sample.name for sample in found] == before
    assert sum(sample.is_anomalous for sample in found) == 4


def test_a_normal_folder_that_is_nowhere_is_an_error(layout):
    with pytest.raises(InputError, match="no normal image lies in a folder OK, which --normal-folder names"):
        find(layout, None, Reading("OK"))


def test_training_images_may_lie_in_good_though_those_of_the_test_do_not(layout):
    for category in ("nut", "bolt"):
        (layout / category / "test/good").rename(layout / category / "test/OK")
    assert len(find(layout, None, Reading("OK"))) == 12


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_a_normal_folder_is_the_name_of_a_folder(name):
    with pytest.raises(InputError, match="is not the name of a folder"):
        Reading(name)


def test_names_pair_in_any_form_of_unicode(layout, write_image):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    write_image(layout / "nut/test" / composed / f"{composed}.png")
    write_image(layout / "nut/ground_truth" / decomposed / f"{decomposed}_mask.png")
    (layout / "bolt").rename(layout / decomposed)
    found = find(layout, ["nut"])
    assert f"nut/test/{composed}/{composed}" in [sample.name for sample in found]
    assert {sample.category for sample in find(layout, [composed])} == {composed}


@pytest.mark.parametrize("given", ["caf\u00e9", "cafe\u0301"])
@pytest.mark.parametrize("stored", ["caf\u00e9", "cafe\u0301"])
def test_the_normal_folder_is_found_in_any_form_of_unicode(layout, write_image, given, stored):
    before = [sample.name for sample in find(layout)]
    rename_folders(layout, stored)
    write_image(layout / "nut/ground_truth" / given / "000_mask.png")
    found = find(layout, None, Reading(given))
    assert [sample.name for sample in found] == before
    assert "mask_of_normal" in {finding.kind for finding in check_images(found, layout)}


@pytest.mark.parametrize("place", ["", "nut/train", "nut/test", "nut/ground_truth"])
def test_two_folders_of_one_name_in_two_forms_of_unicode_are_refused(layout, write_image, place):
    for name in ("caf\u00e9", "cafe\u0301"):
        write_image(layout / place / name / ("" if place else "test/good") / "000.png")
    with pytest.raises(InputError, match="has two folders caf\u00e9, in two forms of Unicode; rename or join them"):
        find(layout, ["nut"])


def test_a_folder_without_masks_whose_name_says_normal_is_asked_about(layout, write_image):
    write_image(layout / "nut/test/OK/000.png")
    with pytest.raises(InputError, match=r"OK/000\.png has no mask; .* if the images in OK are normal, give --normal"):
        find(layout)


def test_a_stem_may_have_dots(layout, write_image):
    write_image(layout / "nut/test/scratch/v1.2.png")
    write_image(layout / "nut/ground_truth/scratch/v1.2_mask.png")
    assert "nut/test/scratch/v1.2" in [sample.name for sample in find(layout)]


def test_an_image_without_a_mask_can_enter_image_metrics(layout):
    for mask in (layout / "nut/ground_truth/scratch").iterdir():
        mask.unlink()
    bare = [sample for sample in find(layout, None, Reading(image_level=True)) if sample.is_image_level]
    assert [(sample.name, sample.mask_path) for sample in bare] == [
        ("nut/test/scratch/000", None),
        ("nut/test/scratch/001", None),
    ]
    with pytest.raises(InputError, match=r"expected .*000_mask\.png \(--image-level takes it for image metrics\)"):
        find(layout)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_that_is_not_needed_may_be_missing(layout, split):
    shutil.rmtree(layout / "nut" / split)
    shutil.rmtree(layout / "nut/ground_truth") if split == "test" else None
    other = "test" if split == "train" else "train"
    assert len(find(layout, ["nut"], Reading(splits=[other]))) == (2 if split == "test" else 4)
    with pytest.raises(InputError, match="holds no images"):
        find(layout, ["nut"])


def test_an_unselected_category_may_be_broken(layout):
    (layout / "bolt/ground_truth/scratch/000_mask.png").unlink()
    assert len(find(layout, ["nut"])) == 6


@pytest.mark.parametrize(
    ("make_root", "message"),
    [
        (lambda layout: None, "needs a data root"),
        (lambda layout: layout / "nowhere", "nowhere does not exist"),
        (lambda layout: layout / "nut/train/good/000.png", "is a file"),
        (lambda layout: layout / "nut", "is itself a category folder: give .*set and choose the category nut"),
        (lambda layout: layout.parent, "set holds some: give that"),
        (lambda layout: layout / "nut" / "train", "holds no category folders"),
    ],
)
def test_a_wrong_root_says_which_would_be_right(layout, make_root, message):
    with pytest.raises(InputError, match=message):
        find(make_root(layout), None)


def test_published_visa_is_recognised(tmp_path):
    (tmp_path / "candle" / "Data" / "Images").mkdir(parents=True)
    with pytest.raises(InputError, match=r"\nthis looks like VisA: --dataset visa$"):
        find_samples("mvtec_ad", tmp_path)


def test_an_image_without_a_mask_names_both(layout):
    (layout / "nut/ground_truth/scratch/001_mask.png").unlink()
    with pytest.raises(InputError, match=r"nut/test/scratch/001\.png has no mask; expected .*scratch/001_mask\.png"):
        find(layout, None)


def test_a_mask_without_an_image_is_named(layout, write_image):
    write_image(layout / "nut/ground_truth/scratch/007_mask.png")
    write_image(layout / "nut/ground_truth/dent/000_mask.png")
    with pytest.raises(InputError, match=r"(?s)2 problems.*dent/000_mask\.png has no image") as caught:
        find(layout, None)
    assert re.search(r"007_mask\.png has no image in .*test/scratch", str(caught.value))


def test_two_masks_of_one_image_are_named(layout, write_image):
    write_image(layout / "nut/ground_truth/scratch/000.png")
    with pytest.raises(InputError, match=r"two masks, 000_mask\.png and 000\.png"):
        find(layout, None)


def test_two_images_of_one_stem_are_named(layout, write_image):
    write_image(layout / "nut/test/scratch/000.jpg")
    with pytest.raises(InputError, match=r"000\.png and 000\.jpg have the same name"):
        find(layout, None)


def test_an_empty_training_or_test_folder_is_an_error(layout):
    for path in [*(layout / "nut/train/good").iterdir(), *(layout / "bolt/test").rglob("*.png")]:
        path.unlink()
    for path in (layout / "bolt/ground_truth/scratch").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"(?s)2 problems.*bolt/test holds no images.*nut/train/good holds no"):
        find(layout, None)


def test_anomalous_training_images_are_an_error(layout, write_image):
    write_image(layout / "nut/train/scratch/000.png")
    with pytest.raises(InputError, match="train/scratch is not training data"):
        find(layout, None)


def test_many_problems_are_counted_and_the_first_few_shown(layout, write_image):
    for index in range(20):
        write_image(layout / f"nut/test/scratch/more{index:02}.png")
    with pytest.raises(InputError, match="20 problems") as caught:
        find(layout, None)
    assert "more04.png" in str(caught.value)
    assert "more05.png" not in str(caught.value)
    assert "and 15 more" in str(caught.value)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real images at {REAL_DATA}; name them in ASEG_BENCH_REAL_DATA")
def test_real_images_are_found_in_full():
    samples = find(REAL_DATA, ["magnetic_tile", "cookie", "hazelnut_toy", "ball_screw"])
    assert sum(sample.split == "train" for sample in samples) == 160 + 20 + 28 + 120
    assert sum(sample.is_anomalous for sample in samples) == 80 + 32 + 17 + 50
