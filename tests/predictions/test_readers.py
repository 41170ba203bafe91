"""Every layout is read from files written as the original writes them, and each wrong one says what is wrong."""

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.predictions.imported import import_maps
from aseg_bench.predictions.readers import choose_reader, find_readers
from aseg_bench.records import Sample
from tests.predictions.conftest import TRUSTED, MakeMaps, Maps, assert_same, by_category, save_each


def write_uniad(folder: Path, maps: Maps, *, with_sizes: bool = True, **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    for sample, scores in maps.items():
        place = f"{sample.category}/test/{sample.defect}/{sample.stem}.png"
        mask = np.zeros((1, *scores.shape), np.float32)
        if sample.is_anomalous:
            edge = len(scores)
            mask[:, edge // 8 : 3 * edge // 8, edge // 2 : 7 * edge // 8] = 1
        sizes = {"height": np.int64(80), "width": np.int64(80)} if with_sizes else {}
        np.savez(
            folder / f"{sample.category}_{sample.defect}_{sample.stem}.npz",
            filename=place, pred=scores[None], mask=mask, clsname=sample.category, **sizes, **more,
        )  # fmt: skip


@pytest.mark.parametrize(("with_sizes", "more"), [(True, {}), (False, {}), (True, {"pred_imgs": np.zeros((3, 8, 8))})])
def test_uniad_family_dumps_need_no_data_set(
    tmp_path: Path, make_maps: MakeMaps, with_sizes: bool, more: dict[str, Any]
) -> None:
    maps = make_maps(32)
    write_uniad(tmp_path, maps, with_sizes=with_sizes, **more)
    imported = import_maps(tmp_path)
    assert imported.reader.key == "uniad"
    assert_same(imported, maps)
    read = imported.read("metal_nut")
    assert read.masks is not None
    assert sum(bool(mask.any()) for mask in read.masks) == 4


def test_uniad_dumps_match_the_data_set_by_their_member_and_never_by_their_file_name(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(16)
    write_uniad(tmp_path, maps)
    for number, file in enumerate(sorted(tmp_path.iterdir())):
        file.rename(tmp_path / f"scrambled{number}.npz")
    assert_same(import_maps(tmp_path, samples), maps)


def test_diad_float64_maps_keep_their_precision(tmp_path: Path, make_maps: MakeMaps) -> None:
    maps = {sample: scores.astype(np.float64) / 3 for sample, scores in make_maps(16).items()}
    write_uniad(tmp_path, maps, with_sizes=False)  # type: ignore[arg-type]
    read = import_maps(tmp_path).read("bottle")
    assert read.maps[0].dtype == np.float64
    assert_same(import_maps(tmp_path), maps)  # type: ignore[arg-type]


def test_patchcore_crops_come_to_their_place_in_the_image(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(224)
    for category, members in by_category(maps).items():
        shuffled = members[::-1]
        np.savez(
            tmp_path / f"mvtec_{category}.npz",
            segmentations=np.stack([maps[sample] for sample in shuffled]),
            scores=np.zeros(len(members)),
            paths=[str(sample.image_path) for sample in shuffled],
        )
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "patchcore"
    read = imported.read("bottle")
    lowest = min(maps[sample].min() for sample in by_category(maps)["bottle"])
    for sample, scores in zip(read.samples, read.maps, strict=True):
        assert scores.shape == (256, 256)
        np.testing.assert_array_equal(scores[16:240, 16:240], maps[sample])
        assert (scores[:16] == lowest).all()
    assert "cropped" in {suspicion.kind for suspicion in read.suspicions}


@pytest.mark.parametrize("is_flat", [True, False])
def test_draem_arrays_are_in_the_order_of_the_sorted_glob(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, is_flat: bool
) -> None:
    maps = make_maps(256)
    for category, members in by_category(maps).items():
        stack = np.stack([maps[sample] for sample in members])
        arrays = {"total_pixel_scores": stack.ravel().astype(np.float64)} if is_flat else {"out_mask_cv": stack}
        np.savez(tmp_path / f"{category}.npz", **arrays)
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "draem"
    assert_same(imported, maps)


def test_destseg_batches_lose_their_channel_axis(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(64)
    for category, members in by_category(maps).items():
        np.savez(tmp_path / f"{category}.npz", output_segmentation=np.stack([maps[s][None] for s in members]))
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "destseg"
    assert_same(imported, maps)


def test_rd4ad_arrays_without_names_are_refused(tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps) -> None:
    maps = make_maps(32)
    for category, members in by_category(maps).items():
        stack = np.stack([maps[sample] for sample in members])
        np.savez(
            tmp_path / f"{category}.npz", anomaly_maps=stack, img_paths=[str(sample.image_path) for sample in members]
        )
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "rd4ad"
    assert_same(imported, maps)
    np.savez(tmp_path / "bottle.npz", anomaly_maps=stack)
    (tmp_path / "metal_nut.npz").unlink()
    with pytest.raises(InputError, match="does not name its images, whose order is not fixed; write img_paths too"):
        import_maps(tmp_path, samples, reader="rd4ad")


def test_simplenet_maps_of_any_sign_are_read(tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps) -> None:
    maps = {sample: scores - 5 for sample, scores in make_maps(64).items()}
    for category, members in by_category(maps).items():
        np.savez(tmp_path / f"{category}.npz", simplenet_maps=np.stack([maps[sample] for sample in members]))
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "simplenet"
    assert_same(imported, maps)


def ader_results(maps: Maps, with_paths: bool = True) -> dict[str, list[Any]]:
    results: dict[str, list[Any]] = {"imgs_masks": [], "anomaly_maps": [], "cls_names": [], "anomalys": []}
    if with_paths:
        results["img_paths"] = []
    members = list(maps)
    for batch in (members[:3], members[3:]):
        masks = np.zeros((len(batch), 1, *maps[batch[0]].shape), np.int64)
        for index, sample in enumerate(batch):
            masks[index, :, 2:5, 2:6] = sample.is_anomalous
        results["imgs_masks"].append(masks)
        results["anomaly_maps"].append(np.stack([maps[sample] for sample in batch]))
        results["cls_names"].append(np.array([sample.category for sample in batch]))
        results["anomalys"].append(np.array([int(sample.is_anomalous) for sample in batch]))
        if with_paths:
            results["img_paths"].append(
                np.array([f"data/mvtec/{s.category}/test/{s.defect}/{s.stem}.png" for s in batch])
            )
    return results


@pytest.mark.parametrize("is_legacy", [True, False])
def test_ader_rank_files_are_read_behind_allow_pickle(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, is_legacy: bool
) -> None:
    torch = pytest.importorskip("torch")
    maps = make_maps(32)
    halves = list(maps.items())
    for rank, part in enumerate((dict(halves[:7]), dict(halves[7:]))):
        torch.save(ader_results(part), tmp_path / f"{rank}.pth", _use_new_zipfile_serialization=not is_legacy)
    with pytest.raises(InputError, match="pass --allow-pickle"):
        import_maps(tmp_path, samples)
    imported = import_maps(tmp_path, samples, limits=TRUSTED)
    assert imported.reader.key == "ader"
    assert_same(imported, maps)


def test_ader_results_without_paths_are_scored_with_their_own_masks(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    results = ader_results(make_maps(32), with_paths=False)
    np.savez(tmp_path / "ader.npz", **{name: np.concatenate(parts) for name, parts in results.items()})
    imported = import_maps(tmp_path)
    assert imported.reader.key == "ader"
    read = imported.read("bottle")
    assert [sample.is_anomalous for sample in read.samples].count(True) == 4
    with pytest.raises(InputError, match="names no images, and its format fixes no order"):
        import_maps(tmp_path, samples)


def test_anomalib_batches_are_read_without_anomalib(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    torch = pytest.importorskip("torch")
    data = pytest.importorskip("anomalib.data")
    maps = make_maps(32)
    members = list(maps)
    batches = [
        data.ImageBatch(
            image=torch.zeros(len(part), 3, 32, 32),
            anomaly_map=torch.from_numpy(np.stack([maps[sample] for sample in part])),
            image_path=[str(sample.image_path) for sample in part],
            pred_score=torch.zeros(len(part)),
        )
        for part in (members[:5], members[5:])
    ]
    torch.save(batches, tmp_path / "predictions.pt")
    assert_same(import_maps(tmp_path, samples, reader="anomalib", limits=TRUSTED), maps)


def test_clamped_anomalib_maps_are_refused_unless_told(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = {sample: scores.clip(0.2, 1.2) - 0.2 for sample, scores in make_maps(32).items()}
    np.savez(
        tmp_path / "predictions.npz",
        anomaly_map=np.stack(list(maps.values())),
        image_path=[str(sample.image_path) for sample in maps],
    )
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "anomalib"
    with pytest.raises(InputError, match=r"PostProcessor\(enable_normalization=False\)"):
        imported.read("bottle")
    assert_same(import_maps(tmp_path, samples, allow_clamped=True), maps)


def test_adeval_pickles_are_read_behind_allow_pickle(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(32)
    for category, members in by_category(maps).items():
        content = {str(sample.image_path): (maps[sample], float(maps[sample].max()), None) for sample in members}
        (tmp_path / f"{category}.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="pass --allow-pickle"):
        import_maps(tmp_path, samples)
    imported = import_maps(tmp_path, samples, limits=TRUSTED)
    assert imported.reader.key == "adeval"
    assert_same(imported, maps)


def test_aupimo_tensors_are_read_with_their_paths(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    torch = pytest.importorskip("torch")
    maps = make_maps(32)
    for category, members in by_category(maps).items():
        file = tmp_path / "mvtec" / category / "asmaps.pt"
        file.parent.mkdir(parents=True)
        paths = [f"MVTec/{category}/test/{sample.defect}/{sample.stem}.png" for sample in members]
        torch.save({"asmaps": torch.from_numpy(np.stack([maps[s] for s in members])), "paths": paths}, file)
    imported = import_maps(tmp_path, samples, limits=TRUSTED)
    assert imported.reader.key == "aupimo"
    assert_same(imported, maps)


def test_mvtec_trees_are_read_from_their_root_or_from_one_category(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(80)
    for sample, scores in maps.items():
        file = tmp_path / f"{sample.name}.tiff"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, scores)
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "mvtec_tiff"
    assert_same(imported, maps)
    bottle = {sample: scores for sample, scores in maps.items() if sample.category == "bottle"}
    assert_same(import_maps(tmp_path / "bottle", list(bottle)), bottle)


@pytest.mark.parametrize("ending", ["npy", "npz", "tiff"])
@pytest.mark.parametrize("style", ["{s.category}/{s.defect}/{s.stem}", "{s.category}_{s.defect}_{s.stem}"])
def test_a_plain_folder_is_read_by_the_images_names(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, ending: str, style: str
) -> None:
    maps = make_maps(16)
    for sample, scores in maps.items():
        file = tmp_path / f"{style.format(s=sample)}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        {"npy": np.save, "npz": np.savez, "tiff": tifffile.imwrite}[ending](file, scores)  # type: ignore[operator]
    imported = import_maps(tmp_path, samples)
    assert imported.reader.key == "plain"
    assert_same(imported, maps)


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (np.full((16, 16), np.nan), "holds values that are not finite"),
        (np.zeros((2, 16, 16)), r"has shape \(2, 16, 16\)"),
    ],
)
def test_masks_that_travel_with_maps_are_checked(tmp_path: Path, mask: NDArray[np.float64], complaint: str) -> None:
    for kind in ("good", "cut"):
        name = f"nut/test/{kind}/0.png"
        np.savez(tmp_path / f"{kind}.npz", filename=name, clsname="nut", pred=np.eye(16), mask=mask)
    with pytest.raises(InputError, match=f"the mask of nut/test/cut/0 {complaint}"):
        import_maps(tmp_path).read("nut")


def test_every_reader_has_a_key_a_summary_and_a_test() -> None:
    assert set(find_readers()) == {
        "uniad", "mvtec_tiff", "anomalib", "adeval", "aupimo", "stack", "torch", "plain",
        "ader", "destseg", "draem", "patchcore", "rd4ad", "simplenet",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "members", "complaint"),
    [
        ("patchcore", {"scores": np.zeros(3)}, "has none of the members segmentations"),
        ("patchcore", {"segmentations": np.zeros((3, 8, 8)), "paths": ["a", "b"]}, "has 3 maps but 2 paths"),
        ("draem", {"total_pixel_scores": np.zeros(1000)}, "holds maps of shape"),
        ("destseg", {"output_segmentation": np.zeros((3, 2, 8, 8))}, "holds maps of shape"),
        ("ader", {"anomaly_maps": np.zeros((3, 8, 8)), "cls_names": ["a"] * 3}, "does not name its images"),
        ("anomalib", {"anomaly_map": np.zeros((3, 8, 8))}, "does not name its images"),
        ("uniad", {"pred": np.zeros((1, 8, 8))}, "has no member filename"),
        ("plain", {"a": np.zeros((8, 8)), "b": np.zeros((8, 8))}, "holds one map"),
    ],
)
def test_a_wrong_npz_says_what_is_wrong(
    tmp_path: Path, samples: Sequence[Sample], key: str, members: dict[str, Any], complaint: str
) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle" and sample.name.endswith("bent/000")]
    file = tmp_path / ("bottle_bent_000.npz" if key == "plain" else "bottle.npz")
    np.savez(file, **members)
    with pytest.raises(InputError, match=complaint):
        import_maps(tmp_path, bottle, reader=key).read("bottle")


@pytest.mark.parametrize(
    ("key", "content", "complaint"),
    [
        ("adeval", {"a.png": np.zeros((8, 8))}, "is not an ADEval pickle"),
        ("aupimo", {"asmaps": [1]}, "is not an asmaps.pt"),
        ("ader", {"anomaly_maps": []}, "is not a result of ADer"),
        ("anomalib", [{"image_path": ["a"]}], "without anomaly_map or image_path"),
    ],
)
def test_a_wrong_pickle_says_what_is_wrong(tmp_path: Path, key: str, content: Any, complaint: str) -> None:
    torch = pytest.importorskip("torch")
    if key == "adeval":
        (tmp_path / "bottle.pkl").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / {"aupimo": "asmaps.pt", "ader": "0.pth", "anomalib": "p.pt"}[key])
    with pytest.raises(InputError, match=complaint):
        import_maps(tmp_path, reader=key, limits=TRUSTED)


def test_unknown_readers_and_folders_name_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        choose_reader(tmp_path / "nowhere")
    with pytest.raises(InputError, match="did you mean patchcore"):
        choose_reader(tmp_path, "patchcor")
    with pytest.raises(InputError, match="no reader recognises"):
        choose_reader(tmp_path)


@pytest.mark.parametrize("as_stored", ["bytes", "bytes object", "text object", "path object"])
def test_places_and_categories_are_text_however_a_dump_stores_them(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, as_stored: str
) -> None:
    maps = make_maps(16)
    make = {"bytes object": str.encode, "path object": Path}.get(as_stored, str)

    def stored(names: list[str]) -> Any:
        return np.array(names, "S") if as_stored == "bytes" else np.array([make(name) for name in names], object)

    for category, members in by_category(maps).items():
        stack, paths = np.stack([maps[s] for s in members]), [f"{s.name}.png" for s in members]
        np.savez(tmp_path / f"{category}.npz", segmentations=stack, paths=stored(paths))
    if as_stored != "bytes":
        with pytest.raises(InputError, match="member paths: it holds pickled objects: pass --allow-pickle"):
            import_maps(tmp_path, samples)
    assert_same(import_maps(tmp_path, samples, limits=TRUSTED), maps)
    uniad = tmp_path / "uniad"
    write_uniad(uniad, maps)
    for file in uniad.iterdir():
        with np.load(file) as members:
            np.savez(file, **{key: value.astype("S") if value.dtype.kind == "U" else value
                              for key, value in members.items()})  # fmt: skip
    assert_same(import_maps(uniad), maps)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({make(f"{s.name}.png"): (maps[s], 0.0, None) for s in maps}))
    assert_same(import_maps(tmp_path / "a.pkl", samples, limits=TRUSTED), maps)


@pytest.mark.parametrize("ending", [".NPY", ".NPZ", ".TIF", ".Tiff", ".CSV"])
def test_endings_may_be_written_in_capitals(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, ending: str
) -> None:
    maps = make_maps(8)

    def save(file: Path, scores: NDArray[Any]) -> None:
        with file.open("wb") as out:
            {"n": np.save, ".npz": np.savez, "c": partial(np.savetxt, delimiter=","), "t": tifffile.imwrite}[
                ".npz" if ending == ".NPZ" else ending[1].lower()
            ](out, scores)

    save_each(tmp_path, maps, ending, save)
    assert_same(import_maps(tmp_path, samples), maps)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("how", ["dict", "dict of paths", "file per image", "batch dict", "list of batch dicts"])
def test_what_torch_saves_is_read_where_it_names_the_images(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps, how: str, kind: str
) -> None:
    torch = pytest.importorskip("torch")
    tensors = {s: torch.from_numpy(m).to(getattr(torch, kind)) for s, m in make_maps(16).items()}
    maps = {sample: tensor.float().numpy() for sample, tensor in tensors.items()}
    if how == "file per image":
        save_each(tmp_path, tensors, ".pth", lambda file, tensor: torch.save(tensor[None], file))
    elif how.startswith("dict"):
        make = Path if how == "dict of paths" else str
        torch.save({make(f"{s.name}.png"): tensor for s, tensor in tensors.items()}, tmp_path / "maps.pt")
    else:
        parts = [list(tensors)] if how == "batch dict" else [list(tensors)[:5], list(tensors)[5:]]
        batches = [{"anomaly_map": torch.stack([tensors[s] for s in part])[:, None],
                    "image_path": [s.image_path for s in part]} for part in parts]  # fmt: skip
        torch.save(batches[0] if how == "batch dict" else batches, tmp_path / "maps.pt")
    with pytest.raises(InputError, match="pass --allow-pickle"):
        import_maps(tmp_path, samples)
    imported = import_maps(tmp_path, samples, limits=TRUSTED)
    assert imported.reader.key == ("anomalib" if "batch" in how else "torch")
    assert_same(imported, maps)


def test_maps_that_torch_saved_without_names_are_refused_with_the_remedy(
    tmp_path: Path, samples: Sequence[Sample]
) -> None:
    torch = pytest.importorskip("torch")
    for content in ([torch.zeros(7, 16, 16)], [torch.zeros(16, 16)], {}, None):
        torch.save(content, tmp_path / "maps.pt")
        with pytest.raises(InputError, match=r"does not say which map is of which image; torch\.save a dict of"):
            import_maps(tmp_path, samples, limits=TRUSTED)


def test_a_model_of_torch_beside_maps_is_left_over(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"layer.weight": torch.zeros(3, 3)}, tmp_path / "model.pt")
    for ending, save in ((".png", lambda file, m: Image.fromarray((80 * m).astype(np.uint8)).save(file)),
                         (".npy", np.save)):  # fmt: skip
        save_each(tmp_path, make_maps(8), ending, save)
        imported = import_maps(tmp_path, samples)
        assert (imported.reader.key, imported.problems) == ("plain", {})
        assert "model.pt" in imported.suspicions[""][0].text


def test_arrays_go_before_tiff_in_mvtecs_layout_too(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(8)
    save_each(tmp_path, maps, ".tiff", lambda file, scores: tifffile.imwrite(file, scores.astype(np.float16)))
    save_each(tmp_path, maps, ".npy", np.save)
    imported = import_maps(tmp_path, samples)
    assert_same(imported, maps)
    assert [suspicion.kind for suspicion in imported.suspicions[""]] == ["not_taken"]
