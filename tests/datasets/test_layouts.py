"""Laws that hold for every data set, on a miniature of each in the layout in which it is distributed."""

import json
import re
import shutil
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aseg_bench.datasets import AS_USUAL, DATASETS, Dataset, Reading, check_images, checksum, find_samples, table
from aseg_bench.datasets.mvtec_loco import regions_of
from aseg_bench.errors import InputError
from aseg_bench.images import read_mask
from aseg_bench.metrics import SaturatedRegion
from aseg_bench.metrics.functions import spro
from aseg_bench.records import Sample
from tests.datasets.trees import TREES, Tree, in_folders

KEYS = sorted(TREES)
IN_LAYOUTS = [key for key in KEYS if DATASETS[key].layout and key != "visa"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "datasets.md"
TOTALS = {
    "mvtec_ad": (3629, 467, 1258),
    "visa": (8659, 962, 1200),
    "mvtec_loco": (1778, 575, 993),
    "mvtec_3d": (2656, 249, 948),
    "mpdd": (888, 176, 282),
    "dagm": (8050 - 1046, 8050 - 1054, 1054),
    "kolektor_sdd2": (2085, 894, 110),
    "magnetic_tile": (952 - 190, 190, 392),
    "bsdata": (710 - 142, 142, 394),
}


def pairs(samples: list[Sample], folder: Path) -> dict[str, tuple[str, str | None]]:
    """What a tree says of its samples, of those that were found."""
    return {
        one.name: (
            str(one.image_path.relative_to(folder)),
            None if one.mask_path is None else str(one.mask_path.relative_to(folder)),
        )
        for one in samples
    }


def test_every_data_set_has_a_miniature() -> None:
    assert {"demo", *TREES} == set(DATASETS)


@pytest.mark.parametrize("key", KEYS)
def test_all_images_are_found_sorted_and_paired_by_name(key: str, tmp_path: Path) -> None:
    tree = TREES[key]
    found = find_samples(key, tree.write(tmp_path))
    assert pairs(found, tmp_path) == tree.samples
    order = [(one.category, one.split, one.defect, one.stem) for one in found]
    assert order == sorted(set(order))
    assert {one.dataset for one in found} == {key}
    assert all(one.is_anomalous == (one.mask_path is not None) for one in found)
    assert not any(one.is_anomalous for one in found if one.split == "train")


@pytest.mark.parametrize("key", KEYS)
def test_a_sound_tree_has_no_findings(key: str, tmp_path: Path) -> None:
    root = TREES[key].write(tmp_path)
    found = find_samples(key, root)
    assert check_images(found, root) == []
    assert checksum(found) != checksum(found[1:])


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_mask_is_one_error_that_names_it(key: str, tmp_path: Path) -> None:
    root = TREES[key].write(tmp_path)
    image, mask = next(pair for pair in TREES[key].samples.values() if pair[1])
    assert mask is not None
    shutil.rmtree(tmp_path / mask) if (tmp_path / mask).is_dir() else (tmp_path / mask).unlink()
    with pytest.raises(InputError, match="1 problem") as caught:
        find_samples(key, root)
    assert Path(image).stem in str(caught.value)
    assert Path(mask).stem.removesuffix("_mask") in str(caught.value)
    assert "this looks like" not in str(caught.value)


@pytest.mark.parametrize("key", [*IN_LAYOUTS, "folders"])
def test_images_without_masks_can_enter_image_metrics(key: str, tmp_path: Path) -> None:
    root = TREES[key].write(tmp_path)
    _, mask = next(pair for pair in TREES[key].samples.values() if pair[1])
    assert mask is not None
    shutil.rmtree(tmp_path / mask) if (tmp_path / mask).is_dir() else (tmp_path / mask).unlink()
    assert sum(one.is_image_level for one in find_samples(key, root, None, Reading(image_level=True))) == 1


@pytest.mark.parametrize("key", [*IN_LAYOUTS, "dagm", "kolektor_sdd2"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_said_if_it_is_needed(key: str, split: str, tmp_path: Path) -> None:
    tree = TREES[key]
    kept = {name: pair for name, pair in tree.samples.items() if f"/{split}/" not in name}
    others = {name: what for name, what in tree.others.items() if split not in name.lower()}
    root = Tree(kept, others, tree.root).write(tmp_path)
    other = "train" if split == "test" else "test"
    assert {one.split for one in find_samples(key, root, None, Reading(splits=[other]))} == {other}
    with pytest.raises(InputError, match=r"holds no images; |has no images in t"):
        find_samples(key, root)


@pytest.mark.parametrize("key", [key for key in KEYS if DATASETS[key].marks])
def test_the_tree_of_another_data_set_is_recognised(key: str, tmp_path: Path) -> None:
    root = TREES[key].write(tmp_path)
    assert DATASETS[key].looks_like(root)
    for other, facts in DATASETS.items():
        if other == "demo" or facts.marks == DATASETS[key].marks:
            continue
        if key in {"mvtec_ad", "mpdd"} and facts.layout == DATASETS[key].layout:
            continue  # read as it is
        named = DATASETS["real_iad" if key == "real_iad_sv" else key]
        with pytest.raises(InputError, match=f"\nthis looks like {named.label}: --dataset {named.key}$"):
            find_samples(other, root)


@pytest.mark.parametrize("key", [key for key in KEYS if TREES[key].more])
def test_further_splits_are_found_where_they_are_named(key: str, tmp_path: Path) -> None:
    root = TREES[key].write(tmp_path)
    for split, images in TREES[key].more.items():
        found = find_samples(key, root, None, replace(AS_USUAL, splits=["train", "test", split]))
        assert {one.name: str(one.image_path.relative_to(root)) for one in found if one.split == split} == images
        assert not any(one.is_anomalous or one.mask_path for one in found if one.split == split)
        assert check_images(found, root) == []
    with pytest.raises(InputError, match="has no split evening"):
        find_samples(key, root, None, replace(AS_USUAL, splits=["evening"]))


@pytest.mark.parametrize("key", KEYS)
def test_what_is_printed_of_a_data_set_is_whole(key: str) -> None:
    facts = DATASETS[key]
    assert facts.summary.endswith(".")
    if not facts.label.startswith("Own"):
        assert facts.homepage.startswith("https://")
        assert "https://" in facts.citation
    totals = tuple(sum(column) for column in zip(*facts.counts.values(), strict=True))
    assert totals == TOTALS.get(key, ())


def test_the_document_has_every_data_set() -> None:
    """After a change of the table this prints the lines that the document must have."""
    lines = ["| key | data set | training | test, normal | test, anomalous | licence |", "|---|---|---|---|---|---|"]
    for facts in DATASETS.values():
        label = f"[{facts.label}]({facts.homepage})" if facts.homepage else facts.label
        numbers = (f"{sum(column):,}" for column in zip(*facts.counts.values(), strict=True))
        cells = (f"`{facts.key}`", label, *(numbers if facts.counts else ("", "", "")), facts.licence)
        lines.append(f"| {' | '.join(cells)} |")
    assert "\n".join(lines) in DOCUMENT.read_text(encoding="utf-8")


def test_a_data_set_is_added_as_the_document_shows(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Dataset] = {}
    exec(block, names)
    tree = Tree(in_folders("screw", normal="ok", truth="truth/{}"))
    root = tree.write(tmp_path)
    assert pairs(names["MINE"].find(root), root) == tree.samples
    assert names["MINE"].looks_like(root)


def test_saturation_areas_of_loco_reach_its_metric(tmp_path: Path) -> None:
    root = TREES["mvtec_loco"].write(tmp_path)
    folder = root / "pushpins/ground_truth/logical_anomalies/000"
    values = np.zeros((4, 6), np.uint8)
    values[3, 1:5] = 254
    Image.fromarray(values).save(folder / "001.png")
    sample = next(one for one in find_samples("mvtec_loco", root) if one.is_anomalous)
    first, second = regions_of(sample)
    assert (first.saturation, int(first.mask.sum())) == (1, 2)  # one pixel counts as all
    assert (second.saturation, int(second.mask.sum())) == (2, 4)  # half of them do
    scores = np.zeros((1, 4, 6))
    scores[0, 1, 2] = scores[0, 3, 1] = scores[0, 3, 2] = 1
    mask = (read_mask(folder) > 0)[None]
    assert spro(scores, mask, [[SaturatedRegion(*one) for one in (first, second)]]) == 1.0
    assert regions_of(replace(sample, mask_path=None)) == []
    (root / "pushpins/defects_config.json").write_text("[]")
    with pytest.raises(InputError, match=r"holds the value 255, for which .*defects_config\.json has no entry"):
        regions_of(sample)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"cannot read .*image_data\.json .*it comes with the data set"),
        (
            '{"images": [{"filename": "../up.jpg", "annotations": null}]}',
            "lists '../up.jpg', which is not the name of a",
        ),
        (
            '{"images": [{"filename": "gone.jpg", "annotations": "gone.json"}]}',
            "gone.json is listed in image_data.json but",
        ),
    ],
)
def test_what_is_wrong_with_the_list_of_bsdata_is_said(content: str, message: str, tmp_path: Path) -> None:
    root = TREES["bsdata"].write(tmp_path)
    (root / "image_data.json").write_text(content)
    with pytest.raises(InputError, match=message):
        find_samples("bsdata", root)


@pytest.mark.parametrize("size", ["realiad_256", "realiad_1024"])
def test_images_of_real_iad_are_read_at_the_size_that_is_given(size: str, tmp_path: Path) -> None:
    root = TREES["real_iad"].write(tmp_path)
    shutil.copytree(root / "realiad_512", root / size)
    assert find_samples("real_iad", root / size)[0].image_path.is_relative_to(root / size)
    with pytest.raises(InputError, match=f"holds .*{size}.*; give the one folder of images that is to be read"):
        find_samples("real_iad", root)


def test_what_is_wrong_with_lists_of_real_iad_is_said_at_once(tmp_path: Path) -> None:
    root = TREES["real_iad"].write(tmp_path)
    file = root / "realiad_jsons/realiad_jsons/usb.json"
    content = json.loads(file.read_text())
    content["train"][0]["anomaly_class"] = "AK"
    content["test"][0]["image_path"] = "OK/S0007/gone.jpg"
    content["test"][1]["anomaly_class"] = "../up"
    content["test"][2]["mask_path"] = None
    content["test"].append(content["test"][3])
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="5 problems") as caught:
        find_samples("real_iad", root)
    for said in (
        "is anomalous but in train",
        "gone.jpg is listed but missing",
        "shows '../up', which is not the name of a folder",
        "is anomalous but names no mask",
        "rename or remove one",
    ):
        assert said in str(caught.value)
    file.write_text("{")
    with pytest.raises(InputError, match=r"1 problem in .*\n  cannot read .*usb\.json"):
        find_samples("real_iad", root)


def test_a_package_adds_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution is a folder with its entry points in it, as an installer writes them."""
    (tmp_path / "site" / "near-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "near-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: near\nVersion: 1\n")
    (tmp_path / "site" / "near-1.dist-info" / "entry_points.txt").write_text(
        "[aseg_bench.datasets]\nnear = near_package:DATA\n"
    )
    module = tmp_path / "site" / "near_package.py"
    module.write_text(
        "from functools import partial\nfrom aseg_bench.datasets import Dataset, Layout, find_in_layout\n"
        "layout = Layout(normal='fine', suffixes=('',))\n"
        "find = partial(find_in_layout, 'near', layout=layout)\n"
        "DATA = Dataset('near', 'Near', 'A set.', True, find, layout=layout, marks=('*/train/fine',))\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(table, "DATASETS", type(DATASETS)(dict(DATASETS)))
    assert [*table.DATASETS][-1] == "near"
    tree = Tree(in_folders("cup", normal="fine"))
    root = tree.write(tmp_path / "set")
    assert pairs(find_samples("near", root), root) == tree.samples
    with pytest.raises(InputError, match="this looks like Near: --dataset near"):
        find_samples("btad", root)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("json:dumps", "entry point x = json:dumps is not a Dataset; name one there"),
        ("aseg_bench.datasets.visa:VISA", "two installed packages define the data set visa; uninstall one"),
    ],
)
def test_a_wrong_entry_point_is_named(value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = type(DATASETS)(dict(DATASETS))
    points = [EntryPoint("x", value, table.ENTRY_POINTS)]
    monkeypatch.setattr(table, "entry_points", lambda group: points)
    with pytest.raises(InputError, match=message):
        len(datasets)
    assert datasets["visa"] is DATASETS["visa"]  # ours are found without the others
