from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import uni_as
from aseg_bench.datasets import DATASETS
from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.settings import choose_settings
from uni_as.model import make_method
from uni_as.settings import PRESETS

from .conftest import SETTINGS, tiny

LOW_POWER = "tf_efficientnet_lite0"


def test_one_pass_at_224_costs_at_most_10_gflop_without_the_backbone():
    model = uni_as.build_uni_as(preset="paper", backbone=LOW_POWER).eval()
    with torch.inference_mode():
        features = model.backbone(torch.rand(1, 3, 224, 224) * 255)
        with FlopCounterMode(display=False) as counter:
            maps = model.anomaly_map(features, (224, 224))
    assert maps.shape == (1, 224, 224)
    assert 5e9 < counter.get_total_flops() <= 10e9


def test_a_batch_of_images_gives_a_map_each_whatever_its_neighbours(model):
    images = torch.rand(3, 3, 64, 64) * 255
    with torch.inference_mode():
        maps = model(images)
        assert maps.shape == (3, 64, 64)
        torch.testing.assert_close(model(images[1:2])[0], maps[1])
        assert (maps >= 0).all()


def test_the_map_is_the_product_of_the_maps_of_its_levels(model):
    images = torch.rand(2, 3, 64, 64) * 255
    with torch.inference_mode():
        by_level = model.level_maps(images)
        assert by_level.shape == (2, 4, 64, 64)
        torch.testing.assert_close(model(images), by_level.prod(1))


def test_levels_are_reconstructed_from_deep_to_shallow(model):
    """A level's loss touches its own embedding and those of deeper levels, none shallower."""
    features = [level.clone() for level in model.backbone(torch.rand(1, 3, 64, 64) * 255)]
    for number in range(1, 5):
        model.zero_grad()
        model.losses(features)[f"level_{number}"].backward()
        touched = [
            level
            for level, embed in enumerate(model.decoder.embed, start=1)
            if embed.project.weight.grad is not None and embed.project.weight.grad.abs().max() > 0
        ]
        assert touched == list(range(number, 5))


def test_noise_strikes_the_features_in_training_only():
    model = tiny(dropout=0.0, jitter_probability=1.0)
    features = model.backbone(torch.rand(1, 3, 64, 64) * 255)
    with torch.no_grad():
        first, again = model.losses(features), model.losses(features)
        noisy = model.train().losses(features)
    assert first == again
    assert all(noisy[name] != first[name] for name in first)


def of_line(number):
    typed = {"true": True, "false": False}
    return tiny(**{name: typed.get(value, value) for name, value in uni_as.TABLE_4[number - 1].items()})


@pytest.mark.parametrize("number", range(1, 7))
def test_every_line_of_table_4_maps_and_learns_with_all_its_weights(number):
    model, images = of_line(number), torch.rand(2, 3, 64, 64) * 255
    assert model(images).shape == (2, 64, 64)
    torch.stack(list(model.losses(model.backbone(images)).values())).sum().backward()
    assert [name for name, weight in model.decoder.named_parameters() if weight.grad is None] == []


def test_the_multi_level_lines_of_table_4_grow_to_the_full_model():
    sizes = [sum(weight.numel() for weight in of_line(number).decoder.parameters()) for number in range(2, 7)]
    assert sizes == sorted(sizes)
    assert sizes[-2] == sizes[-1]  # gates have no weights
    assert uni_as.TABLE_4[-1] == {}


def test_the_baseline_of_table_4_works_on_the_fused_lowest_resolution():
    model = tiny(multi_level=False)
    target, reconstructed = model.decoder(model.backbone(torch.rand(2, 3, 64, 64) * 255))
    assert target.shape == reconstructed.shape == (2, sum(model.backbone.channels), 4, 4)
    assert list(model.losses(model.backbone(torch.rand(1, 3, 64, 64)))) == ["fused"]
    with pytest.raises(InputError, match="not one per level"):
        model.level_maps(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_size": 100}, "image_size 100 is not a multiple of the coarsest stride 16; try 96"),
        ({"channels": 18}, "channels 18"),
        ({"channels": 20, "n_heads": 3}, "3 heads"),
        ({"blur_size": 4}, "odd"),
        ({"smoothing": (3, 3)}, "one size for each of 4 levels"),
        ({"smoothing": (3, 4, 3, 3)}, "odd sizes"),
        ({"smoothing": (65, 3, 3, 3)}, "too large for maps of half the image_size 64"),
        ({"blur_size": 9}, "too large for 4 x 4 deepest cells of image_size 64"),
        ({"image_size": 16, "neighbour_size": 0}, "too large for 1 x 1 deepest cells"),
        ({"neighbour_size": 5}, "hides all of the 4 x 4 positions from those in the middle"),
        ({"levels": (0, 1)}, "numbers from 1 to 4"),
        ({"levels": ()}, "numbers from 1 to 4"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(changes, said):
    with pytest.raises(InputError, match=said):
        tiny(**changes)


@pytest.mark.parametrize("setting", ["swap_probability=1.5", "jitter_probability=-0.1", "dropout=2", "n_heads=0"])
def test_a_number_beyond_its_range_is_refused_by_name(setting):
    name, value = setting.split("=")
    with pytest.raises(InputError, match=f"setting {name} = {value}"):
        choose_settings(PRESETS, "cpu", {name: value})


def test_a_backbone_beside_settings_is_refused_as_the_settings_name_one():
    with pytest.raises(InputError, match=f"backbone {LOW_POWER} is given beside settings"):
        uni_as.build_uni_as(backbone=LOW_POWER, settings=SETTINGS, pretrained=False)


def test_an_image_of_another_size_is_refused(model):
    with pytest.raises(InputError, match="image_size"):
        model(torch.rand(1, 3, 96, 96))
    with pytest.raises(InputError, match="4 x 6 deepest cells"):  # as many, but elsewhere
        tiny(image_size="64x96")(torch.rand(1, 3, 96, 64))


@pytest.mark.parametrize("changes", [{}, {"multi_level": False}, {"combination": "joint"}, {"positions": "cells"}])
def test_images_that_are_not_square_map_and_learn_in_their_own_size(changes):
    model, images = tiny(image_size="64x96", swap_probability=1.0, **changes).train(), torch.rand(2, 3, 64, 96) * 255
    torch.stack(list(model.losses(model.backbone(images)).values())).sum().backward()
    assert all(weight.grad is not None for weight in model.decoder.parameters())
    assert model.eval()(images).shape == (2, 64, 96)


def test_the_paper_preset_holds_the_papers_numbers():
    paper = PRESETS["paper"]
    assert (paper.image_size, paper.channels, paper.n_epochs, paper.batch_size) == (224, 256, 1000, 64)
    assert (paper.learning_rate, paper.weight_decay, paper.schedule, paper.step_share) == (1e-4, 1e-4, "step", 0.4)
    assert (paper.n_heads, paper.ffn_channels, paper.dropout, paper.neighbour_size) == (4, 2048, 0.1, 7)
    assert paper.feature_scaling == "none"


def test_data_set_presets_are_the_paper_with_lists_of_real_categories():
    mvtec, visa = PRESETS["mvtec"], PRESETS["visa"]
    plain = dict.fromkeys(("flip_horizontal", "flip_vertical", "rotate"), frozenset())
    assert replace(mvtec, **plain) == replace(visa, **plain) == PRESETS["paper"]
    for key, preset in (("mvtec_ad", mvtec), ("visa", visa)):
        listed = preset.flip_horizontal | preset.flip_vertical | preset.rotate
        assert listed <= set(DATASETS[key].counts)
    assert "hazelnut" in mvtec.rotate


def test_unknown_settings_name_their_neighbours():
    with pytest.raises(InputError, match="did you mean channels"):
        make_method(MethodOptions(settings={"chanels": "3"}))
    assert SETTINGS.levels == (1, 2, 3, 4)
