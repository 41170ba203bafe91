"""Every test image has exactly one map, by path; what does not fit is listed."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from aseg_bench.errors import InputError
from aseg_bench.predictions.matching import Match, matched, samples_of
from aseg_bench.predictions.records import Found, FoundMap
from aseg_bench.predictions.stacks import by_folders, by_glob
from aseg_bench.records import Sample


def found(*places: str | None, category: str | None = None) -> Found:
    """Maps of places, all different."""
    return Found(
        [FoundMap(Path("dump.npz"), partial(np.full, (2, 2), n), place, category) for n, place in enumerate(places)]
    )


def names(samples: Sequence[Sample], style: str) -> list[str]:
    return [style.format(s=sample) for sample in samples]


@pytest.mark.parametrize(
    "style",
    [
        "{s.category}/test/{s.defect}/{s.stem}.png",
        "/elsewhere/mvtec/{s.category}/test/{s.defect}/{s.stem}.bmp",
        "C:\\data\\{s.category}\\test\\{s.defect}\\{s.stem}.png",
        "{s.category}/{s.defect}/{s.stem}",
        "{s.category}_test_{s.defect}_{s.stem}.png",
        "{s.category}_{s.defect}_{s.stem}.png",
        "{s.image_path}",
    ],
)
def test_a_path_matches_from_the_category_down_whatever_stands_before(samples: Sequence[Sample], style: str) -> None:
    match = matched(found(*names(samples, style)), samples)
    assert not match.problems
    for members in match.maps.values():
        assert [item.place for _, item in members] == names([sample for sample, _ in members], style)


def test_a_path_may_leave_out_the_category_where_that_is_unique(samples: Sequence[Sample]) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle"]
    assert not matched(found(*names(bottle, "{s.defect}/{s.stem}.png")), bottle).problems
    with pytest.raises(InputError, match=r"may be any of bottle/test/bent/000, metal_nut/test/bent/000"):
        matched(found(*names(samples, "{s.defect}/{s.stem}.png")), samples)


def test_visa_images_match_by_the_layout_they_were_released_in() -> None:
    image = Path("/data/visa/candle/Data/Images/Anomaly/000.JPG")
    sample = Sample("visa", "candle", "test", "bad", "000", image, image)
    for place in ("candle/Data/Images/Anomaly/000.JPG", "candle/test/bad/000.JPG"):
        assert not matched(found(place), [sample]).problems


def test_missing_double_and_unknown_maps_are_listed_first_five_and_the_count(samples: Sequence[Sample]) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle"]
    places = names(samples, "{s.name}.png")
    strangers = [f"bottle/test/left_over/{number}.png" for number in range(7)]
    match = matched(found(*places[1:], places[-1], *strangers), samples)
    assert match.problems["bottle"] == [f"images without a map: {bottle[0].name}"]
    assert (
        "images with more than one map: metal_nut/test/good/001 (in dump.npz, dump.npz)"
        in (match.problems["metal_nut"][0])
    )
    assert "left_over/4.png" in match.problems[""][0]
    assert "left_over/5.png" not in match.problems[""][0]
    assert "and 2 more (of 7)" in match.problems[""][0]
    assert not match.maps


def test_a_wrong_folder_is_never_matched_by_its_file_name_alone(samples: Sequence[Sample]) -> None:
    one = [sample for sample in samples if sample.name == "bottle/test/bent/000"]
    assert matched(found("bottle/test/broken/000.png"), one).problems
    assert matched(found("screw/test/bent/000.png"), one).problems
    assert not matched(found("000.png"), one).problems


def test_a_category_that_the_data_set_lacks_leaves_the_others_whole(samples: Sequence[Sample]) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle"]
    match = matched(found(*names(samples, "{s.name}.png")), bottle)
    assert list(match.maps) == ["bottle"]
    assert "maps of images that are not in the data set: metal_nut/" in match.problems[""][0]


def test_maps_without_names_are_matched_only_where_the_format_fixes_the_order(samples: Sequence[Sample]) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle"]
    unnamed = found(*[None] * len(bottle), category="mvtec_bottle")
    with pytest.raises(InputError, match="its format fixes no order"):
        matched(unnamed, bottle)
    match = matched(Found(unnamed.maps, order=by_glob), bottle[::-1])
    assert [sample for sample, _ in match.maps["bottle"]] == sorted(bottle, key=lambda s: str(s.image_path))
    short = matched(Found(unnamed.maps[1:], order=by_folders), bottle)
    assert short.problems["bottle"][0].startswith("5 maps (in dump.npz) for 6 images (2 normal), and only their order")
    strange = found(*[None] * len(bottle), category="screw")
    assert "maps of categories that are not" in matched(Found(strange.maps, order=by_glob), bottle).problems[""][0]


def test_sorted_folders_and_sorted_paths_differ_where_a_name_goes_on_after_a_hyphen() -> None:
    def sample(defect: str) -> Sample:
        return Sample("d", "c", "test", defect, "0", Path(f"c/test/{defect}/0.png"), Path("m.png"))

    pair = [sample("bad"), sample("bad-2")]
    assert sorted(pair, key=by_folders) == pair
    assert sorted(pair, key=by_glob) == pair[::-1]


@pytest.mark.parametrize(
    ("name", "said"), [("mean", "is named mean, as the mean of all is"), ("caf\udce9", "is not UTF-8")]
)
def test_no_category_of_a_dump_has_a_name_that_no_table_can_print(name: str, said: str) -> None:
    item = FoundMap(Path("a.npz"), np.empty, f"{name}/test/good/0.png", name, lambda: np.zeros(1))
    with pytest.raises(InputError, match=rf"the category of a\.npz {said}; rename it"):
        samples_of(Found([item]), "maps")


def test_a_dump_with_its_own_truth_needs_masks_and_categories() -> None:
    with pytest.raises(InputError, match="carries no truth mask; name its data set"):
        samples_of(found("bottle/test/good/0.png", category="bottle"), "maps")


def of_files(*files: str) -> Found:
    """Maps that lie in files named like their images, all different; pictures hold fewer numbers than arrays."""
    items = [FoundMap(Path("/dump", file), partial(np.full, (2, 2), n), file, loss=file.endswith(".png"))
             for n, file in enumerate(files)]  # fmt: skip
    return Found(items)


def images(*names: str) -> list[Sample]:
    """Images of the category bolt, by defect and file name."""
    parts = [name.split("/") for name in names]
    return [Sample("d", "bolt", "test", defect, Path(file).stem, Path("/data/bolt/test", defect, file))
            for defect, file in parts]  # fmt: skip


def taken(match: Match) -> dict[str, str | None]:
    assert not match.problems
    return {sample.stem: item.place for sample, item in match.maps["bolt"]}


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_match_in_either_form_of_unicode(forms: tuple[str, str]) -> None:
    on_disk, in_dump = ([unicodedata.normalize(form, name) for name in ("나사", "흠집", "é")] for form in forms)
    category, defect, stem = on_disk
    sample = Sample("d", category, "test", defect, stem, Path("/data", category, "test", defect, f"{stem}.png"))
    for place in ("{}/test/{}/{}.npy", "{}_{}_{}.npy", "/x/{}/{}/{}.png"):
        assert not matched(found(place.format(*in_dump)), [sample]).problems
    ordered = matched(Found(found(None, category=in_dump[0]).maps, order=by_glob), [sample])
    assert not ordered.problems


@pytest.mark.parametrize("place", ["{}.png", "{}", "{}.npy", "{}.png.npy", "{}.JPG.NPY", "{}_anomaly_map.npy",
                                   "{}.png_heatmap.tiff", "{}_MASK.npy", "{}_scores"])  # fmt: skip
def test_dots_endings_and_usual_tails_do_not_hide_the_image_that_a_map_is_of(place: str) -> None:
    samples = images("cut/img.v1.png", "cut/img.v2.png", "cut/7.png")
    places = [f"bolt/test/cut/{place.format(sample.stem)}" for sample in samples]
    assert list(taken(matched(found(*places), samples)).values()) == places


def test_an_exact_name_goes_before_one_that_is_near() -> None:
    samples = images("cut/0.png", "cut/0_mask.png", "cut/0.v2.png", "cut/0_map.png")
    names = ["0", "0_mask", "0.v2", "0_map"]
    places = [f"bolt/test/cut/{name}" for name in names]
    assert taken(matched(found(*places), samples)) == dict(zip(names, places, strict=True))
    match = matched(of_files("bolt/cut/0.npy", "bolt/cut/0_mask.npy"), samples[:1])
    assert taken(match) == {"0": "bolt/cut/0.npy"}
    assert match.not_taken == [Path("/dump/bolt/cut/0_mask.npy")]
    both = matched(of_files("bolt/cut/0_score.npy", "bolt/cut/0_map.npy"), samples[:1])
    assert "images with more than one map: bolt/test/cut/0" in both.problems["bolt"][0]
    with pytest.raises(InputError, match="may be any of bolt/test/cut/x, bolt/test/cut/x_anomaly"):
        matched(found("bolt/cut/x_anomaly_map.npy"), images("cut/x.png", "cut/x_anomaly.png"))


def test_the_most_exact_kind_of_file_is_taken_and_the_others_are_named() -> None:
    samples = images("cut/0.png", "cut/1.png")
    match = matched(of_files("bolt/cut/0.npy", "bolt/cut/0.png", "bolt/cut/0_overlay.png", "bolt/cut/1.npy"), samples)
    assert taken(match) == {"0": "bolt/cut/0.npy", "1": "bolt/cut/1.npy"}
    assert match.not_taken == [Path("/dump/bolt/cut/0.png")]
    assert match.passed_over == [Path("/dump/bolt/cut/0_overlay.png")]
    mixed = matched(of_files("bolt/cut/0.npy", "bolt/cut/1.png"), samples)
    assert taken(mixed) == {"0": "bolt/cut/0.npy", "1": "bolt/cut/1.png"}


def test_a_map_without_an_image_is_told_what_the_nearest_is_named() -> None:
    (text,) = matched(found("bolt/test/cut/007-old.npy"), images("cut/006.png", "cut/007.png")).problems[""]
    assert "name a map like its image, for instance bolt/test/cut/007, or write" in text


def test_images_that_are_there_twice_with_one_map_count_once_and_are_named() -> None:
    samples = images("cut/0.png", "cut/1.png", "good/0.png")
    maps = [FoundMap(Path("rank0.pth"), partial(np.full, (2, 2), n), sample.name) for n, sample in enumerate(samples)]
    match = matched(Found([*maps, *maps[:2]]), samples)
    assert [item for _, item in match.maps["bolt"]] == maps
    assert match.doubles["bolt"].text.startswith("2 images were there more than once with the same map, first bolt/")
    other = replace(maps[0], read=partial(np.ones, (2, 2)))
    assert "images with more than one map" in matched(Found([*maps, other]), samples).problems["bolt"][0]


def own(place: str, mask: float, scores: float = 0) -> FoundMap:
    return FoundMap(Path("d.npz"), partial(np.full, (2, 2), scores), place, "bolt", partial(np.full, (2, 2), mask))


def test_doubles_of_a_dump_with_its_own_truth_count_once_where_maps_and_masks_are_equal() -> None:
    item = own("bolt/test/cut/0.png", 1)
    match = samples_of(Found([item, own("bolt/test/cut/0.png", 1), own("bolt/test/good/0.png", 0)]), "maps")
    assert [sample.name for sample, _ in match.maps["bolt"]] == ["bolt/test/cut/0", "bolt/test/good/0"]
    assert match.doubles["bolt"].kind == "doubled"
    for other in (own("bolt/test/cut/0.png", 0), own("bolt/test/cut/0.png", 1, scores=1)):
        assert "two maps are of bolt/test/cut/0" in samples_of(Found([item, other]), "maps").problems["bolt"][0]


def test_the_folder_says_which_images_of_a_dump_are_normal_and_the_mask_where_no_folder_does() -> None:
    def normal(*items: FoundMap, rule: str = ">0") -> list[bool]:
        return [not sample.is_anomalous for sample, _ in samples_of(Found(items), "maps", rule).maps["bolt"]]

    assert normal(own("bolt/test/OK/0.bmp", 1), own("bolt/test/ng/1.bmp", 0)) == [True, False]
    assert normal(own("bolt/test/0k/0.bmp", 0), own("bolt/test/ko/0.bmp", 0), own("bolt/img/1.bmp", 1)) == [
        True, True, False]  # fmt: skip
    for rule, is_normal in ((">127", True), ("=0", True), ("=1", False), ("ignore=1", True), ("ignore=2", False)):
        assert normal(own("bolt/a/0.bmp", 1), rule=rule) == [is_normal]
