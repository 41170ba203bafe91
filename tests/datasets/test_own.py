"""Images of a user's own: listed in a manifest, or in folders without a split."""

import json
import shutil
from pathlib import Path

import pytest

from aseg_bench.datasets import Reading, find_samples, manifest
from aseg_bench.errors import InputError
from tests.datasets.trees import TREES, write


def names(*found: object) -> list[str]:
    return [sample.name for sample in find_samples(*found)]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """The manifest of four images, two of a nut and two of a bolt."""
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        write(tmp_path / name, 90)
    write(tmp_path / "truth/2.png", None)
    return tmp_path / "list.csv"


def test_lists_of_uniad_are_read(listed: Path) -> None:
    """Two files, one for each split, whose names say which."""
    entries = {
        "train": [{"filename": "a/1.png", "label": 0, "label_name": "good", "clsname": "nut"}],
        "test": [
            {"filename": "b/1.png", "label": 0, "label_name": "good", "clsname": "nut"},
            {
                "filename": "b/2.png",
                "label": 1,
                "label_name": "defective",
                "maskname": "truth/2.png",
                "clsname": "nut",
            },
        ],
    }
    for split, rows in entries.items():
        listed.with_name(f"{split}.json").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert names("manifest", listed.with_name("train.json"), None, Reading(splits=["train"])) == ["nut/train/good/1"]
    test = find_samples("manifest", listed.with_name("test.json"), None, Reading(splits=["test"]))
    assert [one.name for one in test] == ["nut/test/defective/2", "nut/test/good/1"]
    assert test[0].mask_path == listed.parent / "truth/2.png"


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("a/1.png,test,,,,", "images/test/good/1"),
        ("a/1.png,test,,NORMAL,,", "images/test/good/1"),
        ("a/1.png,test,,fine,,", "images/test/good/1"),
        ("a/2.png,test,truth/2.png,,,", "images/test/defect/2"),
        ("a/2.png,test,truth/2.png,,1,", "images/test/defect/2"),
        ("a/2.png,test,truth/2.png,,0,", "images/test/good/2"),
        ("a/2.png,test,truth/2.png,dent,1,other", "images/test/dent/other"),
        ("a/2.png,test,truth/2.png,,True,", "images/test/defect/2"),
        ("a/2.png,test,truth/2.png,,FALSE,", "images/test/good/2"),
    ],
)
def test_what_a_row_says_of_a_defect(listed: Path, row: str, name: str) -> None:
    listed.write_text(f"\ufeffimage,split,mask,defect,label,name\n{row}\n", encoding="utf-8")
    (found,) = find_samples("manifest", listed, None, Reading("fine", splits=["test"]))
    assert found.name == name
    assert (found.mask_path is not None) == found.is_anomalous


def test_all_that_is_wrong_with_a_manifest_is_one_error(listed: Path) -> None:
    rows = (
        "image,split,mask,defect,colour",
        "a/1.png,train,,,red",
        "a/gone.png,train,,,",
        "a/2.png,test,truth/gone.png,hole,",
        "b/1.png,evening,,,",
        "b/2.png,train,truth/2.png,hole,",
        "a/1.png,test,,,",
        "b/1.png,test,,hole,",
        ",test,,,",
        "a/2.png,test,,../up,",
        "a/2.png,test,,,,7",
    )
    listed.write_text("\n".join(rows))
    with pytest.raises(InputError, match=r"^\d+ problems in .*list\.csv"):
        find_samples("manifest", listed)
    problems: list[str] = []  # an error shows the first few
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "finished", lambda where, samples, found, splits: problems.extend(found) or [])
        find_samples("manifest", listed)
    for said in (
        "unknown column colour; known: image, mask",
        "line 3: ",
        "gone.png is missing",
        "the split evening; known: train, test, validation",
        "hole in train, which holds normal images alone",
        "1.png is listed twice",
        "hole without a mask",
        "line 9 names no image",
        "which is not the name of a file",
        "line 11 has more cells than the heading",
    ):
        assert any(said in problem for problem in problems), said
    assert len(problems) >= 11


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.csv", "picture,split\na/1.png,test\n", "unknown column picture"),
        ("list.csv", "image,split\n", "no image is listed"),
        ("list.csv", "image\na/1.png\n", "line 2, a/1.png: no split"),
        ("list.csv", "image,label,defect,split\na/1.png,1,good,test\n", "the label 1 with the defect good"),
        ("list.csv", "image,label,split\na/1.png,good,test\n", "line 2, a/1.png: the label good, which is not 0 or 1"),
        ("list.csv", "image,split\na/1.png,val\nb/1.png,val\n", "are both images/validation/good/1; rename"),
        ("list.csv", "image,split\na/1.png,test\nb/1.png,test\n", "are both images/test/good/1; rename or remove"),
        ("list.json", '{"image": "a/1.png", "split": "test"}\n[1]\n{', r"line 2 is not a JSON object(.|\n)*line 3"),
        ("list.csv", "image,split\na/1.png,test\n", "has no images in train; training needs normal images there"),
    ],
)
def test_a_manifest_that_cannot_be_read_says_why(listed: Path, name: str, text: str, message: str) -> None:
    listed.with_name(name).write_text(text)
    with pytest.raises(InputError, match=message):
        find_samples("manifest", listed.with_name(name))


def test_a_manifest_is_a_file_and_other_data_sets_are_folders(listed: Path) -> None:
    with pytest.raises(InputError, match="is not a file; name one with --data-root FILE"):
        find_samples("manifest", listed.parent)
    listed.write_bytes(b"image,split\n\xff\xfe,test\n")
    with pytest.raises(InputError, match="a manifest is a text in UTF-8"):
        find_samples("manifest", listed)
    with pytest.raises(InputError, match="is a file; name a folder, or read a list of files with --dataset manifest"):
        find_samples("mvtec_ad", listed)


def test_folders_may_be_categories_or_hold_them(tmp_path: Path) -> None:
    root = TREES["folders"].write(tmp_path / "all")
    alone = names("folders", root)
    assert names("folders", root.parent) == alone
    shutil.copytree(root, root.parent / "bolts")
    assert len(names("folders", root.parent)) == 2 * len(alone)
    assert names("folders", root.parent, ["nuts"]) == alone
    (root / "normal").rename(root / "fine")
    with pytest.raises(InputError, match="holds no folder of normal images"):
        find_samples("folders", root)
    assert names("folders", root, None, Reading("fine")) == alone


def test_masks_without_images_in_folders_are_named(tmp_path: Path) -> None:
    root = TREES["folders"].write(tmp_path)
    write(root / "mask/crack/7.png", None)
    with pytest.raises(InputError, match=r"mask/crack/7\.png has no image"):
        find_samples("folders", root)
