# %% [markdown]
# # Maps in numpy
#
# Every pixel counts, no bins and no samples: the numbers of `aseg-bench eval`, from arrays.

# %%
import numpy as np

from aseg_bench import METRICS, BoundedStream, MetricStream, evaluate_maps
from aseg_bench.metrics import functions

# %% [markdown]
# Eight images of 64 x 64 pixels with a square defect in every second one; the scores are noise, higher on defects.
# Masks may be boolean, 0 and 1, or 0 and 255, of any type, with or without a channel: as your loader gives them.

# %%
rng = np.random.default_rng(0)
masks = np.zeros((8, 1, 64, 64), np.uint8)
masks[::2, :, 20:32, 20:32] = 255
scores = rng.normal(size=masks.shape) + 2 * (masks > 0)

values = evaluate_maps(scores, masks)
print({key: round(values[key], 3) for key in ("pixel_auroc", "pixel_ap", "dsc", "aupro_0.3")})

# %% [markdown]
# A single metric, one with a limit of its own, and what a threshold of yours would do.

# %%
print(METRICS["pixel_ap"](scores, masks))
print(functions.aupro(scores, masks, limit=0.1))
print(functions.at_threshold(scores, masks, 2.0).precision)

# %% [markdown]
# Pixels of which nobody knows what they show are void: they are masked, and no pixel metric counts them.

# %%
unknown = np.zeros(masks.shape, bool)
unknown[..., :4, :] = True
print(evaluate_maps(scores, np.ma.array(masks, mask=unknown), metrics=["pixel_ap"]))

# %% [markdown]
# Maps that come one at a time wait in a temporary file; the numbers are the same. Where even that is too much,
# `BoundedStream` keeps counts alone, and gives bounds.

# %%
stream, bounded = MetricStream(["pixel_ap"]), BoundedStream()
for score_map, mask in zip(scores, masks, strict=True):
    stream.update(score_map, mask)
    bounded.update(score_map, mask)
assert stream.compute().values["pixel_ap"] == values["pixel_ap"]
lower, upper = bounded.compute()["pixel_ap"]
assert lower <= values["pixel_ap"] <= upper
