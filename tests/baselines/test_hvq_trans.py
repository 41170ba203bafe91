from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.checkpoints import CHECKPOINT
from aseg_bench.training.trained import TrainedModel
from baselines.hvq_trans.codebooks import Codebooks
from baselines.hvq_trans.experts import Experts
from baselines.hvq_trans.model import HVQTrans, build_hvq_trans, load_official, make_method
from baselines.hvq_trans.settings import PRESETS
from baselines.hvq_trans.transformer import Layer
from tests.baselines.first_port import first_port

CHANNELS, GRID = (4, 6, 8, 10), (3, 4)
SETTINGS = replace(PRESETS["cpu"], channels=8, n_heads=2, ffn_channels=16, n_codes=5)
LABELS = torch.tensor([1, 0])
TINY = {"channels": "16", "n_heads": "2", "ffn_channels": "32", "n_codes": "16", "n_steps": "30"}


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = HVQTrans(CHANNELS, GRID, SETTINGS)
    made.set_categories(["a", "b"])
    return made


@pytest.fixture
def features():
    torch.manual_seed(1)
    return [torch.randn(2, n, 24 // 2**level, 32 // 2**level) for level, n in enumerate(CHANNELS)]


def trained_codes(count=2):
    torch.manual_seed(0)
    return Codebooks(count, 5, 3, 0.9, 0).eval(), torch.randn(2, 7, 3)


def test_figure_2b_a_vector_becomes_the_nearest_code_of_its_category():
    books, vectors = trained_codes()
    found, commitment = books(vectors, LABELS)
    errors = []
    for image, label in enumerate(LABELS):
        for place in range(7):
            distances = ((books.codes[label] - vectors[image, place]) ** 2).sum(1)
            torch.testing.assert_close(found[image, place], books.codes[label, int(distances.argmin())])
            errors.append(float(distances.min()) / 3)
    assert float(commitment) == pytest.approx(np.mean(errors), rel=1e-5)


def test_figure_2b_gradients_pass_codes_as_if_they_were_the_vectors():
    books, vectors = trained_codes()
    vectors.requires_grad_()
    weights = torch.randn(2, 7, 3)
    (books(vectors, LABELS)[0] * weights).sum().backward()
    torch.testing.assert_close(vectors.grad, weights)


def test_figure_2b_a_code_is_the_moving_average_of_what_chose_it():
    books, vectors = trained_codes(1)
    books.train()
    sums, counts = books.codes[0].double().numpy().copy(), np.zeros(5)
    codes = sums.copy()
    for _ in range(3):
        books(vectors, torch.tensor([0, 0]))
        chosen = [np.argmin(((codes - vector) ** 2).sum(1)) for vector in vectors.flatten(0, 1).double().numpy()]
        for own, image in zip(np.reshape(chosen, (2, 7)), vectors.double().numpy(), strict=True):
            counts = 0.9 * counts + 0.1 * np.bincount(own, minlength=5)
            gathered = np.stack([image[own == code].sum(0) for code in range(5)])
            sums = 0.9 * sums + 0.1 * gathered
        smooth = (counts + 1e-5) / (counts.sum() + 5e-5) * counts.sum()
        codes = sums / smooth[:, None]
    np.testing.assert_allclose(books.codes[0], codes, rtol=1e-3)


def test_figure_2c_an_image_moves_only_the_codes_of_its_category():
    books, vectors = trained_codes(3)
    before = books.codes.clone()
    books.train()(vectors, torch.tensor([2, 0]))
    assert [bool((books.codes[label] == before[label]).all()) for label in range(3)] == [False, True, False]


def test_codes_that_nothing_chooses_start_again_at_vectors_of_their_category():
    torch.manual_seed(0)
    books = Codebooks(2, 5, 3, 0.9, restart_below=0.5)
    vectors = torch.randn(1, 7, 3) + 10
    found, commitment = books(vectors, torch.tensor([1]))
    assert all((code == vectors[0]).all(1).any() for code in found[0])
    assert float(commitment) < 3
    assert float(books.codes[0].abs().max()) < 5


def test_figure_2c_an_expert_is_the_linear_layer_of_its_category():
    torch.manual_seed(0)
    experts, tokens = Experts(3, 4, 6), torch.randn(2, 5, 4)
    found = experts(tokens, torch.tensor([2, 0]))
    for image, label in enumerate((2, 0)):
        expected = tokens[image] @ experts.weight[label] + experts.bias[label]
        torch.testing.assert_close(found[image], expected)


def test_figure_2d_a_layer_is_that_of_torch_with_positions_in_queries_and_keys():
    torch.manual_seed(0)
    layer, theirs = Layer(8, 2, 16, 0.0, has_memory=True), torch.nn.TransformerDecoderLayer(8, 2, 16, 0.0)
    named = {
        "self_attn": layer.attentions[0],
        "multihead_attn": layer.attentions[1],
        "linear1": layer.feed_forward[0],
        "linear2": layer.feed_forward[3],
        "norm1": layer.norms[0],
        "norm2": layer.norms[1],
        "norm3": layer.norms[2],
    }
    for name, module in named.items():
        getattr(theirs, name).load_state_dict(module.state_dict())
    tokens, memory = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    zero = torch.zeros(5, 8)
    expected = theirs(tokens.transpose(0, 1), memory.transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(layer(tokens, zero, memory), expected)
    assert not torch.allclose(layer(tokens, torch.randn(5, 8), memory), expected)


def test_figure_2_all_levels_but_the_deepest_are_quantised_together_with_its_codes(net):
    net.eval()
    outputs = [torch.randn(2, 12, 8) for _ in range(5)]
    prototypes, commitment = net.quantised(outputs, LABELS)
    top, expected = net.deepest(outputs[4], LABELS)
    assert [found.shape for found in prototypes] == [(2, 12, 16)] * 4
    for found, output, books in zip(prototypes, outputs[3::-1], net.others, strict=True):
        own, error = books(torch.cat([output, top], dim=2), LABELS)
        torch.testing.assert_close(found, own)
        expected = expected + error
    torch.testing.assert_close(commitment, expected)


def test_the_loss_and_the_map_are_of_the_error_per_cell(net, features):
    net.eval()
    target, rebuilt, commitment = (values.detach() for values in net(features, LABELS))
    assert target.shape == rebuilt.shape == (2, 12, 28)
    terms = net.losses(features, LABELS)
    assert float(terms["mse"].detach()) == pytest.approx(float(((target - rebuilt) ** 2).mean()), rel=1e-5)
    assert float(terms["commitment"].detach()) == pytest.approx(0.25 * float(commitment), rel=1e-5)
    distances = np.sqrt(((target - rebuilt).numpy() ** 2).sum(2)).reshape(2, 3, 4)
    np.testing.assert_allclose(net.anomaly_map(features, GRID, LABELS).detach(), distances, rtol=1e-4)
    (pair,) = net.pairs(features, LABELS)
    assert [values.shape for values in pair] == [(2, 28, 12)] * 2


def test_the_map_depends_on_the_category_that_is_told(net, features):
    net.eval()
    maps = [net.anomaly_map(features, GRID, torch.tensor([label] * 2)).detach() for label in (0, 1)]
    assert not torch.allclose(*maps)


def test_the_paper_preset_holds_the_authors_configuration():
    paper = PRESETS["paper"]
    assert (paper.image_size, paper.n_epochs, paper.batch_size, paper.clip_norm) == (224, 1000, 16, 0.1)
    assert (paper.learning_rate, paper.weight_decay, paper.rate(0.79), paper.rate(0.81)) == (1e-4, 1e-4, 1e-4, 1e-5)
    model = build_hvq_trans(paper, pretrained=False)
    assert model.backbone.channels == (24, 32, 56, 160)
    model.decoder.set_categories([f"category {number}" for number in range(15)])

    def attention(width):
        return 4 * (width * width + width)

    def feed_forward(width):
        return 2 * 1024 * width + 1024 + width

    encoder = 4 * (attention(256) + feed_forward(256) + 2 * 2 * 256)
    decoder = 4 * (2 * attention(512) + feed_forward(512) + 3 * 2 * 512) + 2 * 512
    project, positions, experts = 272 * 256 + 256, 2 * 14 * 128, 15 * (512 * 272 + 272)
    assert sum(values.numel() for values in model.decoder.parameters()) == (
        encoder + decoder + project + positions + experts
    )
    books = [model.decoder.deepest, *model.decoder.others]
    assert [tuple(own.codes.shape) for own in books] == [(15, 512, 256)] + [(15, 512, 512)] * 4


def test_a_short_training_lowers_the_loss_and_repeats(fit_tiny):
    (method, log, maps), (_, _, again) = (fit_tiny(make_method, TINY, smoothing=None) for _ in range(2))
    assert log[-1]["mse"] < 0.9 * log[0]["mse"]
    assert set(method.learned) == {"a", "b"}
    assert "is told the category" in next(finding.text for finding in method.findings if finding.kind == "told")
    np.testing.assert_array_equal(maps, again)


def test_a_category_that_it_was_not_trained_on_is_refused_with_those_that_it_knows(fit_tiny, tmp_path):
    from aseg_bench.records import Sample

    method, _, _ = fit_tiny(make_method, {**TINY, "n_steps": "1"}, smoothing=None)
    strange = Sample("tiny", "c", "test", "good", "0", tmp_path / "0.png")
    with pytest.raises(InputError, match=r"trained on, a, b, and not c; train it"):
        list(method.predict([strange]))
    with pytest.raises(InputError, match="must be told the category of every image; it knows a, b"):
        method.model(torch.zeros(1, 3, 64, 64))


def test_a_checkpoint_keeps_the_categories_and_pictures_of_unknown_category_are_refused(fit_tiny, tmp_path):
    method, _, _ = fit_tiny(make_method, {**TINY, "n_steps": "1"}, smoothing=None)
    (file,) = Path(tmp_path).rglob(CHECKPOINT)
    state = torch.load(file, weights_only=True)["model"]
    model = build_hvq_trans(method._settings, pretrained=False)
    model.load_state_dict(state)
    images = torch.rand(2, 3, 64, 64) * 255
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(images, ["b", "a"]), method.model.eval()(images, ["b", "a"]))
    with pytest.raises(InputError, match=r"must be told the category of every picture, .* let `aseg-bench run`"):
        TrainedModel.from_checkpoint(file, "cpu")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"image_size": "100"}, "not a multiple of the coarsest stride 16"),
        ({"channels": "30"}, "channels 30 is not an even multiple of n_heads 8"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, text):
    with pytest.raises(InputError, match=text):
        make_method(MethodOptions(settings=settings))


class Quantize(nn.Module):
    """A codebook by the authors' names: codes are columns."""

    def __init__(self, channels, n_codes):
        super().__init__()
        self.register_buffer("embed", torch.randn(channels, n_codes))
        self.register_buffer("cluster_size", torch.rand(n_codes))
        self.register_buffer("embed_avg", torch.randn(channels, n_codes))

    def forward(self, vectors):
        return self.embed[:, torch.cdist(vectors, self.embed.T).argmin(1)].T


class Official(nn.Module):
    """The modules of the authors' network by their names, for the 15 categories of MVTec-AD, one image at a time."""

    def __init__(self, n_features, width, hidden, n_layers, n_codes, grid):
        super().__init__()
        sizes = {"nhead": 2, "dim_feedforward": hidden, "dropout": 0.0}
        self.quantize_conv_t = nn.Conv2d(n_features, width, 1)
        for number in range(1, n_layers + 2):
            own = width if number == n_layers + 1 else 2 * width
            self.add_module(f"quantize_list_{number}", nn.ModuleList(Quantize(own, n_codes) for _ in range(15)))
        layers = (nn.TransformerEncoderLayer(width, **sizes) for _ in range(n_layers))
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        layers = (nn.TransformerDecoderLayer(2 * width, **sizes) for _ in range(n_layers))
        self.decoder = nn.ModuleDict({"layers": nn.ModuleList(layers), "norm": nn.LayerNorm(2 * width)})
        self.pos_embed = nn.ModuleDict(
            {name: nn.Embedding(side, width // 2) for name, side in zip(("row_embed", "col_embed"), grid, strict=True)}
        )
        self.input_proj = nn.Linear(n_features, width)  # never used
        self.output_proj_list = nn.ModuleList(nn.Linear(2 * width, n_features) for _ in range(15))

    def forward(self, features, label):
        """Features (C, rows, columns) rebuilt as tokens (N, C)."""
        rows, columns = self.pos_embed["row_embed"].weight, self.pos_embed["col_embed"].weight
        place = torch.stack([torch.cat([column, row]) for row in rows for column in columns])

        def fed(layer, values, norm):
            return norm(values + layer.linear2(layer.linear1(values).relu()))

        outputs = [self.quantize_conv_t(features[None])[0].flatten(1).T]
        for layer in self.encoder["layers"]:
            tokens = outputs[-1]
            found = layer.self_attn(tokens + place, tokens + place, tokens)[0]
            outputs.append(fed(layer, layer.norm1(tokens + found), layer.norm2))
        books = [getattr(self, f"quantize_list_{number}")[label] for number in range(1, len(outputs) + 1)]
        top, place = books[-1](outputs[-1]), torch.cat([place, place], dim=1)
        lower = zip(reversed(books[:-1]), reversed(outputs[:-1]), strict=True)
        memories = [book(torch.cat([output, top], dim=1)) for book, output in lower]
        tokens = memories[0]
        for layer, memory in zip(self.decoder["layers"], memories, strict=True):
            tokens = layer.norm1(tokens + layer.self_attn(tokens + place, tokens + place, tokens)[0])
            tokens = layer.norm2(tokens + layer.multihead_attn(tokens + place, memory + place, memory)[0])
            tokens = fed(layer, tokens, layer.norm3)
        return self.output_proj_list[label](self.decoder["norm"](tokens))


def official_model():
    settings = replace(SETTINGS, backbone="tf_efficientnet_b0", image_size="64x96", n_layers=3, feature_scaling="none")
    return build_hvq_trans(settings, pretrained=False).eval()


@pytest.fixture(scope="module")
def official():
    torch.manual_seed(0)
    network = Official(16 + 24 + 40 + 112, 8, 16, 3, 5, (4, 6)).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = network.state_dict() | {f"enc.{name}": values for name, values in first_port(1, 1).items()}
    return network, {f"module.{name}": values for name, values in state.items()}


def test_an_official_checkpoint_loads_whole_and_reconstructs_as_the_authors_layers_do(official):
    network, state = official
    model = official_model()
    load_official(model, {"state_dict": state, "epoch": 1})
    assert torch.equal(model.backbone.network.bn1.running_mean, state["module.enc._bn0.running_mean"])
    assert model.decoder.categories[0:15:7] == ["bottle", "metal_nut", "zipper"]
    features = [torch.randn(2, c, 64 // s, 96 // s) for c, s in zip((16, 24, 40, 112), (2, 4, 8, 16), strict=True)]
    with torch.inference_mode():
        target, found, _ = model.decoder(features, torch.tensor([7, 14]))
        for image, label in enumerate((7, 14)):
            expected = network(target[image].T.reshape(-1, 4, 6), label)
            torch.testing.assert_close(found[image], expected, rtol=1e-4, atol=1e-5)
    again = official_model()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.decoder.deepest.sums, model.decoder.deepest.sums)


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("module.quantize_list_2.14.embed", None, "quantize_list_2.0.embed and those of the other categories"),
        ("module.quantize_list_4.0.embed", torch.zeros(16, 5), "quantize_list_4.0.embed and those of the other"),
        ("module.quantize_list_5.0.embed", torch.zeros(8, 5), "quantize_list_5.0.embed has no place"),
        ("module.output_proj_list.15.weight", torch.zeros(1), "experts for 16 categories, and not for the 15"),
        ("module.decoder.layers.2.norm3.bias", None, "decode.2.norms.2.bias is missing"),
        ("module.enc._conv_stem.weight", None, "conv_stem.weight is missing"),
    ],
)
def test_an_official_checkpoint_that_does_not_fit_is_refused_by_entry(official, name, entry, said):
    state = {**official[1], name: entry}
    with pytest.raises(InputError, match=said):
        load_official(official_model(), {key: values for key, values in state.items() if values is not None})
