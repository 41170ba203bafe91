"""A learning curve scores the same test images at every moment, and leaves the rest of the run as it was."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from aseg_bench.datasets import find_samples
from aseg_bench.images import read_mask
from aseg_bench.methods import MethodOptions
from aseg_bench.records import AnomalyMap, Sample
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.learning import some_of
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.runner import run
from tests.conftest import Distance, Installed, facts_of, write_category


class Learner(Distance):
    """Its maps of before are noise."""

    def moments(self, samples: Sequence[Sample]) -> Iterator[tuple[int, float, Iterator[AnomalyMap]]]:
        random = np.random.default_rng(0)
        yield 5, 1.5, (AnomalyMap(sample, random.normal(size=(24, 32))) for sample in samples)


@pytest.fixture
def plan(tmp_path: Path, installed: Installed) -> RunPlan:
    for category in ("bolt", "nut"):
        write_category(tmp_path / "data", category, n_good=11, n_hole=20)
    installed.add(facts_of("learner", build=lambda options: Learner("learner", options)))
    options = MethodOptions(quiet=True, learning_curve=True)
    return RunPlan(["learner", "near"], "mvtec_ad", tmp_path / "out", tmp_path / "data", options=options)


def test_eight_images_of_each_kind_are_spread_over_their_category(plan: RunPlan) -> None:
    samples = [one for one in find_samples(plan.dataset, plan.data_root) if one.split == "test"]
    chosen = some_of(samples)
    assert [one.category for one in chosen] == ["bolt"] * 16 + ["nut"] * 16
    assert [one.stem for one in chosen[:8]] == ["000", "001", "002", "004", "005", "006", "008", "009"]  # of 11
    assert [one.stem for one in chosen[8:16]] == ["000", "002", "005", "007", "010", "012", "015", "017"]  # of 20


def test_every_moment_and_the_end_have_the_mean_pixel_ap_of_these_images(plan: RunPlan) -> None:
    run(plan)
    folder = RunFolder(plan.out)
    curve = pd.read_csv(folder.curve_file("learner", "mvtec_ad"))
    assert curve[["step", "seconds", "n_images"]].iloc[0].tolist() == [5, 1.5, 32]
    assert len(curve) == 2
    samples = some_of([one for one in find_samples(plan.dataset, plan.data_root) if one.split == "test"])
    masks = [read_mask(one.mask_path) > 0 if one.mask_path else np.zeros((24, 32), bool) for one in samples]
    random = np.random.default_rng(0)
    before, end = [random.normal(size=(24, 32)) for _ in samples], folder.store.maps("learner", samples)
    for row, maps in enumerate((before, end)):
        by_category = [
            average_precision_score(np.ravel(masks[part]), np.ravel(list(maps[part])))
            for part in (slice(16), slice(16, 32))
        ]
        assert curve["pixel_ap"][row] == pytest.approx(np.mean(by_category))


def test_a_method_without_moments_has_its_end_and_the_scores_are_the_same_as_without(plan: RunPlan) -> None:
    run(plan)
    assert len(pd.read_csv(RunFolder(plan.out).curve_file("near", "mvtec_ad"))) == 1
    plain = replace(plan, out=plan.out.with_name("plain"), options=MethodOptions(quiet=True))
    assert run(plain).scores == run(plan).scores
    assert not RunFolder(plain.out).curve_file("near", "mvtec_ad").exists()
