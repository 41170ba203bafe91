import numpy as np
import pytest

from aseg_bench.records import Case, Score
from aseg_bench.reporting import report_tables
from aseg_bench.reporting.cells import Note
from aseg_bench.reporting.figures import write_figures
from aseg_bench.reporting.page import write_page
from aseg_bench.runs.scores import merge_runs
from tests.categories import WICKED

EVIL = "</script><img src=x onerror=window.broken=1>"


@pytest.fixture(scope="session")
def scores(category):
    found = [
        Score(maps.case, key, value, len(maps.samples), "exact")
        for maps in category
        for key, value in (("pixel_auroc", 0.9), ("pixel_ap", 0.5), ("dsc", dsc_of(maps, maps.threshold)))
    ]
    undefined = Score(Case(EVIL, "toys", "screw"), "pixel_ap", None, 9, "exact", f"no anomalous pixel {EVIL}")
    return [*found, undefined]


@pytest.fixture(scope="session")
def page(tmp_path_factory, category, scores):
    out = tmp_path_factory.mktemp("run") / "report"
    return write_page(
        out,
        merge_runs([scores]),
        [category],
        tables=report_tables([scores]),
        figures=write_figures(out / "figures", scores, [category], formats=("png", "svg")),
        conditions={
            "command": EVIL,
            "versions": {EVIL: "1"},
            "methods": ["a", "b"],
            "cases": {"method/data_set": {"all_settings": {"reconstruction_layers": {"learning_rate": 1}}}},
        },
        notes=[Note(f"look at {EVIL}"), Note("half a run", "warning")],
        labels={WICKED: EVIL},
    )


def dsc_of(maps, threshold):
    dice = []
    for scores, mask in zip(maps.scores, maps.masks, strict=True):
        found = scores >= threshold
        dice.append(2 * (found & mask).sum() / (found.sum() + mask.sum()) if found.any() or mask.any() else 1.0)
    return float(np.mean(dice))
