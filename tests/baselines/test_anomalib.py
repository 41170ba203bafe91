"""The bridge to anomalib: its models as methods of this toolkit, checked against anomalib called directly."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
import timm
import torch
import torchvision
from PIL import Image

from aseg_bench.errors import InputError, MissingWeightsError, TrainingError
from aseg_bench.methods import CUT_SHORT, MethodOptions
from baselines.anomalib import METHOD, models
from tests.conftest import run_on

REASON = "anomalib is not installed: pip install '.[anomalib]'"
SMALL = {"image_size": "64", "batch_size": "4", "n_steps": "2", "weights": "random"}
RESNET = {"backbone": "resnet18"}
VIT = {"image_size": "56", "encoder_name": "vit_small_patch14_reg4_dinov2"}
SETTINGS = {  # the smallest that each model takes
    "Padim": {"n_features": "20"},
    "Patchcore": RESNET,
    "ReverseDistillation": RESNET,
    "Stfpm": {},
    "Fastflow": {"flow_steps": "2"},
    "Supersimplenet": RESNET | {"image_size": "128", "batch_size": "2"},
    "Dinomaly": VIT,
    "InpFormer": VIT,
}


def live(test):
    missing = find_spec("anomalib") is None
    return pytest.mark.anomalib(pytest.mark.skipif(missing, reason=REASON)(test))


def make(name, folder=None, seed=0, own=None, **options):
    settings = SMALL | SETTINGS.get(name, {}) | (own or {})
    options = MethodOptions(seed=seed, device="cpu", settings=settings, folder=folder, quiet=True, **options)
    return METHOD.member(name).build(options)


def maps_of(method, samples):
    return np.stack([one.scores for one in method.predict(samples)])


def fitted(name, samples, **options):
    method = make(name, **options)
    method.fit(samples)
    return method


@pytest.fixture
def cut_off(monkeypatch):
    """Everything that would reach for a network, or ask timm for pretrained weights past the bridge's door."""
    attempts, create = [], timm.create_model

    def spied(model_name, pretrained=False, **options):
        if pretrained:
            attempts.append(f"timm {model_name}")
        return create(model_name, pretrained=False, **options)

    def refused(*words, **_):
        attempts.append(words)
        raise OSError("no network in tests")

    monkeypatch.setattr(timm, "create_model", spied)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(urllib.request, "urlopen", refused)
    monkeypatch.setattr(torch.hub, "urlopen", refused)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", refused)
    return attempts


@live
@pytest.mark.parametrize("name", SETTINGS)
def test_a_model_runs_to_scored_maps_without_a_network(name, installed, call, tiny, cut_off):
    installed.add(METHOD)
    settings = [f"--set=anomalib:{name}.{key}={value}" for key, value in (SMALL | SETTINGS[name]).items()]
    outcome = call(*run_on(tiny, "--device", "cpu", *settings, methods=f"anomalib:{name}"))
    assert outcome.code == 0, outcome.err
    assert [line for line in outcome.err.splitlines() if not line.startswith("warning: ")] == []
    assert cut_off == []
    out = tiny.parent / "out"
    case = json.loads((out / "run.json").read_text(encoding="utf-8"))["cases"][f"anomalib:{name}/mvtec_ad"]
    assert case["anomalib"].startswith("2.")
    assert set(case["weights"].values()) == {"random"}
    assert case["training"]["steps"] == 2
    assert [found["kind"] for found in case["of_maps"]] == ["random_weights"]
    maps = [tifffile.imread(path) for path in sorted((out / "maps" / f"anomalib_{name}").rglob("*.tiff"))]
    assert len(maps) == 10
    side = int((SMALL | SETTINGS[name])["image_size"])
    assert {(one.shape, one.dtype.name) for one in maps} == {((side, side), "float32")}
    assert f"anomalib:{name},mvtec_ad,nut,pixel_ap" in (out / "scores.csv").read_text(encoding="utf-8")


@live
@pytest.mark.parametrize("name", ["Padim", "Fastflow", "Dinomaly"])
def test_maps_are_those_that_the_network_gives_for_the_whole_picture(name, samples):
    method = fitted(name, samples)
    side = int((SMALL | SETTINGS[name])["image_size"])
    pictures = [Image.open(sample.image_path).resize((side, side), Image.Resampling.BILINEAR) for sample in samples]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's, once
    pixels = ((np.stack([np.asarray(picture) for picture in pictures]) / 255 - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        plain = method.model.eval().model(torch.from_numpy(pixels.copy()).float()).anomaly_map
    np.testing.assert_allclose(maps_of(method, samples), plain.reshape(-1, side, side), rtol=1e-4, atol=1e-4)
    if name == "Dinomaly":
        assert method.about["departures"] == ["CenterCrop left out: the whole picture is seen"]


@live
def test_a_model_of_two_categories_is_that_of_anomalibs_own_engine_and_folder(samples, tmp_path):
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine
    from anomalib.models import Padim
    from lightning.pytorch import seed_everything

    for sample in samples:
        place = tmp_path / sample.category / sample.image_path.name
        place.parent.mkdir(exist_ok=True)
        Image.open(sample.image_path).resize((64, 64), Image.Resampling.BILINEAR).save(place)
    off = {"post_processor": False, "evaluator": False, "visualizer": False}
    seed_everything(0, verbose=False)
    model = Padim(pre_trained=False, n_features=20, pre_processor=Padim.configure_pre_processor((64, 64)), **off)
    engine = Engine(
        default_root_dir=tmp_path / "engine", accelerator="cpu", limit_val_batches=0, enable_progress_bar=False
    )
    folders = [tmp_path / "bolt", tmp_path / "nut"]
    data = Folder("two", normal_dir=folders, val_split_mode="none", test_split_mode="none", num_workers=0)
    engine.fit(model, datamodule=data)
    found = {}
    for folder in folders:
        for batch in engine.predict(model, dataset=PredictDataset(folder), return_predictions=True):
            found |= {Path(path).stem: one for path, one in zip(batch.image_path, batch.anomaly_map, strict=True)}
    expected = np.stack([found[sample.stem].reshape(64, 64).numpy() for sample in samples])
    np.testing.assert_allclose(maps_of(fitted("Padim", samples), samples), expected, rtol=1e-3)


@live
@pytest.mark.parametrize("name", ["Patchcore", "Stfpm"])
def test_one_seed_gives_the_same_maps_and_leaves_others_draws_alone(name, samples):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = maps_of(fitted(name, samples), samples)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(first, maps_of(fitted(name, samples), samples))
    assert not np.array_equal(first, maps_of(fitted(name, samples, seed=1), samples))


@live
@pytest.mark.parametrize("name", ["Patchcore", "Padim", "Stfpm"])
def test_a_finished_training_is_taken_and_no_other(name, samples, tmp_path):
    trained = fitted(name, samples, folder=tmp_path)
    again = fitted(name, samples, folder=tmp_path)
    # weights that were read lie elsewhere in memory, which may change the last bit
    np.testing.assert_allclose(maps_of(trained, samples), maps_of(again, samples), rtol=1e-6)
    assert again.about["training"] == trained.about["training"]
    with pytest.raises(TrainingError, match=r"was trained with batch_size 4, not 3; give --overwrite"):
        fitted(name, samples, folder=tmp_path, own={"batch_size": "3"})
    with pytest.raises(TrainingError, match=r"trained with training images"):
        fitted(name, samples[:4], folder=tmp_path)
    file = tmp_path / "model.ckpt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        fitted(name, samples, folder=tmp_path)


@live
def test_an_interrupted_training_leaves_nothing_and_starts_again(samples, tmp_path, monkeypatch):
    from baselines.anomalib import method

    def interrupt(*_):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(method._Diary, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fitted("Stfpm", samples, folder=tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(tmp_path.iterdir()) == []
    whole = maps_of(fitted("Stfpm", samples), samples)
    assert np.array_equal(maps_of(fitted("Stfpm", samples, folder=tmp_path), samples), whole)


@live
def test_the_time_limit_stops_a_training_after_a_whole_step(samples, tmp_path):
    method = fitted("Stfpm", samples, folder=tmp_path, max_minutes=1e-6, own={"n_steps": "50"})
    assert method.about["training"]["steps"] < 50
    assert method.about["training"]["of"] == 50
    assert [finding.kind for finding in method.findings][-1:] == [CUT_SHORT]
    assert method.about["parameters"]["all"] > method.about["parameters"]["trained"] > 0
    whole = fitted("Stfpm", samples, folder=tmp_path / "whole", own={"n_steps": "20", "batch_size": "2"})
    assert whole.about["training"]["steps"] == 20
    assert (tmp_path / "whole" / "log.csv").read_text(encoding="utf-8").startswith("step,seconds,loss\n10,")


@live
def test_weights_of_a_file_fill_networks_that_have_no_switch_for_them(tmp_path, cut_off):
    torch.manual_seed(3)
    file, other = tmp_path / "timm.pt", tmp_path / "torchvision.pt"
    state = timm.create_model("resnet18").state_dict()
    torch.save(state, file)
    teacher = make("Stfpm", backbone_weights=file, own={"weights": "pretrained"})
    own = teacher.model.model.teacher_model.feature_extractor.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in own)
    assert not torch.equal(teacher.model.model.student_model.feature_extractor.conv1.weight, state["conv1.weight"])
    assert teacher.about["weights"] == {"resnet18": str(file)}
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, other)
    features = make("Cfa", backbone="resnet18", backbone_weights=other, own={"weights": "pretrained"})
    assert torch.equal(features.model.model.feature_extractor.state_dict()["conv1.weight"], state["conv1.weight"])
    with pytest.raises(InputError, match="do not fit"):
        make("Padim", backbone="resnet34", backbone_weights=file, own={"weights": "pretrained"})
    assert cut_off == []


@live
def test_installed_weights_need_no_file(samples, cut_off):
    own = {"weights": "pretrained", "layers": "blocks.1,blocks.2"}
    method = fitted("Padim", samples, backbone="tf_efficientnet_lite0", own=own)
    assert method.about["weights"] == {"tf_efficientnet_lite0": "pretrained"}
    assert method.findings == []
    assert cut_off == []


@live
@pytest.mark.parametrize(
    ("name", "network", "way"),
    [
        ("Stfpm", "resnet18", r"timm.create_model\('resnet18'.*--backbone-weights FILE"),
        ("Cfa", "wide_resnet50_2", r"https://download.pytorch.org/models/wide_resnet50_2-\w+.pth as .*checkpoints"),
    ],
)
def test_missing_weights_without_a_network_are_told_at_once(name, network, way, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr("aseg_bench.training.backbone.is_reachable", lambda _: False)
    monkeypatch.setattr("baselines.anomalib.weights.is_reachable", lambda _: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(MissingWeightsError, match=rf"anomalib:{name} needs the ImageNet weights of {network}.*{way}"):
        make(name, own={"weights": "pretrained"})
    assert time.monotonic() - started < 5


@live
@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("Dinomaly", {"image_size": "64"}, r"multiples of 14 pixels, not 64; --set anomalib:Dinomaly.image_size=70"),
        ("Supersimplenet", {"image_size": "64"}, r"at least 128 pixels, not 64"),
        ("Uflow", {}, r"images of 448 pixels only; --set anomalib:Uflow.image_size=448"),
        ("Draem", {}, r"needs a folder of pictures .*--set anomalib:Draem.dtd_dir=FOLDER"),
        ("Glass", {"anomaly_source_path": "none"}, r"none is not a folder.*anomaly_source_path=FOLDER"),
        ("Ganomaly", {}, "gives a score per image and no anomaly map"),
        ("Padim", {"n_feature": "3"}, r"has no argument n_feature; did you mean n_features, "),
        ("Padim", {"n_features": "many"}, r"--set anomalib:Padim.n_features=many cannot be used"),
        ("Padim", {"layers": "layer1,layer9"}, r"resnet18 has no layer9; --set .* of act1, layer1"),
        ("Padim", {"pre_trained": "false"}, r"leave pre_trained out; --set anomalib:Padim.weights=random"),
        ("Padim", {"weights": "none"}, r"setting weights = none"),
        ("Dinomaly", {"encoder_name": "resnet18"}, r"cannot be made .*Architecture not supported"),
    ],
)
def test_what_a_model_cannot_take_is_told_before_the_training(name, changes, said, cut_off):
    with pytest.raises(InputError, match=said):
        make(name, own=changes)
    assert cut_off == []


@live
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_devices": 2}, "trains in one process"),
        ({"checkpoint": Path("x.ckpt")}, "takes no checkpoint"),
        ({"device": "cudda"}, "there is no device cudda"),
        ({"preset": "big"}, "no preset big; known: cpu, quick, paper"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        METHOD.member("Padim").build(MethodOptions(**options))


@live
def test_an_error_in_the_training_names_model_and_size(samples):
    with pytest.raises(TrainingError, match=r"anomalib:Fre cannot be trained with image_size 64 .*RuntimeError"):
        fitted("Fre", samples, backbone="resnet18")


@live
def test_unknown_models_get_near_matches_and_known_ones_say_what_they_need(installed, call):
    installed.add(METHOD)
    assert "no image model Dinomally; did you mean Dinomaly" in call("methods", "--show", "anomalib:Dinomally").error
    every = call("methods", "--show", "anomalib").out
    assert every.count("anomalib:") >= 30
    assert "dtd_dir=FOLDER" in every
    shown = call("methods", "--show", "anomalib:Dinomaly").out
    assert "encoder_name = 'vit_base_patch14_reg4_dinov2'" in shown
    assert "pre_processor" not in shown


@live
def test_every_model_is_listed_with_anomalibs_arguments_and_without_importing_it():
    from inspect import signature

    from anomalib.models import image

    listed = models.needs_of_all()
    assert set(listed) == set(image.__all__)
    assert models.TRAITS.keys() <= set(listed)
    for name in listed:
        own = {*signature(getattr(image, name).__init__).parameters} - {"self", *models.OURS, models.PRETRAINED}
        assert set(models.constructor(name)) == own, name
    code = (
        "import sys; from baselines.anomalib import METHOD; METHOD.members(); METHOD.member('Padim').presets()\n"
        "assert not {'torch', 'anomalib', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("words", [("run", "--methods", "anomalib:Padim"), ("methods", "--show", "anomalib")])
def test_without_anomalib_the_command_that_installs_it_is_named(words, installed, call, monkeypatch):
    installed.add(METHOD)
    monkeypatch.setattr(models, "find_spec", lambda _: None)
    assert call("methods").code == 0
    assert (
        call(*words).error
        == "anomalib is not installed; pip install '.[anomalib]' in the folder of aseg-bench's sources"
    )
