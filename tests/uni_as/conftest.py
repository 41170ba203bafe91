"""A tiny UniAS with random weights, and the checkpoint of a short training."""

from dataclasses import replace

import pytest
import torch

from aseg_bench.methods import MethodOptions
from aseg_bench.training.checkpoints import TrainingJob, TrainingState, write_checkpoint
from uni_as.model import build_uni_as
from uni_as.settings import UniASSettings

SETTINGS = UniASSettings(
    backbone="test_efficientnet",
    image_size=64,
    channels=16,
    n_heads=2,
    ffn_channels=16,
    neighbour_size=3,
    smoothing=(3, 3, 0, 0),
    rotate=frozenset({"screw", "wood"}),
)


def tiny(**changes):
    torch.manual_seed(0)
    return build_uni_as(settings=replace(SETTINGS, **changes), pretrained=False).eval()


@pytest.fixture(scope="session")
def model():
    return tiny()


@pytest.fixture(scope="session")
def checkpoint(model, tmp_path_factory):
    """The checkpoint that a training of ``model`` would leave."""
    job = TrainingJob("uni_as", SETTINGS, MethodOptions(folder=tmp_path_factory.mktemp("training")))
    optimiser = torch.optim.AdamW(model.decoder.parameters())
    write_checkpoint(job, 1, model, optimiser, TrainingState(finished=True))
    return job.file
