"""About how long a method will take, from what is timed here, against work whose length is known."""

from types import SimpleNamespace

import pytest
import torch

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training import data, engine, method, timing
from aseg_bench.training.checkpoints import TrainingState
from aseg_bench.training.data import FeatureSource, load_images
from aseg_bench.training.timing import seconds_per_step, spread
from tests.training.conftest import SETTINGS
from tests.training.test_live_methods import LIVE

STEP, READ, MAP = 1 / 8, 1 / 64, 1 / 32  # seconds by a clock that stands still otherwise


@pytest.fixture
def clock(monkeypatch):
    """A step, an image that is read and a map take their time, and nothing else does; a second of steps is timed."""
    now = [0.0]

    def slow(place, name, seconds):
        real = getattr(place, name)

        def work(*given, **named):
            result = real(*given, **named)
            now[0] += seconds(*given)
            return result

        monkeypatch.setattr(place, name, work)

    slow(FeatureSource, "batch", lambda *_: STEP)
    slow(method, "load_images", lambda samples, *_: READ * len(samples))
    slow(method, "maps_of", lambda _, samples, *__: MAP * len(samples))
    for place in (engine, timing):
        monkeypatch.setattr(place, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(method, "TIMED_SECONDS", 1.0)


def test_a_training_takes_its_steps_and_its_maps(make, samples, options, clock):
    found = make({"n_steps": "1000"}).estimate(samples, [])
    assert found == (pytest.approx(1000 * STEP + 6 * READ), "6 images, 8 steps timed here")
    assert not options.folder.exists()
    epochs = make({"n_steps": "0", "n_epochs": "500"}).estimate(samples * 4, [])  # 24 images, of which 8 are timed
    assert epochs.seconds == pytest.approx(500 * 24 / 2 * STEP + 24 * READ)
    mapped = make({"n_steps": "1"}).estimate(samples, samples * 50)
    n_maps = 300 + 6  # those that tell what it has learned; each is of an image that is read
    assert mapped == (pytest.approx(STEP + 6 * READ + n_maps * (MAP + READ)), "6 images, 1 step, 8 maps timed here")


def test_a_budget_and_what_is_done_already_shorten_it(make, samples, clock):
    assert make({"n_steps": "10000"}, max_minutes=0.05).estimate(samples, []).seconds == pytest.approx(3 + 6 * READ)
    make({"n_steps": "10"}, max_minutes=0.01).fit(samples)
    finished = make({"n_steps": "10"}, max_minutes=0.01).estimate(samples, [])
    assert finished == (pytest.approx(6 * READ), "6 images timed here")


def test_what_a_stopped_training_has_done_is_not_counted_again(make, samples, clock, monkeypatch):
    real = FeatureSource.batch

    calls = iter(range(1000))

    def batch(source, indices, seed):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return real(source, indices, seed)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureSource, "batch", batch)
        with pytest.raises(KeyboardInterrupt):
            make({"n_steps": "10"}).fit(samples)
    assert make({"n_steps": "10"}).estimate(samples, []).seconds == pytest.approx(6 * STEP + 6 * READ)


def test_a_few_images_stand_for_all_where_these_would_be_too_many_to_keep(make, samples, monkeypatch):
    method = make()
    images, categories = load_images(samples, method._settings.tiling, quiet=True), ["a"] * 6
    n_numbers = sum(level[0].numel() for level in method.model.backbone(torch.from_numpy(images[:1])))
    monkeypatch.setattr(data, "FEATURE_LIMIT", 7 * 2 * n_numbers)  # of seven images in half precision
    kept, not_kept = (FeatureSource(method.model.backbone, categories, images, n_all=n) for n in (7, 8))
    assert (kept.is_kept, not_kept.is_kept) == (True, False)
    for source in (kept, not_kept):
        source.prepare()
        assert bool(source._kept) == source.is_kept


@pytest.mark.parametrize("name", LIVE)
def test_every_live_method_can_tell(name, weights, samples, monkeypatch):
    monkeypatch.setattr(method, "TIMED_SECONDS", 0.1)
    facts = LIVE[name]
    known = type(facts.presets()["cpu"]).__dataclass_fields__.keys() - {"smoothing"}
    settings = {key: value for key, value in SETTINGS.items() if key in known}
    options = MethodOptions(0, "cpu", backbone_weights=weights, settings=settings, quiet=True)
    found = facts.build(options).estimate(samples, samples)
    assert 0 < found.seconds < 60
    assert found.basis.endswith("6 maps timed here")
    with pytest.raises(InputError, match="train/good"):
        facts.build(options).estimate([], samples)


def test_first_steps_which_warm_up_are_left_out_where_there_are_enough():
    log = [{"step": step, "seconds": 5 + 0.1 * step} for step in (10, 20, 30)]
    assert seconds_per_step(TrainingState(30, 8.0, log)) == pytest.approx(0.1)
    assert seconds_per_step(TrainingState(3, 6.0, [{"step": 3, "seconds": 6.0}])) == pytest.approx(2)


def test_a_few_samples_lie_evenly_over_all():
    assert spread(range(3)) == [0, 1, 2]
    few = spread(range(1000))
    assert (few[0], few[-1], len(few)) == (0, 999, timing.N_TIMED)
