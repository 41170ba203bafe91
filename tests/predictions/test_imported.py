"""A dump becomes categories that can be scored, or one clear error."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from aseg_bench.errors import InputError
from aseg_bench.predictions.imported import import_maps
from aseg_bench.predictions.maps_method import MapsMethod
from aseg_bench.records import Sample, grouped
from aseg_bench.runs.scores import merge_runs
from aseg_bench.scoring.dumps import score_dump

Maps = dict[Sample, NDArray[np.float32]]


def write_plain(folder: Path, maps: Maps) -> None:
    for sample, scores in maps.items():
        file = folder / f"{sample.name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, scores)


def test_a_dump_is_scored_like_its_maps_in_memory(
    tmp_path: Path, samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> None:
    write_plain(tmp_path, make_maps(80))
    (tmp_path / "notes.txt").write_text("left over")
    scored = score_dump(import_maps(tmp_path, samples), "mine")
    assert {score.case.category for score in scored.scores} == {"bottle", "metal_nut"}
    assert all(score.protocol == "exact" and score.case.dataset == "mvtec_ad" for score in scored.scores)
    (finding,) = grouped(scored.findings, 2)
    assert finding == f"mine: 1 files hold no map and were left out, first {tmp_path / 'notes.txt'}"
    values = {(key.category, key.metric): result.value for key, result in merge_runs([scored.scores]).items()}
    assert values["mean", "pixel_auroc"] == pytest.approx(
        (values["bottle", "pixel_auroc"] + values["metal_nut", "pixel_auroc"]) / 2,
        abs=1e-15,  # type: ignore[operator]
    )


def test_bad_categories_stop_the_run_or_with_keep_going_are_left_out(
    tmp_path: Path, samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> None:
    maps = make_maps(80)
    write_plain(tmp_path, maps)
    broken = next(sample for sample in samples if sample.category == "bottle")
    np.save(tmp_path / f"{broken.name}.npy", np.full((80, 80), np.nan))
    imported = import_maps(tmp_path, samples)
    with pytest.raises(InputError, match=r"1 of 6 maps of bottle are bad: score is nan at bottle/test/bent/000, pixel"):
        score_dump(imported, "mine")
    scored = score_dump(imported, "mine", keep_going=True)
    assert {score.case.category for score in scored.scores} == {"metal_nut"}
    assert len(scored.failures) == 1
    (tmp_path / f"{broken.name}.npy").unlink()
    with pytest.raises(InputError, match=r"bottle: images without a map: bottle/test/bent/000\. With --keep-going"):
        score_dump(import_maps(tmp_path, samples), "mine")


def test_a_truncated_file_is_named_and_with_keep_going_only_its_category_is_lost(
    tmp_path: Path, samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> None:
    for category in ("bottle", "metal_nut"):
        maps = [scores for sample, scores in make_maps(32).items() if sample.category == category]
        np.savez(tmp_path / f"{category}.npz", output_segmentation=np.stack(maps))
    whole = (tmp_path / "bottle.npz").read_bytes()
    (tmp_path / "bottle.npz").write_bytes(whole[: len(whole) // 2])
    imported = import_maps(tmp_path, samples)
    with pytest.raises(InputError, match=r"1 files cannot be used: cannot read .*bottle\.npz"):
        score_dump(imported, "mine")
    scored = score_dump(imported, "mine", keep_going=True)
    assert {score.case.category for score in scored.scores} == {"metal_nut"}


def test_links_are_followed_and_one_that_leads_nowhere_is_a_bad_file_among_others(
    tmp_path: Path, samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> None:
    dump = tmp_path / "dump"
    write_plain(dump, make_maps(80))
    linked = sorted(dump.rglob("*.npy"))
    for number, file in enumerate(linked):  # as DVC and git-annex leave a folder
        file.symlink_to(file.rename(tmp_path / f"{number}.npy"))
    scored = score_dump(import_maps(dump, samples), "mine")
    assert len(scored.scores)
    (said,) = [finding.text for finding in scored.findings if finding.kind == "links"]
    assert said.startswith(f"{len(linked)} files are links that lead out of {dump} and were followed, first {dump}")
    file = dump / f"{next(sample for sample in samples if sample.category == 'bottle').name}.npy"
    (tmp_path / f"{linked.index(file)}.npy").unlink()
    imported = import_maps(dump, samples)
    with pytest.raises(InputError, match=r"1 of \d+ maps of bottle are bad: cannot read .*000\.npy"):
        score_dump(imported, "mine")
    scored = score_dump(imported, "mine", keep_going=True)
    assert {score.case.category for score in scored.scores} == {"metal_nut"}


def test_maps_of_mixed_sizes_are_refused_unless_they_are_their_images_sizes(
    tmp_path: Path, samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> None:
    maps = make_maps(40)
    maps[next(iter(maps))] = np.zeros((20, 20), np.float32)
    write_plain(tmp_path, maps)
    first = next(iter(maps)).category
    with pytest.raises(InputError, match=r"differ in size \(20 x 20, 40 x 40\)"):
        import_maps(tmp_path, samples).read(first)


def test_some_categories_of_a_dump_can_be_taken(
    tmp_path: Path, samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> None:
    write_plain(tmp_path, make_maps(80))
    imported = import_maps(tmp_path, samples, categories=["bottle"])
    assert not imported.problems
    assert list(imported.found) == ["bottle"]
    with pytest.raises(InputError, match="has no category botle; did you mean bottle"):
        import_maps(tmp_path, samples, categories=["botle"])
    bottle = [sample for sample in samples if sample.category == "bottle"]
    method = MapsMethod("mine", tmp_path)
    assert len(list(method.predict(bottle))) == len(bottle)
    (finding,) = method.findings
    assert "maps of images that are not in the data set: metal_nut" in finding.text


def test_most_inverted_categories_are_one_warning(
    tmp_path: Path, samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> None:
    write_plain(tmp_path, {sample: -scores for sample, scores in make_maps(80).items()})
    warnings = grouped(score_dump(import_maps(tmp_path, samples), "mine").findings, 2)
    about_sign = [text for text in warnings if "pixel AUROC" in text]
    assert len(about_sign) == 1
    assert about_sign[0].startswith("mine, bottle, metal_nut: pixel AUROC is 0.")


def test_imported_maps_predict_like_a_live_method(
    tmp_path: Path, samples: Sequence[Sample], make_maps: Callable[[int], Maps]
) -> None:
    maps = make_maps(80)
    write_plain(tmp_path, maps)
    method = MapsMethod("mine", tmp_path)
    method.fit([])
    predicted = list(method.predict(samples))
    assert [item.sample for item in predicted] == list(samples)
    for item in predicted:
        np.testing.assert_array_equal(item.scores, maps[item.sample])
    (tmp_path / f"{samples[0].name}.npy").unlink()
    with pytest.raises(InputError, match="images without a map"):
        next(method.predict(samples))


def of_pictures(
    folder: Path, pictures: Sequence[tuple[int, int, int]], transform: Callable[[NDArray[np.float64]], NDArray[Any]]
) -> tuple[list[Sample], list[NDArray[np.float64]]]:
    """JPEG pictures of stored (height, width, EXIF orientation), and their maps in ``dump/``.

    Returns:
        The samples and the maps as they lie upright, of which ``transform`` of the picture as stored was written.
    """
    rng = np.random.default_rng(0)
    samples, upright = [], []
    for number, (height, width, turn) in enumerate(pictures):
        path = folder / f"{number}.jpg"
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.new("L", (width, height)).save(path, exif=exif)
        samples.append(Sample("d", "bolt", "test", "good", str(number), path))
        with Image.fromarray(rng.random((height, width)).astype(np.float32)) as stored:
            stored.getexif()[0x0112] = turn
            upright.append(np.asarray(ImageOps.exif_transpose(stored)))
            file = folder / "dump" / f"{samples[-1].name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, transform(np.asarray(stored)))
    return samples, upright


def read(folder: Path, samples: Sequence[Sample]) -> tuple[Sequence[NDArray[Any]], dict[str, str]]:
    category = import_maps(folder / "dump", samples).read("bolt")
    return category.maps, {suspicion.kind: suspicion.text for suspicion in category.suspicions}


def test_maps_of_the_swapped_size_of_all_pictures_are_transposed_and_said(tmp_path: Path) -> None:
    samples, upright = of_pictures(tmp_path, [(8, 12, 1), (10, 10, 1), (8, 12, 1)], np.transpose)
    maps, found = read(tmp_path, samples)
    assert "transposed" in found["transposed"]
    for scores, expected in zip(maps, upright, strict=True):
        np.testing.assert_array_equal(scores, expected)


def test_maps_of_which_one_has_its_pictures_size_are_not_transposed(tmp_path: Path) -> None:
    samples, _ = of_pictures(tmp_path, [(8, 12, 1), (8, 12, 1)], np.transpose)
    np.save(tmp_path / "dump" / f"{samples[0].name}.npy", np.eye(8, 12))
    with pytest.raises(InputError, match="differ in size"):
        read(tmp_path, samples)


@pytest.mark.parametrize(
    ("transform", "is_odd"),
    [(lambda m: m.T[::2, ::2], True), (lambda m: m[::2, ::2], False), (lambda m: m[:6, :6], False)],
)
def test_maps_in_the_proportions_of_transposed_pictures_are_only_said(
    tmp_path: Path, transform: Callable[[NDArray[Any]], NDArray[Any]], is_odd: bool
) -> None:
    samples, upright = of_pictures(tmp_path, [(8, 12, 1), (8, 12, 1)], transform)
    maps, found = read(tmp_path, samples)
    assert ("transposed" in found) == is_odd
    np.testing.assert_array_equal(maps[0], transform(upright[0]))


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_maps_of_the_stored_size_of_turned_pictures_are_turned_like_them_and_said(tmp_path: Path, turn: int) -> None:
    samples, upright = of_pictures(tmp_path, [(8, 12, turn), (12, 8, 3), (12, 12, turn), (12, 8, 1)], np.copy)
    maps, found = read(tmp_path, samples)
    assert found["exif"].startswith("3 maps have the size of their pictures as stored")
    for scores, expected in zip(maps, upright, strict=True):
        np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize(
    ("picture", "is_said"), [((8, 12, 6), False), ((8, 12, 3), True), ((12, 12, 6), True), ((8, 12, 1), False)]
)
def test_maps_are_upright_where_sizes_do_not_tell_which_is_said(
    tmp_path: Path, picture: tuple[int, int, int], is_said: bool
) -> None:
    samples, upright = of_pictures(tmp_path, [picture], np.copy)
    np.save(tmp_path / "dump" / f"{samples[0].name}.npy", upright[0])
    maps, found = read(tmp_path, samples)
    np.testing.assert_array_equal(maps[0], upright[0])
    assert ("exif" in found) == is_said
