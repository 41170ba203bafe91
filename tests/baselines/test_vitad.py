from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional

from aseg_bench.errors import InputError, MissingWeightsError
from aseg_bench.methods import MethodOptions
from aseg_bench.training import backbone as backbones
from baselines.vitad.decoder import ViTDecoder
from baselines.vitad.fuser import Fuser
from baselines.vitad.model import ViTAD, build_vitad, load_official, make_method
from baselines.vitad.settings import PRESETS

GRID, CHANNELS = (3, 4), (8, 8, 8, 8)
SETTINGS = replace(PRESETS["paper"], channels=8, n_heads=2)
TINY = {"channels": "32", "n_heads": "2", "n_steps": "30"}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return ViTAD(CHANNELS, (16,) * 4, GRID, SETTINGS).eval()


@pytest.fixture
def features():
    torch.manual_seed(1)
    return [torch.randn(2, 8, *GRID) for _ in CHANNELS]


def test_the_encoders_features_are_those_after_its_blocks_without_a_norm(tmp_path):
    torch.manual_seed(0)
    small = timm.create_model("test_vit")  # of 160 pixels
    torch.save(small.state_dict(), tmp_path / "weights.pt")
    whole = timm.create_model("test_vit", dynamic_img_size=True).eval()
    whole.load_state_dict(small.state_dict())
    model = build_vitad(
        replace(SETTINGS, backbone="test_vit", image_size="96x128", blocks=(2, 4, 5, 6)), tmp_path / "weights.pt"
    )
    assert (model.backbone.strides, model.decoder.grid) == ((16,) * 4, (6, 8))
    images = torch.rand(2, 3, 96, 128) * 255
    found = dict(zip((2, 4, 5, 6), model.backbone(images), strict=True))
    with torch.inference_mode():
        tokens = whole._pos_embed(whole.patch_embed((images - model.backbone.mean) / model.backbone.std))
        for number, block in enumerate(whole.blocks, start=1):
            tokens = block(tokens)
            if number in found:
                cells = tokens[:, whole.num_prefix_tokens :].transpose(1, 2).reshape(2, 64, 6, 8)
                torch.testing.assert_close(found[number], cells, rtol=1e-3, atol=1e-4)


def test_the_fuser_is_one_linear_layer_per_token():
    torch.manual_seed(0)
    fuser, values = Fuser(5, 8), torch.randn(2, 5, *GRID)
    expected = torch.stack([functional.linear(values[:, :, row, col], fuser.weight, fuser.bias)
                            for row in range(3) for col in range(4)], dim=1)  # fmt: skip
    torch.testing.assert_close(fuser(values), expected)


def test_the_decoder_gives_the_deepest_level_first():
    torch.manual_seed(0)
    decoder, tokens = ViTDecoder(GRID, 8, 2, 9, (8, 8, 8)).eval(), torch.randn(2, 12, 8)
    after = tokens + decoder.position
    expected = []
    for number, block in enumerate(decoder.blocks, start=1):
        after = block(after)
        if number in (3, 6, 9):
            expected.insert(0, after.transpose(1, 2).reshape(2, 8, 3, 4))
    for ours, theirs in zip(decoder(tokens), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_features_of_a_convolutional_backbone_meet_on_the_grid_of_the_last_that_is_rebuilt():
    torch.manual_seed(0)
    net = ViTAD((3, 5, 7, 9), (4, 8, 16, 32), (4, 6), SETTINGS)
    given = [torch.randn(2, n, 16 // 2**level, 24 // 2**level) for level, n in enumerate((3, 5, 7, 9))]
    pairs = net(given)
    assert [target.shape for target, _ in pairs] == [(2, n, 4, 6) for n in (3, 5, 7)]
    assert [rebuilt.shape for _, rebuilt in pairs] == [(2, n, 4, 6) for n in (3, 5, 7)]
    torch.testing.assert_close(pairs[0][0][0, 0, 1, 2], given[0][0, 0, 4:8, 8:12].mean())
    torch.testing.assert_close(pairs[2][0], given[2])


def test_the_map_is_the_sum_of_cosine_distances(net, features):
    net.smoothing = 0
    expected = np.zeros((2, *GRID))
    for target, rebuilt in net(features):
        t, r = target.numpy(), rebuilt.detach().numpy()
        expected += 1 - (t * r).sum(1) / np.sqrt((t**2).sum(1) * (r**2).sum(1))
    np.testing.assert_allclose(net.anomaly_map(features, GRID).detach(), expected, atol=1e-5)
    maps = net.level_maps(features, (12, 16)).detach()
    assert maps.shape == (2, 3, 12, 16)
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 2


def test_the_loss_is_one_cosine_per_image_and_level_and_blind_to_scale(net, features):
    for number, (target, rebuilt) in enumerate(net(features), start=1):
        expected = np.mean([
            1 - np.dot(t.ravel(), r.ravel()) / np.linalg.norm(t) / np.linalg.norm(r)
            for t, r in zip(target.numpy(), 7 * rebuilt.detach().numpy(), strict=True)
        ])  # fmt: skip
        assert float(net.losses(features)[f"level_{number}"].detach()) == pytest.approx(expected, rel=1e-4)
    for target, rebuilt in ((first, second.detach()) for first, second in net.pairs(features)):
        error = float((target - rebuilt).square().sum())
        for factor in (0.99, 1.01):
            assert error < float((target - factor * rebuilt).square().sum())


def test_biases_and_norms_do_not_decay(net):
    decaying, others = net.parameter_groups()
    assert others["weight_decay"] == 0
    assert {values.ndim for values in others["params"]} == {1}
    assert len(decaying["params"]) + len(others["params"]) == len(list(net.parameters()))


def test_the_paper_preset_holds_the_authors_configuration():
    paper = PRESETS["paper"]
    assert (paper.image_size, paper.n_epochs, paper.batch_size, paper.smoothing) == (256, 100, 8, 4)
    assert (paper.learning_rate, paper.weight_decay, paper.clip_norm) == (1e-4, 1e-4, 5)
    assert (paper.rate(0.79), paper.rate(0.81)) == pytest.approx((1e-4, 1e-5))
    model = build_vitad(paper, pretrained=False)
    assert (model.backbone.channels, model.decoder.grid) == ((384,) * 4, (16, 16))
    block = 3 * (384 * 384 + 384) + 384 * 384 + 384 + 2 * 4 * 384 * 384 + 4 * 384 + 384 + 2 * 2 * 384
    expected = 9 * block + 256 * 384 + 384 * 384 + 384
    assert sum(values.numel() for values in model.decoder.parameters()) == expected
    encoder = 12 * block + 257 * 384 + 384 + 3 * 16 * 16 * 384 + 384  # with a class token
    assert sum(values.numel() for values in model.backbone.parameters()) == encoder
    with torch.inference_mode():
        features = model.backbone(torch.rand(1, 3, 256, 256) * 255)
        assert all(0.5 < float(term) < 1.5 for term in model.losses(features).values())  # unlearned: hardly related
        assert model.eval().anomaly_map(features, (256, 256)).shape == (1, 256, 256)


def test_a_short_training_lowers_the_loss_and_repeats(fit_tiny):
    (method, log, maps), (_, _, again) = (fit_tiny(make_method, TINY) for _ in range(2))
    levels = [f"level_{number}" for number in (1, 2, 3)]
    assert sum(log[-1][level] for level in levels) < 0.95 * sum(log[0][level] for level in levels)
    assert set(method.learned) == {"a", "b"}
    np.testing.assert_array_equal(maps, again)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"image_size": "112"}, "not a multiple of the coarsest stride 32"),
        ({"n_layers": "8"}, "rebuilt, after equal parts of the 8 layers"),
        ({"strides": "16"}, "all but the last are rebuilt"),
        ({"channels": "100"}, "channels 100 is not a multiple of n_heads 3"),
        ({"backbone": "test_vit", "blocks": "2,4,6,7"}, "test_vit has 6 of one stride"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, text):
    with pytest.raises(InputError, match=text):
        make_method(MethodOptions(settings=settings))


def test_without_weights_the_paper_preset_says_what_is_missing_before_a_training(monkeypatch):
    def offline(*_: object, **given: object) -> torch.nn.Module:
        if given.get("pretrained"):
            raise OSError("no network")
        return create(*_, **given)

    create = timm.create_model
    monkeypatch.setattr(backbones.timm, "create_model", offline)
    with pytest.raises(MissingWeightsError, match=r"vit_small_patch16_224\.dino.*--backbone-weights FILE"):
        make_method(MethodOptions(preset="paper", device="cpu"))


class Official(nn.Module):
    """ADer's networks are whole ViTs of timm, the second with other positions; each has parts that it never uses."""

    def __init__(self):
        super().__init__()
        sizes = {"img_size": 64, "patch_size": 16, "embed_dim": 384, "num_heads": 6}
        self.net_t, self.net_s = VisionTransformer(depth=12, **sizes), VisionTransformer(depth=9, **sizes)
        self.net_s.pos_embed = nn.Parameter(0.1 * torch.randn(1, 16, 384))
        self.net_fusion = nn.ModuleDict({"fc": nn.Linear(384, 384)})

    def forward(self, images):
        """Features of encoder and decoder, (B, N, C) per level."""
        tokens, encoded, decoded = self.net_t._pos_embed(self.net_t.patch_embed(images)), [], []
        for number, block in enumerate(self.net_t.blocks, start=1):
            tokens = block(tokens)
            encoded += [tokens[:, 1:]] if number in (3, 6, 9, 12) else []
        tokens = self.net_fusion["fc"](encoded.pop()) + self.net_s.pos_embed
        for number, block in enumerate(self.net_s.blocks, start=1):
            tokens = block(tokens)
            decoded += [tokens] if number in (3, 6, 9) else []
        return encoded, decoded[::-1]


@pytest.fixture(scope="module")
def official():
    torch.manual_seed(0)
    return Official().eval()


def test_an_official_checkpoint_loads_whole_and_gives_the_features_of_its_networks(official):
    model = build_vitad(replace(PRESETS["paper"], image_size=64), pretrained=False).eval()
    load_official(model, {"net": official.state_dict(), "epoch": 100})
    images = torch.rand(2, 3, 64, 64) * 255
    with torch.inference_mode():
        expected = zip(*official(model.backbone.normalised(images)), strict=True)
        for ours, theirs in zip(model.decoder(model.backbone(images)), expected, strict=True):
            for own, its in zip(ours, theirs, strict=True):
                torch.testing.assert_close(own.flatten(2).transpose(1, 2), its, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("net_t.pos_embed", torch.zeros(1, 257, 384), r"model.pos_embed is \[1, 257, 384\], not \[1, 17, 384\]"),
        ("net_t.dist_token", torch.zeros(1, 1, 384), "model.dist_token has no place"),
        ("net_s.blocks.8.mlp.fc2.bias", None, "decoder.blocks.8.mlp.fc2.bias is missing"),
        ("net_q.weight", torch.zeros(1), "net_q.weight has no place"),
    ],
)
def test_an_official_checkpoint_that_does_not_fit_is_refused_by_entry(official, name, entry, said):
    model = build_vitad(replace(PRESETS["paper"], image_size=64), pretrained=False)
    state = {**official.state_dict(), name: entry}
    with pytest.raises(InputError, match=said):
        load_official(model, {key: values for key, values in state.items() if values is not None})
