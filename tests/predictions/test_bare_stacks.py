"""One stacked array per category is read, in the sorted order of the test images or by the paths that come with it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.predictions.imported import import_maps
from aseg_bench.predictions.maps_method import MapsMethod
from aseg_bench.predictions.records import RECIPE
from aseg_bench.records import Sample
from tests.predictions.conftest import TRUSTED, MakeMaps, assert_same, by_category

Write = Callable[[Path, NDArray[np.float32]], Any]


def write_torch(file: Path, stack: NDArray[np.float32]) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(stack), file.with_suffix(".pt"))


WAYS: dict[str, Write] = {
    "npy": lambda file, stack: np.save(file.with_suffix(".npy"), stack),
    "npy of channels": lambda file, stack: np.save(file.with_suffix(".npy"), stack[:, None]),
    "npy in Fortran's order": lambda file, stack: np.save(file.with_suffix(".npy"), np.asfortranarray(stack)),
    "npz": lambda file, stack: np.savez(file.with_suffix(".npz"), stack),
    "compressed npz": lambda file, stack: np.savez_compressed(file.with_suffix(".npz"), amaps=stack, labels=[0, 1]),
    "torch": write_torch,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["{}", "maps_{}", "{}/scores"])
def test_a_stack_per_category_is_in_the_sorted_order_of_the_test_images_which_is_said(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, way: str, name: str
) -> None:
    maps = make_maps(16)
    for category, members in by_category(maps).items():
        file = tmp_path / name.format(category)
        file.parent.mkdir(exist_ok=True)
        WAYS[way](file, np.stack([maps[sample] for sample in members]))
    imported = import_maps(tmp_path, samples[::-1], limits=TRUSTED)
    assert imported.reader.key == ("torch" if way == "torch" else "stack")
    assert_same(imported, maps)
    said = [one.text for one in imported.read("bottle").suspicions if one.kind == "order_assumed"]
    assert "is from bottle/test/bent/000 to bottle/test/good/001" in said[0]
    method = MapsMethod("own", tmp_path, limits=TRUSTED)
    list(method.predict(samples))
    assert {one.case.category for one in method.findings if one.kind == "order_assumed"} == {"bottle", "metal_nut"}


@pytest.mark.parametrize("way", ["npz", "text beside npy", "torch"])
def test_paths_that_come_with_a_stack_go_before_its_order(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, way: str
) -> None:
    maps = make_maps(16)
    for category, members in by_category(maps).items():
        shuffled = members[::-1]
        stack, paths = np.stack([maps[one] for one in shuffled]), [str(one.image_path) for one in shuffled]
        if way == "npz":
            np.savez(tmp_path / f"{category}.npz", scores=stack, paths=paths)
        elif way == "torch":
            torch = pytest.importorskip("torch")
            torch.save({"maps": torch.from_numpy(stack), "names": paths}, tmp_path / f"{category}.pt")
        else:
            np.save(tmp_path / f"{category}.npy", stack)
            (tmp_path / f"{category}.txt").write_text("\n".join(paths))
    imported = import_maps(tmp_path, samples, limits=TRUSTED)
    assert_same(imported, maps)
    assert not any(imported.suspicions.values())


def test_one_array_is_of_the_one_category_whatever_its_name(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(16)
    bottles = by_category(maps)["bottle"]
    np.save(tmp_path / "scores.npy", np.stack([maps[sample] for sample in bottles]))
    assert_same(import_maps(tmp_path / "scores.npy", bottles), {sample: maps[sample] for sample in bottles})
    with pytest.raises(InputError, match=r"scores.npy\); name a file like its category: bottle, metal_nut"):
        raise InputError(import_maps(tmp_path, samples).problem_text)


def test_masks_that_come_with_a_stack_are_its_truth_where_there_is_no_data_set(
    tmp_path: Path, make_maps: MakeMaps
) -> None:
    maps = [scores for sample, scores in make_maps(16).items() if sample.category == "bottle"]
    np.savez(tmp_path / "bottle.npz", scores=np.stack(maps), masks=np.stack([one > 2 for one in maps]))
    read = import_maps(tmp_path).read("bottle")
    for scores, mask, expected in zip(read.maps, read.masks or (), maps, strict=True):
        np.testing.assert_array_equal(scores, expected)
        np.testing.assert_array_equal(mask, expected > 2)


def test_a_count_that_does_not_fit_is_one_error_with_both_counts(tmp_path: Path, samples: Sequence[Sample]) -> None:
    np.save(tmp_path / "bottle.npy", np.zeros((5, 16, 16), np.float32))
    np.save(tmp_path / "metal_nut.npy", np.zeros((6, 16, 16), np.float32))
    problems = import_maps(tmp_path, samples).problems
    assert list(problems) == ["bottle"]
    said = f"5 maps (in {tmp_path / 'bottle.npy'}) for 6 images (2 normal), and only their order tells which"
    assert problems["bottle"][0].startswith(said)


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (lambda file: np.savez(file, a=np.zeros((6, 8, 8)), b=np.zeros((6, 8, 8))), "holds a of shape .*, b of shape"),
        (lambda file: np.savez(file, a=np.zeros((6, 8, 8)), paths=["x"]), "has 6 maps but 1 paths"),
        (lambda file: [np.save(file.with_suffix(".npy"), np.zeros((6, 8, 8))), file.with_suffix(".txt").touch()],
         "has 6 maps but 0 image paths"),
    ],
)  # fmt: skip
def test_a_wrong_stack_says_what_is_wrong(
    tmp_path: Path, samples: Sequence[Sample], write: Callable[[Path], Any], complaint: str
) -> None:
    write(tmp_path / "bottle.npz")
    with pytest.raises(InputError, match=complaint):
        import_maps(tmp_path, samples)


def test_single_maps_and_colour_pictures_are_not_taken_for_stacks(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(16)
    for sample, scores in maps.items():
        file = tmp_path / f"{sample.name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, scores[None] if sample.is_anomalous else scores[..., None])
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "plain"
    assert_same(imported, maps)


@pytest.mark.parametrize("content", ["nothing", "strangers"])
def test_where_nothing_matches_the_error_shows_lines_that_write_what_is_read(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "dump").mkdir()
    if content == "nothing":
        (tmp_path / "dump/notes.md").write_text("maps are elsewhere")
    else:
        np.save(tmp_path / "dump/output_0.npy", np.zeros((16, 16)))
    with pytest.raises(InputError) as caught:
        raise InputError(import_maps(tmp_path / "dump", samples).problem_text)
    assert RECIPE in str(caught.value)
    code = [line[4:] for line in str(caught.value).splitlines() if line.startswith("    ")]
    assert len(code) == 3
    maps = make_maps(16)
    results = {
        category: ([maps[one] for one in members], [one.image_path for one in members])
        for category, members in by_category(maps).items()
    }
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    exec("\n".join(code), {"results": results})
    assert_same(import_maps(tmp_path / "new", samples), maps)
