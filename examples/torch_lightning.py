# %% [markdown]
# # Exact pixel metrics in torch and Lightning
#
# `SegmentationMetrics` is a `torchmetrics.Metric`. `LogSegmentationMetrics` is a callback of Lightning that logs
# metrics at the end of each epoch; all that it needs of the module is that its step returns the maps.

# %%
import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from aseg_bench import SegmentationMetrics
from aseg_bench.integrations.lightning import LogSegmentationMetrics

# %% [markdown]
# Striped images; a defect is a grey square. The model learns to repeat what is normal through a narrow gap, and scores
# how far it is off.

# %%
torch.manual_seed(0)


def images(n: int) -> torch.Tensor:
    """Stripes of any phase, (n, 1, 32, 32)."""
    phase = torch.rand(n, 1, 1, 1) * 6.28
    stripes = torch.sin(torch.arange(32.0) * 0.8 + phase)
    return stripes.expand(n, 1, 32, 32) + 0.1 * torch.randn(n, 1, 32, 32)


train, test, masks = images(64), images(16), torch.zeros(16, 1, 32, 32)
masks[::2, :, 10:18, 10:18] = 1
test[masks > 0] = 0


class Repeater(pl.LightningModule):
    """An autoencoder of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 2), nn.Linear(2, 16), nn.Tanh())
        self.out = nn.Linear(16, 32)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """The squared error, (B, 1, H, W), smoothed."""
        error = (self.out(self.net(pictures)) - pictures) ** 2
        return nn.functional.avg_pool2d(error, 5, stride=1, padding=2)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """The mean error."""
        return self(batch[0]).mean()

    def validation_step(self, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the callback looks for."""
        return {"anomaly_map": self(batch[0]), "gt_mask": batch[1]}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), 0.01)


class Printer(pl.Callback):
    """Shows what was logged."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One line."""
        print(trainer.current_epoch, {key: round(value.item(), 3) for key, value in trainer.callback_metrics.items()})


# %%
loaders = [DataLoader(TensorDataset(*tensors), batch_size=8) for tensors in ((train,), (test, masks))]
model = Repeater()
trainer = pl.Trainer(
    max_epochs=3,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    callbacks=[LogSegmentationMetrics(["pixel_ap", "dsc"]), Printer()],
)
trainer.fit(model, *loaders)

# %% [markdown]
# Without Lightning, or in a step of your own. `SegmentationMetrics("pixel_ap")`, with one key, computes a scalar, which
# `self.log("val_ap", metric)` takes.

# %%
metric = SegmentationMetrics(["pixel_ap", "dsc"])
with torch.inference_mode():
    for pictures, truth in loaders[1]:
        metric.update(model(pictures), truth)
values = metric.compute()
print(values)
assert abs(values["pixel_ap"] - trainer.callback_metrics["val_pixel_ap"]) < 1e-6
