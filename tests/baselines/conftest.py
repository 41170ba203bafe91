import csv
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from aseg_bench.methods import MethodOptions
from aseg_bench.records import Sample
from aseg_bench.training.log import LOG

TINY = "test_efficientnet"


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Six pictures of noise of two categories, none of them square."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    found = []
    for index in range(6):
        path = folder / f"{index}.png"
        Image.fromarray(random.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path)
        found.append(Sample("toy", "nut" if index % 2 else "bolt", "train", "good", path.stem, path))
    return found


@pytest.fixture
def fit_tiny(tmp_path):
    """Trains a method of ``make_method`` on six images of two categories; gives it, its log, and maps of two images."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.save(timm.create_model(TINY).state_dict(), tmp_path / "weights.pt")
    random, samples = np.random.default_rng(0), []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
        samples.append(Sample("tiny", "ab"[number % 2], "train", "good", path.stem, path))
    common = {"backbone": TINY, "image_size": "64", "batch_size": "4"}
    options = MethodOptions(device="cpu", backbone_weights=tmp_path / "weights.pt", quiet=True)
    runs = iter(range(10))

    def fit(make_method, settings, smoothing="1", folder=None):
        own = {} if smoothing is None else {"smoothing": smoothing}
        folder = folder or tmp_path / f"training_{next(runs)}"
        method = make_method(replace(options, settings=common | own | settings, folder=folder))
        method.fit(samples)
        with (folder / LOG).open() as file:
            log = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        return method, log, np.stack([found.scores for found in method.predict(samples[:2])])

    return fit
