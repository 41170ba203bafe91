import csv
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_utilities.core import rank_zero
from PIL import Image
from torch.multiprocessing.spawn import ProcessExitedException

from aseg_bench.errors import InputError, TrainingError
from aseg_bench.methods import CUT_SHORT, MethodOptions
from aseg_bench.runs.loggers import make_logger
from aseg_bench.training import checkpoints, engine
from aseg_bench.training.checkpoints import CHECKPOINT, read_checkpoint
from aseg_bench.training.data import FeatureSource
from aseg_bench.training.engine import image_order, make_fabric
from aseg_bench.training.reconstruction import FeatureReconstruction


@pytest.fixture
def fail_at(monkeypatch):
    """Raise an error, or spoil the features, when the features of the given step are asked for."""

    def install(step, error=None, spoil=None):
        calls, real = iter(range(1000)), FeatureSource.batch

        def batch(self, indices, seed):
            now = next(calls) == step
            if now and error:
                raise error
            features = real(self, indices, seed)
            return [spoil(values) for values in features] if now and spoil else features

        monkeypatch.setattr(FeatureSource, "batch", batch)

    return install


@pytest.fixture
def saves_always(monkeypatch):
    monkeypatch.setattr(engine, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)


def content(options):
    return read_checkpoint(options.folder / CHECKPOINT)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(make, samples, options, tmp_path, fail_at):
    turned = {"rotate": "a,b"}  # dropout, jitter and augmentation all draw at random
    make(turned, folder=tmp_path / "whole").fit(samples)
    fail_at(3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        make(turned).fit(samples)
    assert content(options)["state"]["step"] == 3
    make(turned).fit(samples)
    whole, resumed = read_checkpoint(tmp_path / "whole" / CHECKPOINT), content(options)
    assert whole["state"]["step"] == resumed["state"]["step"] == 6
    for name, values in whole["model"].items():
        assert torch.equal(values, resumed["model"][name]), name
    for number, moments in whole["optimiser"]["state"].items():
        for name, values in moments.items():
            assert torch.equal(values, resumed["optimiser"]["state"][number][name]), (number, name)


def test_a_square_image_size_trains_the_same_however_it_is_typed(make, samples, options):
    maps = []
    for image_size in ("32", "32x32"):
        method = make({"image_size": image_size, "rotate": "a"})
        method.fit(samples)
        maps.append(next(method.predict(samples[:1])).scores)
        if image_size == "32":
            (options.folder / CHECKPOINT).rename(options.folder / "first.pt")
    assert (maps[0] == maps[1]).all()
    first, second = read_checkpoint(options.folder / "first.pt"), content(options)
    assert first["settings"] == second["settings"]
    assert first["conditions"] == second["conditions"]


def test_moments_have_the_maps_of_the_training_as_it_stood_then(make, samples, options, tmp_path, fail_at):
    fail_at(4, KeyboardInterrupt())
    stopped = make({"n_steps": "8"}, folder=tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(samples)
    at_half = [one.scores for one in stopped.predict(samples)]
    method = make({"n_steps": "8"}, learning_curve=True)
    method.fit(samples)
    final = [one.scores for one in method.predict(samples)]
    moments = {step: [one.scores for one in maps] for step, _, maps in method.moments(samples)}
    assert list(moments) == [1, 2, 4]
    np.testing.assert_array_equal(moments[4], at_half)
    np.testing.assert_array_equal([one.scores for one in method.predict(samples)], final)
    assert not np.array_equal(moments[1], moments[2])


def test_a_training_on_images_that_are_not_square_maps_them_in_that_size(make, samples):
    method = make({"image_size": "32x48", "rotate": "a,b", "n_steps": "2"})
    method.fit(samples)
    assert next(method.predict(samples[:1])).scores.shape == (32, 48)


def test_tiles_train_as_images_and_their_maps_become_one(make, samples, options):
    method = make({"tiles": "1x2", "n_steps": "0", "n_epochs": "1"})
    method.fit(samples)
    assert content(options)["state"]["step"] == 2 * 6 / 2  # images over those of a batch
    maps = [anomaly_map.scores for anomaly_map in method.predict(samples)]
    assert {scores.shape for scores in maps} == {(32, 60)}
    picture = Image.open(samples[0].image_path).resize((60, 32), Image.Resampling.BILINEAR)
    left, right = (np.asarray(picture)[:, columns].transpose(2, 0, 1) for columns in (slice(32), slice(28, 60)))
    with torch.inference_mode():
        ours = method.model(torch.from_numpy(np.stack([left, right]))).numpy()
    np.testing.assert_allclose(maps[0][:, :28], ours[0][:, :28], rtol=1e-5)
    np.testing.assert_allclose(maps[0][:, 32:], ours[1][:, 4:], rtol=1e-5)


def test_a_checkpoint_from_before_a_setting_was_added_goes_on_with_its_default(make, samples, options):
    make({"n_steps": "1"}).fit(samples)
    old = content(options)
    del old["settings"]["compile"], old["settings"]["tiles"]
    torch.save(old, options.folder / CHECKPOINT)
    make({"n_steps": "1"}).fit(samples)
    with pytest.raises(TrainingError, match="compile False, not True"):
        make({"n_steps": "1", "compile": "true"}).fit(samples)


def test_training_lowers_the_loss_and_logs_every_level(make, samples, options):
    make({"n_steps": "40", "learning_rate": "3e-3"}).fit(samples)
    rows = list(csv.DictReader((options.folder / "log.csv").open()))
    assert [row["step"] for row in rows] == ["10", "20", "30", "40"]
    for level in ("level_1", "level_2", "level_3", "level_4"):
        assert float(rows[-1][level]) < float(rows[0][level])


def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_last_good_state(
    make, samples, options, fail_at, saves_always
):
    fail_at(4, spoil=lambda values: values * float("nan"))
    with pytest.raises(TrainingError, match=r"loss is not finite at step 4.*keeps the last good state.*learning_rate="):
        make().fit(samples)
    kept = content(options)
    assert kept["state"]["step"] == 4
    assert all(values.isfinite().all() for values in kept["model"].values())


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(make, samples, options, monkeypatch, saves_always):
    method = make()
    method.model.decoder.query.query.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="gradient is not finite at step 0"):
        method.fit(samples)
    assert all(parameter.isfinite().all() for parameter in method.model.parameters())


def test_a_full_disk_leaves_the_last_whole_checkpoint(make, samples, options, monkeypatch, saves_always):
    real, n_saved = torch.save, iter(range(100))

    def save(what, file):
        if next(n_saved) == 2:
            file.write_bytes(b"half of it")
            raise RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/7: file write failed")
        real(what, file)

    monkeypatch.setattr(checkpoints.torch, "save", save)
    with pytest.raises(TrainingError, match=r"cannot write .*checkpoint\.pt at step 3 .*kept.*make room"):
        make().fit(samples)
    assert content(options)["state"]["step"] == 2
    assert [path.name for path in options.folder.iterdir()] == [CHECKPOINT]
    monkeypatch.undo()
    make().fit(samples)
    assert content(options)["state"]["step"] == 6


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_batch_size_to_try(make, samples, fail_at, error):
    fail_at(1, error)
    with pytest.raises(TrainingError, match=r"batch_size 2; try --set uni_as\.batch_size=1"):
        make().fit(samples)


@pytest.mark.parametrize("said", ["shapes do not match", "CUDA error: an illegal memory access was encountered"])
def test_other_errors_are_not_taken_for_lack_of_memory(make, samples, fail_at, said):
    fail_at(1, RuntimeError(said))
    with pytest.raises(RuntimeError, match=said):
        make().fit(samples)


def test_the_budget_ends_the_training_and_the_last_state_counts(make, samples, options):
    make({"n_steps": "1000000"}, max_minutes=1e-6).fit(samples)
    state = content(options)["state"]
    assert state["step"] == 1
    assert state["finished"]
    assert [row["step"] for row in state["log"]] == [1]


def test_the_record_tells_the_costs_and_a_training_that_was_cut_short(make, samples, tmp_path):
    method = make({"n_steps": "3"})
    method.fit(samples)
    about, model = method.about, method.model
    assert (about["training"]["steps"], about["training"]["of"]) == (3, 3)
    assert not [finding for finding in method.findings if finding.kind == CUT_SHORT]
    backbone, rest = (sum(p.numel() for p in part.parameters()) for part in (model.backbone, model))
    assert about["parameters"] == {"trained": rest - backbone, "all": rest}
    assert about["model_bytes"] == sum(values.nbytes for values in model.state_dict().values())
    assert "gpu_peak_bytes" not in about
    for _ in range(2):  # as it ends, and as it is taken from its checkpoint
        method = make({"n_steps": "5"}, max_minutes=1e-6, folder=tmp_path / "cut")
        method.fit(samples)
        finding = next(finding for finding in method.findings if finding.kind == CUT_SHORT)
        assert finding.text.startswith("training cut short: 1 of 5 steps; ")
        assert (finding.case.dataset, finding.case.category) == ("tiny", "")


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({"learning_rate": "0.5"}, {}, "learning_rate"),
        ({"rotate": "a"}, {}, "rotate"),
        ({}, {"seed": 9}, "seed 0, not 9"),
    ],
)
def test_a_checkpoint_of_another_job_is_refused(make, samples, settings, changes, said):
    make({"n_steps": "1"}).fit(samples)
    with pytest.raises(TrainingError, match=f"{said}.*--overwrite"):
        make({"n_steps": "1", **settings}, **changes).fit(samples)


def test_a_checkpoint_of_other_images_is_refused(make, samples):
    make({"n_steps": "1"}).fit(samples)
    with pytest.raises(TrainingError, match="training images"):
        make({"n_steps": "1"}).fit(samples[1:])


def test_broken_and_foreign_checkpoints_are_told_apart(make, samples, options):
    make({"n_steps": "1"}).fit(samples)
    file = options.folder / CHECKPOINT
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        make({"n_steps": "1"}).fit(samples)
    torch.save({"weights": 1}, file)
    with pytest.raises(TrainingError, match="not a checkpoint of this version"):
        make({"n_steps": "1"}).fit(samples)
    other = content_of(whole, file)
    other["model"] = {name: values for name, values in other["model"].items() if "blocks.3" not in name}
    torch.save(other, file)
    with pytest.raises(TrainingError, match="another architecture"):
        make({"n_steps": "1"}).fit(samples)


def content_of(whole, file):
    file.write_bytes(whole)
    return read_checkpoint(file)


def test_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("code of the checkpoint ran",))

    torch.save({"format": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        read_checkpoint(tmp_path / "evil.pt")


def test_two_processes_train_like_one_with_the_doubled_batch(make, samples):
    steady = {"dropout": "0", "jitter_probability": "0", "swap_probability": "0", "n_steps": "10"}
    alone, together = make({**steady, "batch_size": "4"}), make({**steady, "batch_size": "2"}, n_devices=2)
    losses = []
    for method in (alone, together):
        method.fit(samples)
        losses.append(read_checkpoint(method._options.folder / CHECKPOINT)["state"]["log"])
        (method._options.folder / CHECKPOINT).unlink()
    (one,), (two,) = losses
    for level in ("level_1", "level_2", "level_3", "level_4"):
        assert two[level] == pytest.approx(one[level], abs=1e-5)
    first, second = (next(method.predict(samples[:1])).scores for method in (alone, together))
    assert first == pytest.approx(second, rel=1e-3, abs=1e-6)


def test_only_a_training_that_goes_on_needs_as_many_processes(make, samples, options):
    make({"n_steps": "1"}).fit(samples)
    done = content(options)
    done["conditions"]["processes"] = 2
    torch.save(done, options.folder / CHECKPOINT)
    make({"n_steps": "1"}).fit(samples)
    done["state"]["finished"] = False
    torch.save(done, options.folder / CHECKPOINT)
    with pytest.raises(TrainingError, match="with processes 2, not 1"):
        make({"n_steps": "1"}).fit(samples)


def test_a_training_process_that_is_killed_is_one_clear_error(make, samples, monkeypatch):
    def launch(*_):
        raise ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 1, -9, "SIGKILL")

    method = make(n_devices=2)
    monkeypatch.setattr(method._fabric, "launch", launch)
    with pytest.raises(TrainingError, match="training process 1 terminated with signal SIGKILL; if memory ran out"):
        method.fit(samples)


def test_images_come_once_per_epoch_in_a_new_order_each_time():
    first, second = image_order("abcabca", 0, 0, 7), image_order("abcabca", 0, 7, 7)
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert image_order("abcabca", 0, 5, 4) == first[5:] + second[:2]
    assert image_order("abcabca", 1, 0, 7) != first


def test_unknown_precision_and_device_are_refused():
    with pytest.raises(InputError, match=r"did you mean bf16-mixed"):
        make_fabric(MethodOptions(precision="bf16-mix"))
    with pytest.raises(InputError, match="no device cudo; did you mean cuda"):
        make_fabric(MethodOptions(device="cudo"))
    if not torch.backends.mps.is_available():
        with pytest.raises(TrainingError, match="cannot use 1 x mps"):
            make_fabric(MethodOptions(device="mps"))


def test_bfloat16_trains_and_maps(make, samples):
    method = make({"n_steps": "2"}, precision="bf16-mixed")
    method.fit(samples)
    assert next(method.predict(samples[:1])).scores.dtype == "float32"


def test_bfloat16_is_chosen_only_where_the_card_computes_in_it(monkeypatch):
    chosen = []
    monkeypatch.setattr(engine, "Fabric", lambda **settings: chosen.append(settings["precision"]))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for is_native in (False, True):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, now=is_native: including_emulation or now
        )
        make_fabric(MethodOptions(device="cuda"))
    assert chosen == ["32-true", "bf16-mixed"]


def test_losses_reach_tensorboard(make, samples, options):
    pytest.importorskip("tensorboard", reason="it is a package of its own")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = make_logger("tensorboard", options.folder, "tiny")
    make({"n_steps": "10"}, loggers=[logger]).fit(samples)
    logger.finalize("success")
    board = EventAccumulator(str(options.folder / "tensorboard")).Reload()
    (row,) = content(options)["state"]["log"]
    for name in ("level_1", "level_4", "learning_rate"):
        (event,) = board.Scalars(name)
        assert (event.step, event.value) == (10, pytest.approx(row[name]))


def test_a_logger_gets_the_losses_by_step_and_none_of_an_estimate(make, samples, options):
    heard = []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: heard.append((step, metrics)))
    make({"n_steps": "12"}, loggers=[logger]).estimate(samples, [])
    assert heard == []
    make({"n_steps": "12"}, loggers=[logger]).fit(samples)
    rows = content(options)["state"]["log"]
    assert heard == [(row["step"], {key: row[key] for key in row if key not in {"step", "seconds"}}) for row in rows]


def test_no_training_images_is_an_error(make):
    with pytest.raises(InputError, match="train/good"):
        make().fit([])


def test_balanced_sampling_shows_every_category_equally_often():
    categories = ["many"] * 18 + ["few"] * 2
    shown = [categories[index] for index in image_order(categories, 0, 0, 4000, balanced=True)]
    assert abs(shown.count("few") / 4000 - 0.5) < 0.05  # 6 standard deviations
    assert abs([categories[i] for i in image_order(categories, 0, 0, 4000)].count("few") / 4000 - 0.1) < 1e-9


def test_a_group_of_parameters_learns_at_its_share_of_the_rate(make, samples, options, monkeypatch):
    parts, whole = [], FeatureReconstruction.parameter_groups

    def groups(model):
        (own,) = whole(model)
        parts[:] = own["params"][:1], own["params"][1:]
        return [{"params": parts[0], "rate_share": 1e-6}, {"params": parts[1]}]

    monkeypatch.setattr(FeatureReconstruction, "parameter_groups", groups)
    method = make({"weight_decay": "0", "n_steps": "2"})
    before = [parameter.clone() for parameter in whole(method.model)[0]["params"]]
    method.fit(samples)
    moved = [float((now - old).abs().max()) for now, old in zip(whole(method.model)[0]["params"], before, strict=True)]
    assert moved[0] < 1e-5 < max(moved[1:])
    first, second = content(options)["optimiser"]["param_groups"]
    assert first["lr"] == pytest.approx(1e-6 * second["lr"])


def test_a_checkpoint_without_the_settings_that_are_younger_goes_on(make, samples, options, fail_at):
    fail_at(3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        make().fit(samples)
    file = options.folder / CHECKPOINT
    older = torch.load(file, weights_only=True)
    del older["settings"]["beta_1"]
    torch.save(older, file)
    make().fit(samples)
    assert content(options)["state"]["step"] == 6


def test_a_limit_of_zero_leaves_gradients_as_they_are(make, samples, tmp_path):
    for limit in ("0", "1e30"):
        make({"clip_norm": limit}, folder=tmp_path / limit).fit(samples)
    free, high = (read_checkpoint(tmp_path / limit / CHECKPOINT)["model"] for limit in ("0", "1e30"))
    assert all(torch.equal(values, high[name]) for name, values in free.items())


def test_fabric_says_nothing_of_itself_even_where_lightning_has_taken_its_log(monkeypatch, caplog):
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")  # as an import of lightning.pytorch does
    monkeypatch.setattr(rank_zero, "log", log)
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    make_fabric(MethodOptions(device="cpu", precision="bf16-mixed"))
    assert caplog.records == []
