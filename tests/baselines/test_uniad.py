from dataclasses import replace

import numpy as np
import pytest
import tifffile
import timm
import torch
from PIL import Image
from torch import nn

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import of_first_port
from aseg_bench.training.checkpoints import TrainingJob, TrainingState, write_checkpoint
from baselines.uniad.model import UniADDecoder, build_uniad, load_official
from baselines.uniad.settings import PRESETS, UniADSettings
from tests.baselines.first_port import first_port

CHANNELS = (4, 6)
SETTINGS = UniADSettings(channels=16, n_layers=2, n_heads=2, ffn_channels=16, neighbour_size=1)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return UniADDecoder(CHANNELS, (4, 4), SETTINGS)


@pytest.fixture
def features():
    torch.manual_seed(1)
    return [torch.randn(2, CHANNELS[0], 8, 8), torch.randn(2, CHANNELS[1], 4, 4)]


def test_all_levels_are_reconstructed_on_the_coarsest_grid(decoder, features):
    target, reconstructed = decoder(features)
    assert target.shape == reconstructed.shape == (2, 16, 10)
    torch.testing.assert_close(target[..., 4:], features[1].flatten(2).transpose(1, 2))


def test_a_perfect_reconstruction_costs_nothing_and_maps_to_zero(decoder, features, monkeypatch):
    target, _ = decoder.eval()(features)
    monkeypatch.setattr(decoder, "forward", lambda _: (target, target.clone()))
    assert float(decoder.losses(features)["mse"]) == 0
    assert float(decoder.anomaly_map(features, (16, 16)).abs().max()) == 0


def test_the_map_is_the_euclidean_distance_of_each_cell(decoder, features):
    decoder.eval()
    target, reconstructed = decoder(features)
    expected = (target - reconstructed).square().sum(2).sqrt().reshape(2, 4, 4)
    torch.testing.assert_close(decoder.anomaly_map(features, (4, 4)), expected)


def test_noise_is_added_in_training_only(decoder, features):
    decoder.eval()
    assert torch.equal(decoder(features)[1], decoder(features)[1])
    decoder.train()
    assert not torch.equal(decoder(features)[1], decoder(features)[1])


def test_no_attention_sees_the_position_itself():
    torch.manual_seed(0)
    decoder = UniADDecoder(CHANNELS, (4, 4), SETTINGS).eval()
    assert decoder.mask.diagonal().all()
    assert int(decoder.mask.sum()) == 16


def test_all_parameters_learn(decoder, features):
    decoder.losses(features)["mse"].backward()
    silent = [name for name, parameter in decoder.named_parameters() if parameter.grad is None]
    assert silent == []


def test_images_that_are_not_square_map_and_learn_in_their_own_size():
    model = build_uniad(replace(SETTINGS, backbone="test_efficientnet", image_size="64x96"), pretrained=False)
    images = torch.rand(2, 3, 64, 96) * 255
    model.train().losses(model.backbone(images))["mse"].backward()
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())
    assert model.eval()(images).shape == (2, 64, 96)
    assert model.decoder.queries.shape[1] == 4 * 6


def test_the_paper_preset_holds_the_authors_configuration():
    paper = PRESETS["paper"]
    assert (paper.channels, paper.n_layers, paper.n_heads, paper.ffn_channels) == (256, 4, 8, 1024)
    assert (paper.neighbour_size, paper.jitter_scale, paper.jitter_probability) == (7, 20, 1)
    assert (paper.n_epochs, paper.batch_size, paper.step_share) == (1000, 8, 0.8)
    assert paper.feature_scaling == "none"


@pytest.fixture
def trained(tmp_path):
    """A tiny UniAD and the checkpoint that a training of it would leave."""
    settings = replace(SETTINGS, backbone="test_efficientnet", image_size=64)
    model = build_uniad(settings, pretrained=False).eval()
    job = TrainingJob("uniad", settings, MethodOptions(folder=tmp_path / "training"))
    write_checkpoint(job, 1, model, torch.optim.AdamW(model.decoder.parameters()), TrainingState(finished=True))
    return model, job.file


def test_all_that_a_pass_makes_lies_on_the_models_device(trained):
    model = trained[0].to("meta").train()  # torch refuses to mix it with tensors of the CPU, as it would CUDA's
    images = torch.empty(2, 3, 64, 64, dtype=torch.uint8, device="meta")
    assert model.losses(model.backbone(images))["mse"].is_meta
    assert model.eval()(images).is_meta


def test_the_command_line_maps_pictures_with_a_checkpoint(call, trained, tmp_path):
    model, checkpoint = trained
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    words = ("predict", tmp_path / "a.png", "--checkpoint", checkpoint, "--out", tmp_path, "--device", "cpu")
    outcome = call(*words)
    assert outcome.code == 0, outcome.err
    with torch.inference_mode():
        expected = model(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    np.testing.assert_allclose(tifffile.imread(tmp_path / "maps" / "a.tiff"), expected.numpy(), atol=1e-5)
    assert "one map per image, not one per level" in call(*words, "--levels").error


def test_onnx_gives_the_maps_of_torch_for_any_number_of_images(call, trained, tmp_path):
    pytest.importorskip("onnx", reason="export needs the extra `export`")
    runtime = pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
    model, checkpoint = trained
    outcome = call("export", "--checkpoint", checkpoint, "--out", tmp_path / "model.onnx")
    assert outcome.code == 0, outcome.err
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        images = torch.rand(batch, 3, 64, 64) * 255
        (maps,) = session.run(None, {"images": images.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(maps, model(images).numpy(), rtol=1e-4, atol=1e-4)


class Official(nn.Module):
    """The modules of the authors' reconstruction by their names; torch's own layers are named as theirs are."""

    def __init__(self, n_features, width, hidden, n_layers, grid):
        super().__init__()
        sizes = {"d_model": width, "nhead": 2, "dim_feedforward": hidden, "dropout": 0.0, "batch_first": True}
        self.input_proj, self.output_proj = nn.Linear(n_features, width), nn.Linear(width, n_features)
        self.pos_embed = nn.ModuleDict(
            {name: nn.Embedding(side, width // 2) for name, side in zip(("row_embed", "col_embed"), grid, strict=True)}
        )
        encoder = nn.ModuleDict({"layers": nn.ModuleList(nn.TransformerEncoderLayer(**sizes) for _ in range(n_layers))})
        decoder = nn.ModuleDict(
            {
                "layers": nn.ModuleList(nn.TransformerDecoderLayer(**sizes) for _ in range(n_layers)),
                "norm": nn.LayerNorm(width),
            }
        )
        for layer in decoder["layers"]:
            layer.learned_embed = nn.Embedding(grid[0] * grid[1], width)
        self.transformer = nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def forward(self, tokens, mask):
        rows, columns = self.pos_embed["row_embed"].weight, self.pos_embed["col_embed"].weight
        place = torch.stack([torch.cat([column, row]) for row in rows for column in columns])

        def found(attend, query, memory):
            return attend(query + place, memory + place, memory, attn_mask=mask)[0]

        def fed(layer, values):
            return layer.linear2(layer.linear1(values).relu())

        memory = self.input_proj(tokens)
        for layer in self.transformer["encoder"]["layers"]:
            memory = layer.norm1(memory + found(layer.self_attn, memory, memory))
            memory = layer.norm2(memory + fed(layer, memory))
        last = memory
        for layer in self.transformer["decoder"]["layers"]:
            query = layer.learned_embed.weight.expand(len(tokens), -1, -1)
            query = layer.norm1(query + found(layer.self_attn, query, memory))
            query = layer.norm2(query + found(layer.multihead_attn, query, last))
            last = layer.norm3(query + fed(layer, query))
        return self.output_proj(self.transformer["decoder"]["norm"](last))


def test_the_first_port_of_efficientnet_has_a_place_for_every_entry_in_timms():
    with torch.device("meta"):
        timms = timm.create_model("tf_efficientnet_b4").state_dict()
    found = of_first_port("tf_efficientnet_b4", first_port(1.4, 1.8, "meta"))
    assert {name: values.shape for name, values in found.items()} == {name: own.shape for name, own in timms.items()}
    with pytest.raises(InputError, match="resnet18 is not one"):
        of_first_port("resnet18", first_port(1, 1, "meta"))


def test_an_official_checkpoint_loads_whole_and_reconstructs_as_the_authors_layers_do():
    torch.manual_seed(0)
    settings = replace(SETTINGS, backbone="tf_efficientnet_b0", image_size="64x96")
    model = build_uniad(settings, pretrained=False).eval()
    n_features = sum(model.backbone.channels)
    official = Official(n_features, 16, 16, 2, (4, 6)).eval()
    for parameter in official.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = {f"module.reconstruction.{name}": values for name, values in official.state_dict().items()}
    backbone = first_port(1, 1)
    state |= {f"module.backbone.{name}": values for name, values in backbone.items()}
    load_official(model, {"epoch": 1, "state_dict": state})
    assert torch.equal(model.backbone.network.blocks[1][1].se.conv_expand.bias, backbone["_blocks.2._se_expand.bias"])
    sizes = [(side[0] // stride, side[1] // stride) for side, stride in zip([(64, 96)] * 4, (2, 4, 8, 16), strict=True)]
    features = [torch.randn(2, c, *size) for c, size in zip(model.backbone.channels, sizes, strict=True)]
    with torch.inference_mode():
        target, reconstructed = model.decoder(features)
        torch.testing.assert_close(reconstructed, official(target, model.decoder.mask), atol=1e-5, rtol=1e-5)
    for change, text in (
        (lambda entries: entries.pop("module.reconstruction.input_proj.bias"), "project.bias is missing"),
        (lambda entries: entries.update({"module.neck.a": torch.zeros(1)}), "official.neck.a has no place"),
        (lambda entries: entries.pop(next(n for n in entries if "learned_embed" in n)), "the official weights lack"),
        (lambda entries: entries.pop("module.backbone._blocks.3._bn1.running_var"), "bn2.running_var is missing"),
        (lambda entries: entries.update({"module.backbone._x": torch.zeros(1)}), "no place for _x"),
    ):
        changed = dict(state)
        change(changed)
        with pytest.raises(InputError, match=text):
            load_official(model, changed)
