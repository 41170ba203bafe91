import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from aseg_bench.datasets import find_samples
from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.predictions.store import MapStore
from aseg_bench.records import AnomalyMap, Case, Sample, Score
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.runner import run as run_plan
from aseg_bench.runs.scores import read_scores
from aseg_bench.scoring.categories import score_category
from tests.conftest import Distance, Installed, facts_of, write_category


def run(plan: RunPlan) -> list[Score]:
    return list(run_plan(plan).scores)


@pytest.fixture
def plan(tiny: Path, installed: Installed) -> RunPlan:
    return RunPlan(["near"], "mvtec_ad", tiny.parent / "out", tiny, options=MethodOptions(quiet=True))


def test_scores_are_those_of_the_stored_maps(plan: RunPlan) -> None:
    scores = run(plan)
    assert scores == read_scores(plan.out / "scores.csv")
    test = [sample for sample in find_samples(plan.dataset, plan.data_root) if sample.split == "test"]
    by_hand = []
    for category in ("bolt", "nut"):
        samples = [sample for sample in test if sample.category == category]
        maps = MapStore(plan.out / "maps").maps("near", samples)
        by_hand += score_category(Case("near", "mvtec_ad", category), samples, maps).scores
    assert scores == by_hand


class Coarse(Distance):
    """Random maps of a quarter of the images' height and a third of their width."""

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        random = np.random.default_rng(0)
        yield from (AnomalyMap(sample, random.normal(size=(6, 11)).astype(np.float32)) for sample in samples)


def stretched(scores: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear resampling by its definition: the centre of each new pixel between the centres of the old ones."""

    def between(index: int, new: int, old: int) -> tuple[int, int, float]:
        place = min(max((index + 0.5) * old / new - 0.5, 0), old - 1)
        return int(place), min(int(place) + 1, old - 1), place % 1

    made = np.empty((height, width))
    for row, column in np.ndindex(height, width):
        (top, bottom, down), (left, right, across) = between(row, height, 6), between(column, width, 11)
        above = scores[top, left] * (1 - across) + scores[top, right] * across
        below = scores[bottom, left] * (1 - across) + scores[bottom, right] * across
        made[row, column] = above * (1 - down) + below * down
    return made


def test_maps_are_kept_in_the_models_size_or_bilinearly_resized_to_the_image(
    plan: RunPlan, installed: Installed
) -> None:
    installed.add(facts_of("coarse", build=lambda options: Coarse("coarse", options)))
    coarse = replace(plan, methods=["coarse"])
    run(coarse)
    run(replace(coarse, out=plan.out / "sized", map_size="image"))
    test = [sample for sample in find_samples(plan.dataset, plan.data_root) if sample.split == "test"]
    small, large = (MapStore(folder / "maps").maps("coarse", test) for folder in (plan.out, plan.out / "sized"))
    assert {scores.shape for scores in small} == {(6, 11)}
    for first, second in zip(small, large, strict=True):
        np.testing.assert_allclose(second, stretched(first, 24, 32), atol=1e-5)


def test_methods_are_in_the_order_of_the_plan_however_they_came(plan: RunPlan) -> None:
    run(replace(plan, methods=["far"]))
    scores = run(replace(plan, methods=["near", "far"]))
    assert list(dict.fromkeys(score.case.method for score in scores)) == ["near", "far"]


def test_a_folder_keeps_the_scores_of_earlier_methods(plan: RunPlan, installed: Installed) -> None:
    first = run(plan)
    both = run(replace(plan, methods=["far"]))
    assert both[: len(first)] == first
    assert installed.diary == ["near fit 8", "near predict 10", "far fit 8", "far predict 10"]


def test_a_method_is_scored_before_the_next_is_trained(plan: RunPlan, installed: Installed) -> None:
    installed.interrupt = "far fit"
    with pytest.raises(KeyboardInterrupt):
        run(replace(plan, methods=["near", "far"]))
    assert {score.case.method for score in read_scores(plan.out / "scores.csv")} == {"near"}
    cases = json.loads((plan.out / "run.json").read_text())["cases"]
    assert {key: "seconds" in case for key, case in cases.items()} == {"near/mvtec_ad": True, "far/mvtec_ad": False}


def test_methods_may_change_the_protocol_together(plan: RunPlan, installed: Installed) -> None:
    both = replace(plan, methods=["near", "far"])
    run(both)
    scores = run(replace(both, protocol="native"))
    assert {(score.case.method, score.protocol) for score in scores} == {("near", "native"), ("far", "native")}
    assert len(installed.diary) == 4


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("place", ["near fit", "far predict"])
def test_overwriting_that_was_stopped_goes_on_without_it(
    plan: RunPlan, installed: Installed, seed: int, place: str
) -> None:
    first = run(replace(plan, methods=["near", "far"]))
    other = run(replace(plan, methods=["far"], dataset="visa"))[len(first) :]
    anew = replace(plan, methods=["near", "far"], options=replace(plan.options, seed=seed))
    installed.interrupt = place
    with pytest.raises(KeyboardInterrupt):
        run(replace(anew, overwrite=True))
    done = [] if place == "near fit" else ["near"]
    kept = read_scores(plan.out / "scores.csv")
    assert [score for score in kept if score.case.dataset == "visa"] == other
    assert list(dict.fromkeys(score.case.method for score in kept if score.case.dataset != "visa")) == done
    installed.diary.clear()
    installed.interrupt = ""
    assert set(run(anew)) == {*first, *other}
    again = [name for name in ("near", "far") if name not in done]
    assert installed.diary == [f"{name} {work}" for name in again for work in ("fit 8", "predict 10")]


def test_a_lost_map_is_made_again(plan: RunPlan, installed: Installed) -> None:
    first = run(plan)
    next((plan.out / "maps").rglob("*.tiff")).unlink()
    assert run(plan) == first
    assert installed.diary == ["near fit 8", "near predict 10"] * 2


def test_a_map_of_no_image_is_refused(plan: RunPlan) -> None:
    run(plan)
    stray = plan.out / "maps/near/mvtec_ad/bolt/test/hole/stray.tiff"
    stray.write_bytes(b"")
    with pytest.raises(InputError, match=r"1 maps of near belong to no test image, first .*stray.tiff"):
        run(plan)


def test_other_methods_of_a_folder_must_be_of_the_same_images(plan: RunPlan, tiny: Path) -> None:
    run(plan)
    write_category(tiny, "screw")
    with pytest.raises(InputError, match="holds near on other images or categories"):
        run(replace(plan, methods=["far"]))
    with pytest.raises(InputError, match="holds near on other images or categories"):
        run(replace(plan, methods=["far"], overwrite=True))
    scores = run(replace(plan, overwrite=True))
    assert {score.case.category for score in scores} == {"bolt", "nut", "screw"}


def test_scores_of_other_test_images_are_refused_before_the_work(plan: RunPlan, installed: Installed) -> None:
    scores = run(plan)
    other = [replace(score, case=replace(score.case, method="dump"), n_images=4) for score in scores]
    RunFolder(plan.out).write_scores([*scores, *other])
    installed.diary.clear()
    with pytest.raises(InputError, match="different numbers of test images"):
        run(replace(plan, methods=["far"]))
    assert installed.diary == []


@dataclass(frozen=True)
class Numbers:
    n_steps: int = 600
    levels: tuple[int, ...] = (1, 2)
    rotate: frozenset[str] = frozenset({"nut", "bolt"})


class Described(Distance):
    about: ClassVar[dict[str, object]] = {"all_settings": {"n_steps": 500, "levels": [1, 2], "rotate": ["bolt", "nut"]}}


def test_a_finished_case_of_a_preset_that_has_changed_since_is_refused(plan: RunPlan, installed: Installed) -> None:
    presets = {"cpu": Numbers(n_steps=500)}
    installed.add(facts_of("described", build=lambda options: Described("described", options), presets=lambda: presets))
    plan = replace(plan, methods=["described"])
    assert run(plan) == run(plan)
    presets["cpu"] = Numbers()
    with pytest.raises(InputError, match="with n_steps 500, not 600, to which the preset cpu has changed it"):
        run(plan)


def test_a_record_that_is_none_is_refused(plan: RunPlan) -> None:
    plan.out.mkdir()
    (plan.out / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run.json is damaged \('datasets'\); move it away"):
        run(plan)


class Careless:
    name = "careless"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def fit(self, train: object) -> None:
        pass

    def predict(self, samples):  # type: ignore[no-untyped-def]
        for index, sample in enumerate(samples):
            scores = np.zeros((4, 4), np.float32)
            if index == 2 and self.fault == "nan":
                scores[1, 3] = np.nan
            if not (index == 2 and self.fault == "missing"):
                yield AnomalyMap(sample, scores)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "careless gave no map for 1 images, first bolt/test/hole/000"),
        ("nan", r"bolt/test/hole/000 is nan at pixel \(1, 3\)"),
    ],
)
def test_a_careless_method_is_named_with_the_image(plan: RunPlan, installed: Installed, fault: str, said: str) -> None:
    installed.add(facts_of("careless", build=lambda options: Careless(fault)))
    with pytest.raises(InputError, match=said):
        run(replace(plan, methods=["careless"]))


def test_half_precision_maps_are_stored_as_such(plan: RunPlan) -> None:
    import tifffile

    findings = [text for text in run_plan(replace(plan, half=True)).findings if "--half" in text]
    assert len(findings) == 1
    assert re.match(r"Near: --half merges scores: [\d,]+ of the [\d,]+ float16 values", findings[0])
    assert {tifffile.imread(path).dtype for path in (plan.out / "maps").rglob("*.tiff")} == {np.dtype(np.float16)}


def test_a_category_without_defects_is_undefined_and_said_so(plan: RunPlan, tiny: Path) -> None:
    write_category(tiny, "pure", n_hole=0)
    results = run_plan(plan)
    (pure,) = [score for score in results.scores if (score.case.category, score.metric) == ("pure", "pixel_ap")]
    assert pure.value is None
    assert pure.undefined_because
    frame = results.to_frame().set_index(["category", "metric"])
    assert frame.loc["mean", "pixel_ap"]["undefined_because"] == "defined in 2 of 3 categories"
