# %% [markdown]
# # Results as a frame of pandas
#
# Whatever has scores gives them as a frame with the columns of `scores.csv`: what `run` and `evaluate` return, and what
# `read_results` reads from a folder.

# %%
from pathlib import Path

import numpy as np

from aseg_bench import evaluate, read_results

# %% [markdown]
# Maps of three categories, with their masks, as other code may leave them; of the last one nothing is anomalous.

# %%
rng = np.random.default_rng(0)
Path("dump").mkdir()
for category, strength in (("bolt", 3.0), ("nut", 1.0), ("washer", 0.0)):
    for index in range(6):
        mask = np.zeros((32, 32), np.uint8)
        is_anomalous = bool(strength) and index % 2 == 1
        mask[8:16, 8:16] = 255 * is_anomalous
        scores = rng.normal(size=mask.shape) + strength * (mask > 0)
        kind = "hole" if is_anomalous else "good"
        np.savez(
            f"dump/{category}_{kind}_{index:03}.npz",
            filename=f"{category}/test/{kind}/{index:03}.png",
            clsname=category,
            pred=scores.astype(np.float32)[None],
            mask=mask[None] / 255,
        )
evaluation = evaluate(Path("dump"), out=Path("scored"), name="mine", metrics=["pixel_auroc", "pixel_ap", "dsc"])

# %%
(results,) = read_results([Path("scored")])
frame = results.to_frame()
assert frame.equals(evaluation.results.to_frame())
print(frame.pivot(index="category", columns="metric", values="value"))

# %% [markdown]
# An empty value says why it is empty, and the row of category `mean` how many categories it covers.

# %%
print(frame[frame.undefined_because != ""][["category", "metric", "undefined_because"]])
means = frame[frame.category == "mean"].set_index("metric").value
assert means["pixel_ap"] == frame.query("category != 'mean' and metric == 'pixel_ap'").value.mean()
