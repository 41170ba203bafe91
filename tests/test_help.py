"""What --help offers works with the defaults: every option of every command, at the default presets."""

import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from aseg_bench import cli
from aseg_bench.cli import name_of
from aseg_bench.metrics import METRICS
from aseg_bench.protocols import PROTOCOLS
from aseg_bench.training.trained import TrainedModel
from tests.conftest import Call, all_commands, write_category

DATA = "--dataset mvtec_ad --data-root tiny"
ONE_STEP = "--set uni_as.n_steps=1"
READ = "--normal-folder good --bit-depth 12 --image-level --max-pixels 999999"
BOTH = f"run --methods uni_as,uniad {DATA} {ONE_STEP} --set uniad.n_steps=1 --out both"
DEMO = f"run --methods uni_as --categories screw {ONE_STEP} --out demo"
MAPS = "both/maps/uni_as/mvtec_ad"
TRAINED, ONE_MAP = "demo/training/uni_as/demo/checkpoint.pt", "both/training/uniad/mvtec_ad/checkpoint.pt"
WORKS = (
    "report demo --title Ours",
    f"{BOTH} --resume --protocol unias --mixed --page",
    f"{BOTH} --no-page --quiet",
    "run --config both/config.yaml --dry-run",
    "status both",
    "verify both",
    "gate both --min pixel_ap=0 --min mean:dsc=0",
    "gate both --against both --tolerance 0.01 --metrics pixel_ap,dsc --json",
    "gate both --against both --quiet",
    f"run --methods uni_as {DATA} {ONE_STEP} --out trained --train-only",
    f"run --methods uni_as {DATA} {ONE_STEP} --out of_camera {READ} --learning-curve --no-page --threshold max",
    f"run --methods uni_as {DATA} {ONE_STEP} --out a --preset cpu --seed 1 --max-minutes 5 --precision bf16-mixed"
    " --half --mask-rule >127 --metrics recall --no-page --keep-going --quiet",
    f"run --methods uni_as {DATA} {ONE_STEP} --out a --overwrite --device cpu --categories bolt --map-size image"
    " --backbone tf_efficientnet_lite0 --backbone-weights weights.pt --no-page",
    f"eval {MAPS} {DATA} --reader auto --name a --seed 1 --protocol native --metrics {','.join(METRICS)} --out eval",
    f"eval {MAPS} {DATA} --name b --mixed --quiet --out eval",
    "verify eval --data-root tiny --allow-pickle --max-gib 1 --max-pixels 999999 --quiet",
    f"eval {MAPS} {DATA} --categories bolt --keep-going --allow-pickle --allow-clamped --max-gib 1 {READ} --out eval2"
    " --mask-rule '>0 ignore=7'",
    f"eval {MAPS} {DATA} --shard 1/1 --out shards",
    "merge shards --mixed --out merged",
    "merge shards --quiet --out merged2",
    f"run --methods read=maps:{MAPS} {DATA} --out read --allow-pickle --allow-clamped --max-gib 1 --no-page",
    f"audit {MAPS} both/maps/uniad/mvtec_ad {DATA} --out audit --allow-pickle --allow-clamped --max-gib 1",
    f"audit {MAPS} {DATA} --categories bolt --reader mvtec_tiff --protocols uniad {READ} --out audit2 --quiet"
    " --mask-rule =255",
    "report both --as mine --out report --tables 1,2,3,cost,categories --format md --no-page --mixed"
    " --max-pixels 999999 --quiet",
    "report --paper --page --out paper --tables 4,5",
    "compare both",
    "compare both --methods uni_as,uniad --replicates 100 --seed 3 --max-pixels 999999 --out compare --quiet",
    "published",
    "published --method uniad --dataset mvtec --metric pixel_ap --category all --setting one-for-all"
    " --source uniad_readme --out published.csv",
    f"ablate components {DATA} --categories bolt --method uni_as {ONE_STEP} --seeds 0 {READ} --out components",
    f"ablate levels {DATA} {ONE_STEP} --out levels --levels '4;1,2' --protocol native --preset cpu --max-minutes 5"
    " --mask-rule >127"
    " --device cpu --precision 32-true --overwrite --quiet --backbone tf_efficientnet_lite0"
    " --backbone-weights weights.pt",
    "report components",
    "report levels",
    f"predict tiny/bolt/test/hole --checkpoint {TRAINED} --out predicted --levels",
    f"predict tiny/bolt/test/hole/000.png --checkpoint {ONE_MAP} --out predicted2 --device cpu --quiet"
    " --threshold 0.5 --bit-depth 12 --max-pixels 200000000",
    f"predict tiny/bolt/test/hole --checkpoint {ONE_MAP} --out predicted3 --threshold-from normal:0.99",
    f"predict tiny/bolt/test/hole --checkpoint {ONE_MAP} --out predicted4 --threshold-from normal:0.99"
    " --normal tiny/bolt/test/good",
    f"export --checkpoint {ONE_MAP} --out uniad.onnx",
    "methods",
    "pack both --maps --out both.aseg.zip",
    "pack demo",
    "leaderboard . --out site --title Board",
    "methods --show uni_as",
    "methods --show uni_as --json",
    "datasets --show mpdd",
    "datasets --show mpdd --json",
    f"data check {DATA} --categories bolt {READ} --mask-rule >127",
    f"data check {DATA} --json",
    "data check --quiet",
    f"data stats {DATA} --categories bolt {READ} --mask-rule >127 --out stats",
    f"data stats {DATA} --json",
    "data stats --quiet",
    "doctor --data-root tiny",
    "doctor --json",
    *(
        f"{name}{json}"
        for name in ("metrics", "thresholds", "backbones", "datasets", "readers", "protocols")
        for json in ("", " --json")
    ),
)
ELSEWHERE = {
    ("run", "--devices"): "starts processes, which takes long: tests/training/test_engine.py",
    ("ablate", "--devices"): "starts processes, which takes long: tests/training/test_engine.py",
    ("run", "--logger"): "needs a package of its own: below, and tests/runs/test_loggers.py",
    ("ablate", "--logger"): "needs a package of its own: below, and tests/runs/test_loggers.py",
    ("ablate", "--resume"): "the default",
    ("eval", "--workers"): "starts processes: tests/runs/test_shards.py",
    **{
        ("submit", option): "needs MVTec AD 2: tests/runs/test_submission.py"
        for option in (
            "--out",
            "--method",
            "--check",
            "--device",
            "--allow-pickle",
            "--max-gib",
            "--max-pixels",
            "--quiet",
        )
    },
    ("eval", "--dask"): "needs a cluster: tests/runs/test_shards.py",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run on the demo and one of both live methods, at the default preset, after one step each."""
    folder = tmp_path_factory.mktemp("help")
    write_category(folder / "tiny", "bolt", n_train=2, n_good=2, n_hole=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in (DEMO, f"{BOTH} --quiet --no-page"):
            patch.setattr("sys.argv", ["aseg-bench", *shlex.split(line)])
            with pytest.raises(SystemExit) as left:
                cli.main()
            assert not left.value.code
        torch.save(TrainedModel.from_checkpoint(ONE_MAP, "cpu").model.backbone.network.state_dict(), "weights.pt")
        yield folder


def test_what_help_offers_works_with_the_defaults(place: Path, call: Call) -> None:
    for line in WORKS:  # in this order, as later lines read what earlier ones wrote
        outcome = call(*shlex.split(line))
        assert outcome.code == 0, f"{line}\n{outcome.err[-2000:]}"
        if "--quiet" in line:
            assert outcome.out == ""
            assert [text for text in outcome.err.splitlines() if not text.startswith("warning: ")] == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_scores_a_run(place: Path, call: Call, protocol: str) -> None:
    assert call(*shlex.split(BOTH), "--no-page", "--quiet", "--protocol", protocol).code == 0


def test_the_exported_default_gives_the_maps_of_the_trained_model(place: Path, call: Call) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
    assert call("export", "--checkpoint", TRAINED, "--out", "model[/x].onnx").out == "written: model[/x].onnx\n"
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 224, 224)).astype(np.float32)
    session = runtime.InferenceSession("model[/x].onnx", providers=["CPUExecutionProvider"])
    (maps,) = session.run(None, {"images": images})
    with torch.inference_mode():
        expected = TrainedModel.from_checkpoint(TRAINED, "cpu").model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(maps, expected, atol=2e-5)


def test_what_cannot_work_here_is_one_error_and_leaves_nothing(place: Path, call: Call) -> None:
    run = ("run", "--methods", "uni_as", "--out", "nothing", *shlex.split(f"{DATA} {ONE_STEP}"))
    if find_spec("tensorboard") is None:
        assert "pip install tensorboard" in call(*run, "--logger", "tensorboard").error
    assert "no device tpu; did you mean cpu?" in call(*run, "--device", "tpu").error
    words = ("predict", "tiny", "--checkpoint", ONE_MAP, "--out", "nothing", "--levels", "--quiet")
    assert "one map per image, not one per level" in call(*words).error
    assert not [path for path in Path("nothing").rglob("*") if path.is_file()]


def test_every_option_is_called_or_has_a_reason_not_to_be() -> None:
    called = {(name_of(line), word) for line in (DEMO, *WORKS) for word in line.split() if word.startswith("--")}
    offered = {
        (name, option)
        for name, command in all_commands().items()
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {name for name, _ in offered} | {name_of(line) for line in WORKS} == set(all_commands())
    elsewhere = {(name_of(line), option) for line, option in ELSEWHERE}
    assert offered - called - elsewhere == set()
    assert elsewhere <= offered
