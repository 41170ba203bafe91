# %% [markdown]
# # Exact metrics in anomalib's Evaluator
#
# anomalib's post-processor shifts the maps of the test and clamps them to [0, 1] before its Evaluator sees them, which
# ties the highest scores. There are two ways to the raw maps, and both are here.

# %%
from pathlib import Path

import numpy as np
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.metrics import Evaluator
from anomalib.models import Padim
from anomalib.post_processing import PostProcessor
from PIL import Image

from aseg_bench.integrations.anomalib import PixelMetric
from aseg_bench.integrations.lightning import LogSegmentationMetrics

# %% [markdown]
# A few pictures of noise with a bright defect.

# %%
rng = np.random.default_rng(0)
for place, n in (("train/good", 6), ("test/good", 2), ("test/hole", 4)):
    for index in range(n):
        picture, mask = rng.normal(120, 20, (64, 64, 3)).clip(0, 255), np.zeros((64, 64))
        if place == "test/hole":
            mask[20:30, 24:44] = 255
            picture[mask > 0] = 240
            Path("bolt/masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8)).save(f"bolt/masks/{index}.png")
        Path("bolt", place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(f"bolt/{place}/{index}.png")

data = Folder(
    "bolt",
    root="bolt",
    normal_dir="train/good",
    abnormal_dir="test/hole",
    normal_test_dir="test/good",
    mask_dir="masks",
    num_workers=0,
)

# %% [markdown]
# `PixelMetric` is one metric of the Evaluator; `enable_normalization=False` leaves the maps raw. The weights are drawn
# here, so that nothing is downloaded; leave `pre_trained` out for a benchmark.

# %%
torch.manual_seed(0)
model = Padim(
    backbone="resnet18",
    layers=["layer1"],
    n_features=10,
    pre_trained=False,
    pre_processor=Padim.configure_pre_processor((64, 64)),
    post_processor=PostProcessor(enable_normalization=False),
    evaluator=Evaluator(test_metrics=[PixelMetric("pixel_ap"), PixelMetric("dsc")]),
    visualizer=False,
)

# %% [markdown]
# The callback among those of the Engine comes before the post-processor, whatever that does, and keeps the maps once
# for all its metrics.

# %%
callback = LogSegmentationMetrics(["pixel_ap", "dsc", "aupro_0.3"])
engine = Engine(
    accelerator="cpu", logger=False, callbacks=[callback], enable_progress_bar=False, enable_model_summary=False
)
engine.fit(model, datamodule=data)
(values,) = engine.test(model, datamodule=data, verbose=False)
print({key: round(value, 4) for key, value in values.items()})
assert abs(values["pixel_ap"] - values["test_pixel_ap"]) < 1e-6
