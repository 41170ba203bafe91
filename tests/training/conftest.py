"""A backbone of a few thousand random weights, and a handful of pictures: enough to train on in a second."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from aseg_bench.methods import MethodOptions
from aseg_bench.records import Sample
from uni_as.model import make_method

TINY = "test_efficientnet"
SETTINGS = {
    "backbone": TINY,
    "image_size": "32",
    "channels": "16",
    "n_heads": "2",
    "ffn_channels": "16",
    "neighbour_size": "1",
    "smoothing": "0,0,0,0",
    "batch_size": "2",
    "n_steps": "6",
}


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A state dict of the tiny backbone."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = timm.create_model(TINY).state_dict()
    file = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save(state, file)
    return file


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """Six normal training images of two categories."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    found = []
    for number in range(6):
        path = folder / f"{number}.png"
        Image.fromarray(random.integers(0, 255, (40, 36, 3), dtype=np.uint8)).save(path)
        found.append(Sample("tiny", "ab"[number % 2], "train", "good", path.stem, path))
    return found


@pytest.fixture
def options(weights, tmp_path):
    return MethodOptions(
        device="cpu", backbone_weights=weights, folder=tmp_path / "training", settings=SETTINGS, quiet=True
    )


@pytest.fixture
def make(options):
    """Builds a tiny UniAS; keywords replace options, upper-case free settings go into ``settings``."""

    def build(settings=None, **changes):
        return make_method(replace(options, settings={**SETTINGS, **(settings or {})}, **changes))

    return build
