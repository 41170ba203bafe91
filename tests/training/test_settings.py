from dataclasses import dataclass

import pytest
import torch

from aseg_bench.errors import InputError
from aseg_bench.training.settings import TrainingSettings, choose_settings, plain


@dataclass(frozen=True)
class Settings(TrainingSettings):
    levels: tuple[int, ...] = (1, 2)
    rotate: frozenset[str] = frozenset()
    aware: bool = True


PRESETS = {"paper": Settings(), "cpu": Settings(batch_size=8)}


def test_fields_are_replaced_in_their_own_types():
    changes = {"learning_rate": "1e-3", "levels": "4, 1", "rotate": "tile,wood", "aware": "false", "batch_size": "3"}
    settings = choose_settings(PRESETS, "cpu", changes)
    assert settings == Settings(
        learning_rate=1e-3, levels=(4, 1), rotate=frozenset({"tile", "wood"}), aware=False, batch_size=3
    )


def test_sequences_may_be_emptied():
    assert choose_settings(PRESETS, "cpu", {"rotate": ""}).rotate == frozenset()


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        ("papr", {}, "did you mean paper"),
        ("cpu", {"learning_rat": "1"}, "did you mean learning_rate"),
        ("cpu", {"batch_size": "many"}, "setting batch_size = many"),
        ("cpu", {"batch_size": "0"}, "setting batch_size = 0"),
        ("cpu", {"image_size": "64,64"}, "setting image_size = 64,64: .*224, or HEIGHTxWIDTH"),
        ("cpu", {"tiles": "2by2"}, "setting tiles = 2by2: .*ROWSxCOLUMNS"),
        ("cpu", {"tiles": "0x2"}, "setting tiles = 0x2"),
        ("cpu", {"image_size": "0x64"}, "setting image_size = 0x64"),
        ("cpu", {"image_size": "64x"}, "setting image_size = 64x"),
        ("cpu", {"learning_rate": "-1"}, "setting learning_rate = -1"),
        ("cpu", {"schedule": "cosine"}, "'step' or 'one_cycle'"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(preset, changes, said):
    with pytest.raises(InputError, match=said):
        choose_settings(PRESETS, preset, changes)


def test_the_step_schedule_falls_tenfold_at_400_and_800_of_1000_epochs():
    settings = TrainingSettings(learning_rate=1.0, step_share=0.4)
    rates = [settings.rate(epoch / 1000) for epoch in (0, 399, 400, 799, 800, 999)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_one_cycle_is_pytorchs():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1.0, total_steps=1001, cycle_momentum=False)
    settings = TrainingSettings(learning_rate=1.0, schedule="one_cycle")
    for step in range(1001):
        assert settings.rate(step / 1000) == pytest.approx(cycle.get_last_lr()[0], abs=5e-3)
        optimiser.step()
        if step < 1000:
            cycle.step()


def test_steps_follow_epochs_unless_given():
    assert TrainingSettings(n_epochs=10, batch_size=4).steps(10) == 25
    assert TrainingSettings(n_epochs=10, batch_size=4).steps(10, n_processes=2) == 13
    assert TrainingSettings(n_epochs=10, batch_size=4, n_steps=7).steps(10) == 7


def test_an_image_size_that_does_not_fit_the_stride_names_one_that_does():
    assert TrainingSettings(image_size=224).grid((2, 4, 8, 16)) == (14, 14)
    assert TrainingSettings(image_size="96x32").grid((2, 4, 8, 16)) == (6, 2)
    with pytest.raises(InputError, match="image_size 100 is not a multiple of the coarsest stride 16; try 96"):
        TrainingSettings(image_size=100).grid((2, 4, 8, 16))
    with pytest.raises(InputError, match="image_size 96x100 is not a multiple of the coarsest stride 16; try 96"):
        TrainingSettings(image_size="96x100").grid((2, 4, 8, 16))
    with pytest.raises(InputError, match="try 48x96"):
        TrainingSettings(image_size="50x96").grid((2, 4, 8, 16))


@pytest.mark.parametrize(
    ("typed", "size", "kept"), [("64", (64, 64), 64), ("64x64", (64, 64), 64), (" 256X384", (256, 384), "256x384")]
)
def test_an_image_size_is_one_side_or_height_and_width(typed, size, kept):
    settings = choose_settings(PRESETS, "cpu", {"image_size": typed})
    assert (settings.size, plain(settings)["image_size"]) == (size, kept)


def test_plain_settings_are_the_same_in_every_process():
    names = plain(Settings(rotate=frozenset({"wood", "tile", "screw"})))
    assert names["rotate"] == ["screw", "tile", "wood"]
    assert names["levels"] == [1, 2]
