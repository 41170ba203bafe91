"""Metrics of every epoch of a Lightning module, whoever wrote it."""

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from aseg_bench.errors import InputError
from aseg_bench.training.torch_metric import SegmentationMetrics


class LogSegmentationMetrics(Callback):
    """Logs exact metrics at the end of each epoch of validation and test, as ``val_pixel_ap`` and ``test_pixel_ap``.

    Of several dataloaders each has its own, ``val_pixel_ap/dataloader_idx_1``, as Lightning names them. Maps and masks
    are looked up by name in what the module's step returns, then in its batch; both may be mappings or objects with
    attributes. Given to anomalib's Engine it sees the maps before the post-processor clamps them. A metric that an
    epoch cannot define is left out of it, with a warning; Lightning's sanity check is not scored.
    """

    def __init__(
        self, metrics: Sequence[str] = ("pixel_ap",), *, maps: str = "anomaly_map", masks: str = "gt_mask"
    ) -> None:
        """Start empty.

        Args:
            metrics: keys of ``METRICS``.
            maps: name of the anomaly maps, (batch, height, width) or (batch, 1, height, width).
            masks: name of the masks, in any form that `SegmentationMetrics` takes.

        Raises:
            InputError: a key is unknown.
        """
        super().__init__()
        self.names = (maps, masks)
        self._empty = SegmentationMetrics(list(metrics))
        self._empty.named = False  # what is undefined is left out
        self._by_loader: list[SegmentationMetrics] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin again, also after an epoch that was broken off."""
        n_loaders = len(trainer.num_test_batches if trainer.testing else trainer.num_val_batches)
        self._by_loader = [deepcopy(self._empty) for _ in range(n_loaders)]

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the maps of a batch.

        Raises:
            InputError: neither the step's outputs nor the batch have the names.
        """
        if not trainer.sanity_checking:
            self._by_loader[dataloader_idx].update(*(_named(name, outputs, batch) for name in self.names))

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics; a process without a batch takes part, as the others wait for it to merge."""
        stage, by_loader = "test" if trainer.testing else "val", self._by_loader
        self._by_loader = []  # their maps go
        for number, metric in enumerate(by_loader):
            has_any = trainer.strategy.reduce_boolean_decision(metric.update_called, all=False)
            if trainer.sanity_checking or not has_any:
                continue
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
                values = metric.compute()
            loader = f"/dataloader_idx_{number}" if len(by_loader) > 1 else ""
            if missing := [f"{key}{loader}" for key in metric.keys if key not in values]:
                warnings.warn(f"without a value in this epoch: {', '.join(missing)}", stacklevel=2)
            named = {f"{stage}_{key}{loader}": value.item() for key, value in values.items()}
            pl_module.log_dict(named, add_dataloader_idx=False)

    on_test_epoch_end = on_validation_epoch_end


def _named(name: str, *places: Any) -> Any:
    for place in places:
        found = place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)
        if found is not None:
            return found
    raise InputError(
        f"neither what the step returns nor its batch has {name}; return it from the step, as {{'{name}': ...}}, or "
        "name what is there with maps= and masks="
    )
