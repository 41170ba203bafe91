"""Every test image has exactly one map, by path; what does not fit is listed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from aseg_bench.errors import InputError
from aseg_bench.predictions.matching import matched, samples_of
from aseg_bench.predictions.records import Found, FoundMap
from aseg_bench.predictions.stacks import by_folders, by_glob
from aseg_bench.records import Sample


def found(*places: str | None, category: str | None = None) -> Found:
    return Found([FoundMap(Path("dump.npz"), lambda: np.zeros((2, 2)), place, category) for place in places])


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
    assert short.problems["bottle"] == ["5 maps for 6 images, and only their order tells which"]
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
