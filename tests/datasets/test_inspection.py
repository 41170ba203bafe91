"""What `data check` finds: every defect planted once in a miniature tree."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from PIL import Image

from aseg_bench.datasets import DATASETS, CategoryCounts
from aseg_bench.datasets.inspection import PROBLEMS, inspect
from aseg_bench.errors import InputError
from aseg_bench.reporting.data_stats import stats_report
from tests.conftest import Call
from tests.datasets.trees import TREES

SIZE = (48, 64)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two categories of pictures that are all different, as many as a published set of theirs has."""
    rng = np.random.default_rng(0)
    for category in ("bolt", "nut"):
        for place, n in (("train/good", 5), ("test/good", 2), ("test/hole", 2)):
            for number in range(n):
                write(tmp_path / category / place / f"{number:03}.png", rng.integers(0, 256, (*SIZE, 3)))
                if place == "test/hole":
                    mask = np.zeros(SIZE)
                    mask[4:8, 9:15] = 255
                    write(tmp_path / category / "ground_truth/hole" / f"{number:03}_mask.png", mask)
    known = replace(DATASETS["mvtec_ad"], counts=dict.fromkeys(("bolt", "nut"), CategoryCounts(5, 2, 2)))
    monkeypatch.setitem(DATASETS._ours, "mvtec_ad", known)  # type: ignore[attr-defined]
    return tmp_path


def found(root: Path) -> list[tuple[str, str, str]]:
    return [(one.kind, one.case.category, one.text) for one in inspect("mvtec_ad", root, quiet=True).findings]


def test_a_sound_set_has_no_findings_and_is_counted(sound: Path) -> None:
    seen = inspect("mvtec_ad", sound, quiet=True)
    assert (seen.findings, seen.unchecked) == ([], [])
    assert (seen.n_images, seen.n_masks) == ({"test": 8, "train": 10}, 4)


def cut(root: Path) -> None:
    path = root / "nut/train/good/000.png"
    path.write_bytes(path.read_bytes()[:-2000])


def flip_a_bit(root: Path) -> None:
    path = root / "nut/test/good/000.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty_a_mask(root: Path) -> None:
    write(root / "nut/ground_truth/hole/000_mask.png", np.zeros(SIZE))


def remove_an_image(root: Path) -> None:
    (root / "bolt/train/good/004.png").unlink()


def remove_a_category(root: Path) -> None:
    (root / "bolt").rename(root.parent / f"{root.name}_bolt")


def copy_across(root: Path) -> None:
    (root / "nut/test/good/001.png").write_bytes((root / "nut/train/good/003.png").read_bytes())


def copy_within_test(root: Path) -> None:
    (root / "nut/test/good/001.png").write_bytes((root / "nut/test/good/000.png").read_bytes())


def copy_with_another_truth(root: Path) -> None:
    (root / "nut/test/hole/001.png").write_bytes((root / "nut/test/good/000.png").read_bytes())


def save_again(root: Path) -> None:
    image = Image.open(root / "nut/train/good/003.png")
    (root / "nut/test/good/001.png").unlink()
    image.save(root / "nut/test/good/001.jpg", quality=70)


def change_a_size(root: Path) -> None:
    write(root / "nut/train/good/002.png", np.random.default_rng(1).integers(0, 256, (40, 64, 3)))


def change_a_mask(root: Path) -> None:
    mask = np.zeros((40, 64))
    mask[4:8, 9:15] = 255
    write(root / "nut/ground_truth/hole/001_mask.png", mask)


def make_a_mask_grey(root: Path) -> None:
    mask = np.zeros(SIZE)
    mask[4:8, 9:15], mask[4, 9] = 255, 100
    write(root / "nut/ground_truth/hole/001_mask.png", mask)


@pytest.mark.parametrize(
    ("plant", "kind", "category", "text"),
    [
        (cut, "refused", "", "nut/train/good/000.png as an image"),
        (flip_a_bit, "refused", "", "nut/test/good/000.png as an image"),
        (change_a_mask, "refused", "", "is 64 x 40 pixels but its image 64 x 48"),
        (empty_a_mask, "mask_empty", "", "1 of 4 masks of pictures that show a defect are empty, first nut/test/hole/"),
        (remove_an_image, "count", "bolt", "4 training images instead of 5"),
        (remove_a_category, "category_missing", "", "1 of 2 published categories are not there, first bolt"),
        (copy_across, "copy_across", "nut", "one file is in test and train: nut/test/good/001, nut/train/good/003"),
        (copy_with_another_truth, "copy_of_other_truth", "nut", "both normal and anomalous: nut/test/good/000, nut/"),
        (copy_within_test, "copy_within", "nut", "one file counts several times: nut/test/good/000, nut/test/good/001"),
        (save_again, "near_copy", "nut", "nut/test/good/001 is nearly nut/train/good/003"),
        (change_a_size, "size", "nut", "1 of 9 images are not 64 x 48 as the others are, first nut/train/good/002"),
        (make_a_mask_grey, "mask_grey", "", "1 of 4 masks hold grey levels"),
    ],
)  # fmt: skip
def test_each_defect_is_one_finding(sound, call: Call, plant, kind, category, text) -> None:
    plant(sound)
    ((seen, place, said),) = found(sound)
    assert (seen, place) == (kind, category)
    assert text in said
    outcome = call("data", "check", "--dataset", "mvtec_ad", "--data-root", sound)
    assert outcome.code == (kind in PROBLEMS)
    first, *others = outcome.out.splitlines()
    assert first == ("problem: " if kind in PROBLEMS else "note: ") + (f"{category}: " if category else "") + said
    assert others == [
        f"checked: images (8 of test, {10 - (kind == 'count')} of train) and 4 masks, every file decoded"
        if kind != "category_missing"
        else "checked: images (4 of test, 5 of train) and 2 masks, every file decoded",
        "1 problem, 0 notes" if kind in PROBLEMS else "0 problems, 1 note",
    ]


def test_problems_come_first_and_findings_are_sorted(sound: Path, call: Call) -> None:
    for plant in (change_a_size, empty_a_mask, copy_across, cut):
        plant(sound)
    remove_an_image(sound)
    words = ("data", "check", "--dataset", "mvtec_ad", "--data-root", sound, "--json")
    content = json.loads(call(*words).out)
    assert [one["kind"] for one in content["findings"]] == ["mask_empty", "refused", "count", "copy_across", "size"]
    assert [one["severity"] for one in content["findings"]] == ["problem"] * 4 + ["note"]
    assert content["images"] == {"test": 8, "train": 9}


def test_numbers_of_a_set_of_ones_own_are_not_compared(sound: Path) -> None:
    (sound / "nut").rename(sound / "washer")
    seen = inspect("mvtec_ad", sound, quiet=True)
    assert not seen.findings
    assert seen.unchecked == ["numbers of images: MVTec-AD has no category washer; --categories names those to check"]
    assert not inspect("mvtec_ad", sound, ["bolt"], quiet=True).unchecked


def test_bad_input_is_an_error(sound: Path, call: Call) -> None:
    (sound / "nut/ground_truth/hole/000_mask.png").unlink()
    outcome = call("data", "check", "--dataset", "mvtec_ad", "--data-root", sound)
    assert (outcome.code, outcome.out) == (2, "")
    assert "has no mask" in outcome.error


@pytest.mark.parametrize("key", TREES)
def test_every_layout_is_looked_at_and_measured_with_its_further_splits(tmp_path: Path, key: str) -> None:
    tree = TREES[key]
    root = tree.write(tmp_path)
    splits = [name.split("/")[1] for name in (*tree.samples, *(name for some in tree.more.values() for name in some))]
    assert inspect(key, root, quiet=True).n_images == Counter(splits)
    rows = stats_report(key, root, quiet=True).facts["categories"]
    assert sum(row["train"] for row in rows) == splits.count("train")
    assert sum(row["other_splits"] for row in rows) == len(splits) - splits.count("train") - splits.count("test")
    assert sum(row["regions"] for row in rows) > 0


def test_a_split_that_one_category_lacks_is_an_error(tmp_path: Path) -> None:
    root = TREES["mvtec_loco"].write(tmp_path)
    for part in ("train", "test", "ground_truth"):
        copytree(root / "pushpins" / part, root / "juice" / part)
    with pytest.raises(InputError, match="juice/validation/good holds no images"):
        inspect("mvtec_loco", root, quiet=True)
