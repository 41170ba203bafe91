import re
import socket
import time

import pytest
import timm
import torch
from huggingface_hub import constants
from skimage import data

from aseg_bench.errors import InputError, MissingWeightsError
from aseg_bench.training.backbone import Backbone, is_reachable, load_weights
from aseg_bench.training.settings import OFFLINE_BACKBONE

from .conftest import TINY


def test_the_installed_weights_fill_timms_network_to_the_last_entry():
    state = load_weights(OFFLINE_BACKBONE)
    own = timm.create_model(OFFLINE_BACKBONE).state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    assert len(set(state) - counters) == 296 - len(counters & set(state))
    assert set(own) - set(state) <= counters
    assert all(state[name].shape == own[name].shape for name in state)


def test_a_cat_is_a_cat():
    network = timm.create_model(OFFLINE_BACKBONE).eval()
    network.load_state_dict(load_weights(OFFLINE_BACKBONE))
    photograph = torch.from_numpy(data.chelsea().copy()).permute(2, 0, 1)[None].float()  # (1, 3, 300, 451)
    image = torch.nn.functional.interpolate(photograph[..., 75:375], (224, 224), mode="bilinear", antialias=True)
    config = network.pretrained_cfg
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) * 255 for name in ("mean", "std"))
    with torch.inference_mode():
        best = int(network((image - mean) / std).argmax())
    assert 281 <= best <= 287  # ImageNet's cats, from tabby to lynx


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
        load_weights("tf_efficientnet_b4")
    for way in (r"--backbone tf_efficientnet_lite0", r"run once with a network", r"--backbone-weights FILE"):
        assert re.search(way, str(caught.value))


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
        monkeypatch.setattr("aseg_bench.training.backbone.is_reachable", lambda _, there=there: there)
        with pytest.raises(MissingWeightsError):
            load_weights("tf_efficientnet_b4")
    assert asked == [True, False]
    assert not constants.is_offline_mode()
