"""Weights from a file in the place of a training: files of this toolkit, of official codes, and of neither."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import tifffile
import timm
import torch

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions, find_methods
from aseg_bench.training.official import load_checkpoint
from baselines.rd4ad.model import build_rd4ad, make_method
from baselines.rd4ad.settings import PRESETS
from tests.conftest import run_on

TINY = {"image_size": 64, "backbone": "test_efficientnet", "n_steps": 2, "batch_size": 4}
SETTINGS = replace(PRESETS["cpu"], **TINY)
LOADED = ["uniad", "rd4ad", "simplenet", "destseg", "hvq_trans", "vitad"]


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.fixture
def model():
    return build_rd4ad(SETTINGS, pretrained=False).eval()


@pytest.fixture
def words(weights, tiny):
    def make(method, *others, out="out", **settings):
        name = method.partition("=")[0]
        typed = [f"--set={name}.{key}={value}" for key, value in (TINY | settings).items() if key != "backbone"]
        backbone = ("--backbone", TINY["backbone"], "--backbone-weights", weights, "--device", "cpu")
        return run_on(tiny, *backbone, *typed, *others, methods=method, out=out)

    return make


def maps_in(out):
    return {path.name: tifffile.imread(path) for path in sorted((out / "maps").rglob("*.tiff"))}


@pytest.mark.parametrize("method", ["rd4ad", "patchcore"])
def test_the_checkpoint_of_a_run_gives_its_maps_and_no_training(method, words, call, tiny):
    own = {} if method == "rd4ad" else {"image_size": 64}
    make = words if method == "rd4ad" else lambda *given, **others: _without_steps(words(*given, **others))
    assert call(*make(method, **own)).code == 0
    file = tiny.parent / "out/training" / method / "mvtec_ad/checkpoint.pt"
    again = make(f"{method}=checkpoint:{file}", out="again", **own)
    outcome = call(*again)
    assert outcome.code == 0, outcome.err
    first, second = maps_in(tiny.parent / "out"), maps_in(tiny.parent / "again")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    case = json.loads((tiny.parent / "again/run.json").read_text())["cases"][f"{method}/mvtec_ad"]
    assert case["checkpoint"] == str(file)
    assert len(case["checkpoint_checksum"]) == 64
    assert case["of_maps"][0]["kind"] == "loaded"
    assert not case.get("training")
    kept = torch.load(tiny.parent / "again/training" / method / "mvtec_ad/checkpoint.pt", weights_only=True)["model"]
    assert all(torch.equal(values, kept[name]) for name, values in torch.load(file, weights_only=True)["model"].items())

    file.write_bytes(file.read_bytes() + b"\0")
    assert "with checkpoint_checksum" in call(*again).error
    assert "with checkpoint " in call(*make(method, out="again", **own)).error


def _without_steps(words):
    return tuple(word for word in words if "n_steps" not in str(word) and "batch_size" not in str(word))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("rd4ad=checkpoint:nowhere.pt", "there is no file or folder nowhere.pt"),
        ("rd4ad=checkpoint:", "is not NAME, NAME=maps:PATH or NAME=checkpoint:FILE"),
        ("draem=checkpoint:x.pckl", "run anomalib:Draem, which takes no official checkpoint, or score the maps"),
        ("anomalib:Padim=checkpoint:x.ckpt", "anomalib:Padim takes no checkpoint; leave =checkpoint:x.ckpt out"),
    ],
)
def test_what_cannot_be_loaded_is_told_before_any_work(method, said, words, call, tiny):
    if method.startswith("anomalib"):
        pytest.importorskip("anomalib", reason="needs anomalib")
    assert said in call(*_without_steps(run_on(tiny, methods=method))).error
    assert not (tiny.parent / "out").exists()


def test_a_checkpoint_of_other_settings_or_of_another_method_is_refused(words, call, tiny):
    assert call(*words("rd4ad", "--train-only")).code == 0
    file = tiny.parent / "out/training/rd4ad/mvtec_ad/checkpoint.pt"
    error = call(*words(f"rd4ad=checkpoint:{file}", out="again", smoothing=1)).error
    assert "was trained with smoothing 4.0, not 1.0; give the --preset, --backbone and --set of its run" in error
    assert "was trained with method rd4ad, not vitad" in call(*words(f"vitad=checkpoint:{file}", out="again")).error


class EasyDict(dict):
    """As the class of that package: entries are attributes as well."""

    def __init__(self, **entries):
        super().__init__(entries)
        self.__dict__.update(entries)


def test_a_configuration_and_a_score_beside_the_weights_do_no_harm(model, tmp_path, monkeypatch):
    package = ModuleType("easydict")
    package.EasyDict = EasyDict
    EasyDict.__module__ = "easydict"
    monkeypatch.setitem(sys.modules, "easydict", package)
    taken = []
    facts = replace(find_methods()["rd4ad"], official=lambda _, content: taken.append(content))
    monkeypatch.setattr("aseg_bench.training.official.find_method", lambda _: facts)
    content = {
        "arch": [EasyDict(name="backbone", kwargs=EasyDict(outblocks=[1, 5, 9, 21]))],
        "best_metric": np.float64(0.97),
        "state_dict": {"a": torch.ones(2)},
    }
    torch.save(content, tmp_path / "ckpt.pth.tar")
    monkeypatch.delitem(sys.modules, "easydict")
    load_checkpoint(model, SETTINGS, "rd4ad", tmp_path / "ckpt.pth.tar")
    assert torch.equal(taken[0]["state_dict"]["a"], torch.ones(2))
    assert (taken[0]["best_metric"], taken[0]["arch"][0]["kwargs"]["outblocks"]) == (0.97, [1, 5, 9, 21])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"args": PRESETS["paper"]},
            r"asks for baselines.rd4ad.settings.RD4ADSettings, which could run code.*torch.save",
        ),
        (b"PK nothing", "not a whole file that torch.save wrote"),
        ({}, "holds no state dict bn of tensors, but nothing"),
        ([1], "holds no state dict bn of tensors, but list"),
        ({"bn": {"a": 1}, "decoder": {}}, "holds no state dict bn of tensors, but bn, decoder"),
        (
            {"bn": {"a": torch.ones(1)}, "decoder": {"b": torch.ones(1)}},
            "cannot be taken as RD4AD: the official weights",
        ),
    ],
)
def test_a_file_that_cannot_be_taken_says_why(model, tmp_path, content, said):
    file = tmp_path / "file.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(InputError, match=said):
        load_checkpoint(model, SETTINGS, "rd4ad", file)


def test_official_weights_are_not_for_scaled_features_nor_for_a_method_without_any(model, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"for features as they are; give --preset paper"):
        load_checkpoint(model, replace(SETTINGS, feature_scaling="z_score"), "rd4ad", tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"is not a checkpoint of aseg-bench, and no other of UniAS can be read"):
        load_checkpoint(model, SETTINGS, "uni_as", tmp_path / "x.pth")
    with pytest.raises(InputError, match="there is no checkpoint"):
        make_method(MethodOptions(checkpoint=tmp_path / "none.pth", preset="cpu"))


def test_every_official_file_that_is_taken_is_named(call):
    known = find_methods()
    assert [name for name in LOADED if not (known[name].official and known[name].official_file)] == []
    assert {name for name, facts in known.items() if facts.official} == set(LOADED)
    shown = call("methods", "--show", "uniad").out
    assert "--methods uniad=checkpoint:FILE" in shown
    assert "ckpt.pth.tar" in shown
    assert "checkpoint" not in call("methods", "--show", "omnial").out
