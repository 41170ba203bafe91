import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aseg_bench.datasets import find_samples
from aseg_bench.errors import InputError
from aseg_bench.predictions.store import MapStore
from aseg_bench.runs.ablation import PAPER_LEVELS, parse_levels, parse_seeds
from aseg_bench.runs.scores import read_scores

pytest.importorskip("torch", reason="models need the extra `models`")
SMALL = (
    "image_size=32",
    "channels=16",
    "n_heads=2",
    "ffn_channels=16",
    "smoothing=0,0,0,0",
    "batch_size=2",
    "n_steps=2",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    import timm
    import torch

    file = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    return file


@pytest.fixture
def words(tiny, weights):
    """What both ablations are told: a tiny model on a tiny data set."""
    settings = [word for setting in SMALL for word in ("--set", f"uni_as.{setting}")]
    data = ("--dataset", "mvtec_ad", "--data-root", tiny, "--device", "cpu")
    return (*data, "--backbone", "test_efficientnet", "--backbone-weights", weights, *settings)


def test_level_sets_are_products_of_maps_of_one_training(call, words, tiny, tmp_path):
    out = tmp_path / "levels"
    words = [*words, "--set", "uni_as.combination=product"]
    outcome = call("ablate", "levels", *words, "--out", out)
    assert outcome.code == 0, outcome.err
    test = [sample for sample in find_samples("mvtec_ad", tiny) if sample.split == "test"]
    run = out / "seed0"
    by_level = MapStore(run / "level_maps")
    product = np.prod([by_level.maps(str(level), test)[3] for level in range(1, 5)], axis=0)
    np.testing.assert_allclose(product, MapStore(run / "maps").maps("uni_as", test)[3], rtol=1e-4, atol=1e-7)
    scores = {(row.method, row.category, row.metric): row.value for row in pd.read_csv(out / "scores.csv").itertuples()}
    assert {name for name, _, _ in scores} == {"{" + ",".join(map(str, levels)) + "}" for levels in PAPER_LEVELS}
    of_run = {(row.category, row.metric): row.value for row in pd.read_csv(run / "scores.csv").itertuples()}
    assert scores["{4,3,2,1}", "mean", "pixel_ap"] == pytest.approx(of_run["mean", "pixel_ap"], abs=1e-4)
    for name in ("tables.md", "tables.tex", "tables.csv"):
        assert "65.12" in (out / name).read_text()  # the paper's
    full, single = scores["{4,3,2,1}", "mean", "dsc"], scores["{2}", "mean", "dsc"]
    gap = round(100 * full, 2) - round(100 * single, 2)  # as a reader takes it from the table
    plain = re.sub(r"\*\*|</?u>", "", (out / "tables.md").read_text())  # without the marks of the best and the second
    assert f"{100 * single:.2f} ({gap:.2f})" in plain
    assert "not scored" not in (out / "tables.md").read_text()

    report = call("report", out, "--tables", "5", "--format", "md", "--out", tmp_path / "again")
    assert report.code == 0, report.err
    again = (tmp_path / "again" / "tables.md").read_text()
    assert (out / "tables.md").read_text().startswith(again.rstrip("\n"))
    assert "no 4 here; known: 5, categories" in call("report", out, "--tables", "4").error
    where = ("--dataset", "mvtec_ad", "--data-root", tiny, "--out", out)
    assert (
        "holds an ablation" in call("run", "--methods", f"x=maps:{run / 'maps' / 'uni_as' / 'mvtec_ad'}", *where).error
    )
    assert "holds an ablation" in call("eval", run / "maps" / "uni_as" / "mvtec_ad", "--name", "x", *where).error
    assert "is an ablation; report on it by itself" in call("report", out, run, "--out", tmp_path / "both").error
    assert "Tables 4 and 5 are of ablations" in call("report", run, "--tables", "4").error
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "ablation.json").write_text("{}")
    assert "ablation.json is damaged" in call("report", tmp_path / "damaged").error

    before = (run / "training" / "uni_as" / "mvtec_ad" / "checkpoint.pt").stat().st_mtime_ns
    again = call("ablate", "levels", *words, "--out", out, "--levels", "2,1;4", "--quiet")
    assert again.code == 0, again.err
    assert (run / "training" / "uni_as" / "mvtec_ad" / "checkpoint.pt").stat().st_mtime_ns == before
    assert {score.case.method for score in read_scores(out / "scores.csv")} == {"{2,1}", "{4}"}


def test_no_result_outlives_an_overwriting_that_was_stopped(call, words, tiny, tmp_path, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    out = tmp_path / "levels"
    words = ["levels", *words, "--out", out, "--levels", "2,1", "--seeds", "0,1", "--quiet"]
    words += ["--set", "uni_as.combination=product"]
    assert call("ablate", *words).code == 0
    with monkeypatch.context() as patch:
        patch.setattr("aseg_bench.runs.runner._make_maps", stop)
        assert call("ablate", *words, "--overwrite", "--set", "uni_as.learning_rate=0.01").code == 130
    again = call("ablate", *words, "--set", "uni_as.learning_rate=0.01")
    assert again.code == 0, again.err
    test = [sample for sample in find_samples("mvtec_ad", tiny) if sample.split == "test"]
    for run in (out / "seed0", out / "seed1"):
        levels = [MapStore(run / "level_maps").maps(str(level), test)[3] for level in range(1, 5)]
        scores = MapStore(run / "maps").maps("uni_as", test)[3]
        np.testing.assert_allclose(np.prod(levels, axis=0), scores, rtol=1e-4, atol=1e-7)


_NOTING = """
import os
from pathlib import Path
from aseg_bench import cli
from aseg_bench.training import method

real, method._PREDICT_BATCH = method.predict_maps, 3

def noting(model, images, category):
    with (Path(__file__).parent / f"mapped_by_{os.environ['RANK']}.txt").open("a") as file:
        print(len(images), file=file)
    return real(model, images, category)

method.predict_maps = noting
cli.main()
"""  # the command line, in batches of three images that each process notes


def test_of_the_processes_of_torchrun_all_train_and_map_and_one_writes(call, words, tmp_path, monkeypatch):
    from aseg_bench.training import method
    from aseg_bench.training.checkpoints import read_checkpoint

    (tmp_path / "noting.py").write_text(_NOTING)
    launch = (Path(sys.executable).with_name("torchrun"), "--standalone", "--nproc-per-node", "2")
    own = ("ablate", "levels", *words, "--levels", "2;2,1", "--out", tmp_path / "out")
    command = [*map(str, (*launch, tmp_path / "noting.py", *own))]
    threads = {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | threads, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tables.md") == 1
    run = tmp_path / "out" / "seed0"
    assert read_checkpoint(run / "training/uni_as/mvtec_ad/checkpoint.pt")["conditions"]["processes"] == 2
    assert {score.case.method for score in read_scores(tmp_path / "out" / "scores.csv")} == {"{2}", "{2,1}"}
    n_maps = len(list((run / "maps").rglob("*.tiff")))
    mapped = [list(map(int, (tmp_path / f"mapped_by_{rank}.txt").read_text().split())) for rank in (0, 1)]
    assert sum(map(sum, mapped)) == n_maps
    assert abs(len(mapped[0]) - len(mapped[1])) <= 1
    monkeypatch.setattr(method, "_PREDICT_BATCH", 3)
    weights = f"uni_as=checkpoint:{run}/training/uni_as/mvtec_ad/checkpoint.pt"
    alone = call("run", "--methods", weights, *words, "--out", tmp_path / "alone", "--quiet", "--no-page")
    assert alone.code == 0, alone.err
    assert read_scores(tmp_path / "alone/scores.csv") == read_scores(run / "scores.csv")


def test_component_lines_are_trained_apart_and_averaged_over_seeds(call, words, tmp_path):
    out = tmp_path / "components"
    outcome = call("ablate", "components", *words, "--out", out, "--seeds", "0,1", "--quiet")
    assert outcome.code == 0, outcome.err
    runs = sorted(str(path.parent.relative_to(out)) for path in out.glob("line*/seed*/scores.csv"))
    assert runs == [f"line{line}/seed{seed}" for line in range(1, 7) for seed in (0, 1)]
    means = {
        row.method: row.value
        for row in pd.read_csv(out / "scores.csv").itertuples()
        if (row.category, row.metric) == ("mean", "pixel_ap")
    }
    assert list(means) == [f"line {line}" for line in range(1, 7)]
    of_seeds = [
        score.value
        for seed in (0, 1)
        for score in read_scores(out / "line3" / f"seed{seed}" / "scores.csv")
        if score.metric == "pixel_ap"
    ]
    assert means["line 3"] == pytest.approx(np.mean(of_seeds))
    assert len(set(means.values())) == 6
    text = (out / "tables.md").read_text()
    assert f"({round(100 * means['line 6'], 2) - round(100 * means['line 1'], 2):.2f})" in text
    assert "±" in text
    assert "24.98" in text  # the paper's own gap of the first line


@pytest.mark.parametrize("what", ["components", "levels"])
@pytest.mark.parametrize("name", ["scores.csv", "run.json"])
def test_an_ablation_does_not_replace_a_run(call, words, tmp_path, what, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("of a run")
    assert "is of a run" in call("ablate", what, *words, "--out", tmp_path / "out").error
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == "of a run"


def test_what_an_ablation_changes_cannot_be_set(call, words, tmp_path):
    own = ("--set", "uni_as.local=mg", "--out", tmp_path / "out")
    assert "uni_as.local" in call("ablate", "components", *words, *own).error
    assert "names no components" in call("ablate", "components", "--method", "uniad").error
    assert "no maps by level" in call("ablate", "levels", "--method", "uniad").error
    assert "choose components or levels" in call("ablate", "both").error


def test_sets_of_levels_and_seeds_are_read_as_typed():
    assert parse_levels("4; 4,3;4,3,2,1") == [(4,), (4, 3), (4, 3, 2, 1)]
    assert parse_seeds("0,7") == [0, 7]
    for parse, text in ((parse_levels, "4+3"), (parse_levels, ""), (parse_seeds, "a"), (parse_seeds, "1,1")):
        with pytest.raises(InputError):
            parse(text)
    for text in ("4;4", "4,4", "4,3;2;3,4"):
        with pytest.raises(InputError, match="twice"):
            parse_levels(text)


def test_levels_that_cannot_be_are_refused_before_any_training(call, words, tmp_path):
    out = tmp_path / "out"
    for levels, said in (("9", "no levels {9}; choose --levels from 1 to 4"), ("", "'' is not like"), ("4;4", "twice")):
        assert said in call("ablate", "levels", *words, "--out", out, "--levels", levels).error
    assert not out.exists()
