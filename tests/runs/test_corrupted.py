"""Runs on corrupted data sets: only the images that are mapped are spoilt, and no training is done twice."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.records import Sample
from aseg_bench.reporting.report import report
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.readiness import preview
from aseg_bench.runs.results import Results
from aseg_bench.runs.runner import run
from aseg_bench.runs.standing import standings
from tests.conftest import Distance, Installed, facts_of

CLEAN, NOISY = "mvtec_ad", "mvtec_ad+noise@5"


class Keeping(Distance):
    """Keeps its mean image where trainings are kept, and takes it from there."""

    def fit(self, train: Sequence[Sample]) -> None:
        assert self.options.folder is not None
        assert not any(sample.corruption for sample in train)
        file = self.options.folder / "checkpoint.pt"
        if file.exists():
            self._mean = np.frombuffer(file.read_bytes()).reshape(24, 32)
            return
        super().fit(train)
        file.parent.mkdir(parents=True)
        file.write_bytes(np.asarray(self._mean, np.float64).tobytes())


@pytest.fixture
def plan(tiny: Path, installed: Installed) -> RunPlan:
    def build(options: MethodOptions) -> Keeping:
        return Keeping("kept", options, installed.diary)

    installed.add(facts_of("kept", build=build))
    return RunPlan(["kept"], CLEAN, tiny.parent / "out", tiny, options=MethodOptions(quiet=True))


def trainings(installed: Installed) -> list[str]:
    return [line for line in installed.diary if " fit " in line]


@pytest.mark.parametrize("first", [CLEAN, NOISY])
def test_a_training_is_of_the_clean_images_and_done_once(plan: RunPlan, installed: Installed, first: str) -> None:
    for dataset in (first, *{CLEAN, NOISY} - {first}, "mvtec_ad+jpeg@1"):
        run(replace(plan, dataset=dataset))
    assert trainings(installed) == ["kept fit 8"]
    means = {
        dataset: np.mean([score.value or 0 for score in RunFolder(plan.out).scores if score.case.dataset == dataset])
        for dataset in (CLEAN, NOISY)
    }
    assert means[NOISY] < means[CLEAN]


def test_overwriting_a_corrupted_set_keeps_the_training_of_the_clean_one(plan: RunPlan, installed: Installed) -> None:
    for dataset, overwrite in ((CLEAN, False), (NOISY, False), (NOISY, True)):
        run(replace(plan, dataset=dataset, overwrite=overwrite))
    assert len(trainings(installed)) == 1


def test_no_result_outlives_the_training_that_it_is_of(plan: RunPlan, installed: Installed) -> None:
    for dataset in (CLEAN, NOISY, "mvtec_ad+jpeg@1"):
        run(replace(plan, dataset=dataset))
    again = replace(plan, overwrite=True, options=replace(plan.options, seed=1))
    said = r"kept is trained again: its results on mvtec_ad\+noise@5, mvtec_ad\+jpeg@1 are of the training before"
    with pytest.warns(UserWarning, match=said):
        preview(again)
    assert {score.case.dataset for score in RunFolder(plan.out).scores} == {CLEAN, NOISY, "mvtec_ad+jpeg@1"}
    with pytest.warns(UserWarning, match=said):
        run(again)
    assert len(trainings(installed)) == 2
    folder = RunFolder(plan.out)
    assert {score.case.dataset for score in folder.scores} == {key for _, key in folder.record.cases} == {CLEAN}
    assert [folder.store.folder("kept", key).exists() for key in (CLEAN, NOISY)] == [True, False]
    assert {(one.dataset, one.state) for one in standings(plan.out)[0]} >= {(NOISY, "planned")}
    with pytest.raises(InputError, match=r"shares its training with mvtec_ad\+noise@5, with seed 1, not 0"):
        run(replace(plan, dataset=NOISY))
    run(replace(again, dataset=NOISY, overwrite=False))
    assert len(trainings(installed)) == 2


def test_maps_of_a_name_do_not_take_a_training_of_that_name(plan: RunPlan) -> None:
    run(replace(plan, dataset=NOISY))
    kept = RunFolder(plan.out).checkpoint_file("kept", NOISY).read_bytes()
    dump = plan.out.with_name("dump")
    shutil.copytree(plan.out / "maps/kept" / NOISY, dump, ignore=shutil.ignore_patterns(".*"))
    run(replace(plan, maps={"kept": dump}, overwrite=True))
    folder = RunFolder(plan.out)
    assert folder.checkpoint_file("kept", NOISY).read_bytes() == kept
    assert {score.case.dataset for score in folder.scores} == {CLEAN, NOISY}


def test_a_training_under_other_conditions_is_not_shared(plan: RunPlan) -> None:
    run(plan)
    with pytest.raises(InputError, match=r"shares its training with mvtec_ad\+noise@5, with seed 0, not 1"):
        run(replace(plan, dataset=NOISY, options=replace(plan.options, seed=1)))


def test_the_report_has_what_each_corruption_costs(plan: RunPlan) -> None:
    for dataset in (CLEAN, NOISY, "mvtec_ad+noise@2"):
        run(replace(plan, dataset=dataset))
    made = report([plan.out], page=False)
    means = Results.of(RunFolder(plan.out)).to_frame().query("category == 'mean' and metric == 'pixel_ap'")
    clean, noisy, two = 100 * means.set_index("dataset")["value"][[CLEAN, NOISY, "mvtec_ad+noise@2"]]
    (table,) = (table for table in made.tables if table.key == "mvtec_ad_robustness")
    ((title, (row,)),) = table.blocks
    assert title == "Noise"
    assert [cell.text for cell in row] == [
        "Kept",
        *(f"{value:.2f}" if value else "–" for value in (clean, 0, two, 0, 0, noisy)),
        f"{(two + noisy) / 2 - clean:+.2f}",
    ]
    assert [row[3].aside, row[6].aside] == [f"{two - clean:+.2f}", f"{noisy - clean:+.2f}"]
    assert not [table.key for table in made.tables if "+" in table.key]
    assert {key.dataset for key in made.results} == {CLEAN, NOISY, "mvtec_ad+noise@2"}


@pytest.mark.parametrize(
    ("other", "said"),
    [({"options": MethodOptions(seed=1, quiet=True)}, "seed 1 and 0"), ({"threshold": "max"}, "held_out 0.1 and 0.0")],
)
def test_what_a_corruption_costs_is_not_told_from_another_training(
    plan: RunPlan, other: dict[str, Any], said: str
) -> None:
    apart, same = plan.out.with_name("apart"), plan.out.with_name("same")
    for one in (plan, replace(plan, dataset=NOISY, out=same), replace(plan, dataset=NOISY, out=apart, **other)):
        run(one)
    assert [table for table in report([plan.out, same], page=False).tables if table.key == "mvtec_ad_robustness"]
    with pytest.raises(InputError, match=rf"apart holds kept on mvtec_ad\+noise@5, and .*out on mvtec_ad, with {said}"):
        report([plan.out, apart], page=False)
    report([plan.out, apart], names=["one", "two"], page=False)


def test_each_seed_of_a_corrupted_set_needs_one_of_the_clean_set(plan: RunPlan) -> None:
    outs = [plan.out.with_name(f"seed{seed}") for seed in range(2)]
    for seed, out in enumerate(outs):
        for dataset in (CLEAN, NOISY):
            run(replace(plan, dataset=dataset, out=out, options=replace(plan.options, seed=seed)))
    assert report(outs, page=False).tables


def test_pictures_of_a_corrupted_set_alone_are_corrupted(plan: RunPlan) -> None:
    results = run(replace(plan, dataset=NOISY))
    place, (maps,) = next(iter(results.maps().items()))
    assert place == (NOISY, "bolt")
    clean = replace(maps, samples=[replace(sample, corruption="") for sample in maps.samples])
    assert (maps.picture(0) != clean.picture(0)).mean() > 0.5
