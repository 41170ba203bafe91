from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from baselines.simplenet.local_features import LocalFeatures
from baselines.simplenet.model import SimpleNet, build_simplenet, load_official, make_method
from baselines.simplenet.settings import PRESETS

CHANNELS = (4, 8)
SETTINGS = replace(PRESETS["cpu"], hidden=16)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return SimpleNet(CHANNELS, SETTINGS)


@pytest.fixture
def features():
    torch.manual_seed(1)
    return [torch.randn(2, CHANNELS[0], 8, 6), torch.randn(2, CHANNELS[1], 4, 3)]


def test_section_3_1_local_features_are_means_of_3_by_3_on_the_grid_of_the_shallowest_level(features):
    found = LocalFeatures(CHANNELS, 0)(features)
    means = [functional.avg_pool2d(values, 3, stride=1, padding=1) for values in features]
    expected = torch.cat([means[0], functional.interpolate(means[1], (8, 6), mode="bilinear")], dim=1)
    torch.testing.assert_close(found, expected)


def test_section_3_1_an_embedding_is_of_equal_stretches_of_all_values_of_a_neighbourhood():
    levels = [torch.randn(2, n, 5, 4) for n in CHANNELS]  # on one grid, so that nothing is upsampled
    padded = [np.pad(values.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1))) for values in levels]
    expected = np.zeros((2, 12, 5, 4))
    for place in np.ndindex(2, 5, 4):
        image, row, column = place
        around = [values[image, :, row : row + 3, column : column + 3].ravel() for values in padded]
        stretches = np.concatenate([values.reshape(12, -1).mean(1) for values in around])
        expected[image, :, row, column] = stretches.reshape(12, 2).mean(1)
    np.testing.assert_allclose(LocalFeatures(CHANNELS, 12)(levels), expected, atol=1e-6)


def test_section_3_2_the_adaptor_is_one_linear_layer(net, features):
    local = net.local_features(features)
    expected = torch.einsum("bcij,dc->bijd", local, net.adaptor.weight) + net.adaptor.bias
    torch.testing.assert_close(net(features), expected)


def test_section_3_3_noise_has_the_deviation_that_is_set(features):
    net = SimpleNet(CHANNELS, replace(SETTINGS, noise=0.7))
    seen = []
    net.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net.judged([values.repeat(40, 1, 1, 1) for values in features])
    normal, anomalous = seen[0].chunk(2)
    assert float((anomalous - normal).detach().std()) == pytest.approx(0.7, rel=0.02)


def test_section_3_5_the_loss_is_truncated_at_the_margin(net, features, monkeypatch):
    scores = torch.tensor([[-1.0], [0.0], [0.25], [3.0]])
    monkeypatch.setattr(net, "judged", lambda _: (scores, scores))
    terms = net.losses(features)
    assert float(terms["normal"]) == pytest.approx((1.5 + 0.5 + 0.25 + 0) / 4)
    assert float(terms["noisy"]) == pytest.approx((0 + 0.5 + 0.75 + 3.5) / 4)


def test_section_3_6_the_map_is_the_negative_score(net, features):
    net.eval()
    net.smoothing = 0
    scores = net.discriminator(net(features).flatten(0, 2)).view(2, 8, 6)
    torch.testing.assert_close(net.anomaly_map(features, (8, 6)), -scores)


def test_adaptor_and_discriminator_learn_at_their_own_rates_and_nothing_else_learns():
    paper = PRESETS["paper"]
    model = build_simplenet(replace(paper, image_size=64), pretrained=False)
    adaptor, discriminator = model.parameter_groups()
    assert adaptor["rate_share"] * paper.learning_rate == 1e-4
    assert adaptor["weight_decay"] == 0.01  # of PyTorch's AdamW
    assert set(discriminator) == {"params"}
    trained = sum(parameter.numel() for group in (adaptor, discriminator) for parameter in group["params"])
    # adaptor and its bias; first layer and its bias, batch normalisation, second layer without bias
    assert trained == 1536 * 1536 + 1536 + 1536 * 1024 + 1024 + 2 * 1024 + 1024
    assert {id(value) for value in model.parameters() if value.requires_grad} == {
        id(value) for group in (adaptor, discriminator) for value in group["params"]
    }
    assert (paper.learning_rate, paper.weight_decay, paper.noise, paper.margin) == (2e-4, 1e-5, 0.015, 0.5)
    assert (paper.n_epochs, paper.batch_size, paper.image_size, paper.smoothing) == (160, 8, 288, 4)
    assert {paper.rate(progress) for progress in (0, 0.5, 0.999)} == {2e-4}


def test_a_discriminator_that_knows_nothing_yet_loses_one_margin_per_side():
    torch.manual_seed(0)
    model = build_simplenet(replace(PRESETS["paper"], image_size=64), pretrained=False)
    terms = model.losses(model.backbone(torch.rand(2, 3, 64, 64) * 255))
    total = float((terms["normal"] + terms["noisy"]).detach())
    assert total == pytest.approx(2 * 0.5, rel=0.5)  # scores of mean 0 that do not depend on the truth
    assert model.eval()(torch.rand(1, 3, 64, 64) * 255).shape == (1, 64, 64)


def test_an_embedding_that_does_not_divide_what_it_averages_is_refused():
    settings = replace(SETTINGS, backbone="test_efficientnet", image_size=64, embedding=1000)
    with pytest.raises(InputError, match=r"embedding 1000 does not divide the \d+ x 9 values"):
        build_simplenet(settings, pretrained=False)


def test_a_short_training_lowers_the_loss_at_both_rates_and_repeats(fit_tiny):
    settings = {"hidden": "16", "n_steps": "40", "noise": "1", "learning_rate": "0.01"}
    (method, log, maps), (_, _, again) = (fit_tiny(make_method, settings) for _ in range(2))
    assert log[-1]["normal"] + log[-1]["noisy"] < 0.7 * (log[0]["normal"] + log[0]["noisy"])
    assert set(method.learned) == {"a", "b"}
    assert all(found.place_error is None for found in method.learned.values())
    np.testing.assert_array_equal(maps, again)


def test_image_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="not a multiple of the coarsest stride 16"):
        make_method(MethodOptions(settings={"image_size": "100"}))


def official():
    """Names and shapes of the authors' ``ckpt.pth``."""
    shapes = {
        "discriminator": {
            "body.block1.0.weight": (1024, 1536),
            "body.block1.0.bias": (1024,),
            **{f"body.block1.1.{name}": (1024,) for name in ("weight", "bias", "running_mean", "running_var")},
            "body.block1.1.num_batches_tracked": (),
            "tail.weight": (1, 1024),
        },
        "pre_projection": {"layers.0fc.weight": (1536, 1536), "layers.0fc.bias": (1536,)},
    }
    return {part: {name: torch.rand(shape) for name, shape in own.items()} for part, own in shapes.items()}


def test_official_weights_load_whole_and_are_refused_where_they_do_not_fit():
    model = build_simplenet(replace(PRESETS["paper"], image_size=64), pretrained=False)
    state = official()
    load_official(model, state)
    assert torch.equal(model.decoder.adaptor.weight, state["pre_projection"]["layers.0fc.weight"])
    assert torch.equal(model.decoder.discriminator[3].weight, state["discriminator"]["tail.weight"])
    tail = state["discriminator"].pop("tail.weight")
    for entries, text in (
        ({}, "in 1 entries, first discriminator.3.weight is missing"),
        ({"tail.weight": tail, "tail.bias": torch.zeros(1)}, "first discriminator.3.bias has no place"),
        ({"tail.weight": tail[:, :9]}, r"discriminator.3.weight is \[1, 9\], not \[1, 1024\]"),
    ):
        with pytest.raises(InputError, match=text):
            load_official(model, state | {"discriminator": state["discriminator"] | entries})
