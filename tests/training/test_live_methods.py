"""Laws of every live method that is installed."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aseg_bench.methods import MethodOptions, find_methods
from aseg_bench.records import Sample
from tests.training.conftest import SETTINGS

LIVE = {name: facts for name, facts in find_methods().items() if facts.build}


@pytest.mark.parametrize("name", LIVE)
def test_the_seed_settles_everything_and_another_gives_other_maps(
    name: str, weights: Path, samples: Sequence[Sample]
) -> None:
    facts = LIVE[name]
    assert facts.build is not None
    assert facts.presets is not None
    known = {field.name for field in fields(facts.presets()["cpu"])} - {"smoothing"}  # its unit differs
    settings: dict[str, Any] = {key: value for key, value in SETTINGS.items() if key in known}
    found = []
    for seed in (5, 5, 6):
        options = MethodOptions(seed, "cpu", backbone_weights=weights, settings=settings, quiet=True)
        method = facts.build(options)
        method.fit(samples)
        found.append(np.stack([anomaly_map.scores for anomaly_map in method.predict(samples)]))
    assert method.about.keys() >= {"device", "all_settings", "parameters", "model_bytes"}
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize("name", LIVE)
def test_every_method_has_the_presets_that_one_command_may_ask_of_all(name: str) -> None:
    presets = LIVE[name].presets
    assert presets is not None
    assert {"cpu", "quick", "paper"} <= presets().keys()
