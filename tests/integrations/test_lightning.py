"""Metrics in Lightning: against `evaluate_maps` on the same maps, epoch by epoch."""

import sys
from datetime import timedelta

import numpy as np
import pytest

from aseg_bench.errors import InputError
from aseg_bench.metrics import evaluate_maps
from tests.metrics.cases import smooth
from tests.test_documents import python_of

torch = pytest.importorskip("torch")
lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed: pip install lightning")
from aseg_bench import SegmentationMetrics  # noqa: E402 - needs lightning
from aseg_bench.integrations.lightning import LogSegmentationMetrics  # noqa: E402

SCORES, MASKS = smooth(n_images=8)
KEYS = ["pixel_ap", "dsc"]


class Toy(lightning.LightningModule):
    """Its maps are worse in each epoch than before."""

    def __init__(self, returned, own=None):
        super().__init__()
        self.returned, self.own, self.noise = returned, own, torch.nn.Parameter(torch.zeros(()))

    def maps(self, batch):
        noise, index = np.random.default_rng(self.current_epoch).normal(size=SCORES.shape), batch["index"].numpy()
        return torch.from_numpy(SCORES[index] + 0.1 * self.current_epoch * noise[index])

    def training_step(self, batch):
        return self.noise**2

    def validation_step(self, batch, batch_idx=0, dataloader_idx=0):
        if self.own is not None:
            self.own.update(self.maps(batch), batch["gt_mask"])
            self.log("own", self.own)
        return self.returned(self.maps(batch), batch)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def loader(masks=MASKS):
    items = [
        {"index": index, "gt_mask": torch.from_numpy(mask[None].astype(np.float32))} for index, mask in enumerate(masks)
    ]
    return torch.utils.data.DataLoader(items, batch_size=3)


def trained(module, *callbacks, epochs=2):
    logged = []
    note = lightning.callbacks.LambdaCallback(
        on_train_epoch_end=lambda trainer, _: logged.append(dict(trainer.callback_metrics))
    )
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, note],
    )
    trainer.fit(module, loader(), loader())
    return trainer, [{key: value.item() for key, value in one.items()} for one in logged]


def expected(epoch):
    noise = np.random.default_rng(epoch).normal(size=SCORES.shape)
    return evaluate_maps(SCORES + 0.1 * epoch * noise, MASKS, metrics=KEYS)


def test_the_callback_logs_each_epoch_by_itself_and_the_test():
    module = Toy(lambda maps, _: {"anomaly_map": maps[:, None]})
    callback = LogSegmentationMetrics(KEYS)
    trainer, logged = trained(module, callback)
    for epoch, values in enumerate(logged):
        assert values == pytest.approx({f"val_{key}": value for key, value in expected(epoch).items()}, rel=1e-6)
    assert logged[0] != logged[1]
    (tested,) = trainer.test(module, loader(), verbose=False)
    epoch = module.current_epoch
    assert tested == pytest.approx({f"test_{key}": value for key, value in expected(epoch).items()}, rel=1e-6)


def test_lightning_logs_the_metric_itself():
    _, logged = trained(Toy(lambda *_: None, SegmentationMetrics("pixel_ap")))
    for epoch, values in enumerate(logged):
        assert values["own"] == pytest.approx(expected(epoch)["pixel_ap"], rel=1e-6)


def test_the_document_makes_the_callback_of_the_default_names():
    names = {}
    exec(python_of("docs/integrations.md"), names)
    assert names["callback"].names == LogSegmentationMetrics().names


def test_what_a_step_does_not_return_is_one_error():
    with pytest.raises(InputError, match="neither what the step returns nor its batch has anomaly_map"):
        trained(Toy(lambda *_: None), LogSegmentationMetrics(), epochs=1)


def test_a_metric_without_a_value_is_left_out_with_a_warning():
    module = Toy(lambda maps, _: {"anomaly_map": maps})
    trainer, _ = trained(module, LogSegmentationMetrics(["pixel_ap", "anomaly_rate"]), epochs=1)
    with pytest.warns(UserWarning, match="without a value in this epoch: pixel_ap"):
        (tested,) = trainer.test(module, loader(np.zeros_like(MASKS)), verbose=False)
    assert tested == {"test_anomaly_rate": 0}


def test_each_dataloader_has_numbers_of_its_own():
    module = Toy(returning)
    trainer, _ = trained(module, LogSegmentationMetrics(KEYS), epochs=1)
    loaders = [torch.utils.data.DataLoader(loader().dataset[part], batch_size=2) for part in PARTS]
    noise = np.random.default_rng(module.current_epoch).normal(size=SCORES.shape)
    scores = SCORES + 0.1 * module.current_epoch * noise
    for stage, run in (("val", trainer.validate), ("test", trainer.test)):
        assert run(module, loaders, verbose=False)[0] == pytest.approx(apart(stage, scores), rel=1e-6)


PARTS = (slice(0, 3), slice(3, 8))


def apart(stage, scores):
    return {
        f"{stage}_{key}/dataloader_idx_{number}": value
        for number, part in enumerate(PARTS)
        for key, value in evaluate_maps(scores[part], MASKS[part], metrics=KEYS).items()
    }


def returning(maps, _):
    return {"anomaly_map": maps}


class Share(torch.utils.data.IterableDataset):
    """Images that one process of two has alone."""

    def __init__(self, part, rank):
        self.part, self.rank = part, rank

    def __iter__(self):
        if torch.distributed.get_rank() == self.rank:
            for index in range(self.part.start, self.part.stop):
                yield {"index": index, "gt_mask": torch.from_numpy(MASKS[index].astype(np.float32))}


@pytest.mark.skipif(sys.platform != "linux", reason="processes that import nothing again are forked, on Linux alone")
def test_a_process_without_a_batch_takes_part_in_the_merge():
    strategy = lightning.strategies.DDPStrategy(
        start_method="fork", process_group_backend="gloo", timeout=timedelta(seconds=60)
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LogSegmentationMetrics(KEYS)],
    )
    loaders = [torch.utils.data.DataLoader(Share(part, rank), batch_size=2) for rank, part in enumerate(PARTS)]
    loaders.append(torch.utils.data.DataLoader(Share(slice(0, 0), 0), batch_size=2))  # of which nobody has a batch
    tested = trainer.test(Toy(returning), loaders, verbose=False)
    assert tested[0] == pytest.approx(apart("test", SCORES), rel=1e-6)
