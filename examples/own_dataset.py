# %% [markdown]
# # A data set of your own
#
# Three ways, from the least work to the most: a list of your files, a layout of folders, a package that others install.
# Images in the layout of MVTec-AD need none of them: `--dataset mvtec_ad --data-root FOLDER`.

# %%
import csv
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from aseg_bench import DATASETS
from aseg_bench.datasets import Dataset, Layout, find_in_layout

# %% [markdown]
# Some pictures, as a camera may leave them.

# %%
rng = np.random.default_rng(0)


def draw(path: Path, mask_path: Path | None = None) -> None:
    """A picture of noise, with a bright square where there is to be a mask."""
    picture, mask = rng.normal(120, 20, (48, 48)).clip(0, 255), np.zeros((48, 48), np.uint8)
    if mask_path:
        mask[10:20, 10:20] = 255
        picture[mask > 0] = 250
        mask_path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(mask_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.astype(np.uint8)).save(path)


if __name__ == "__main__":
    for index in range(4):
        draw(Path(f"photos/screw/train/ok/{index}.png"))
        draw(Path(f"photos/screw/test/ok/{index}.png"))
        draw(Path(f"photos/screw/test/scratch/{index}.png"), Path(f"photos/screw/truth/scratch/{index}.png"))

# %% [markdown]
# **A list.** One row per image; `aseg-bench run --dataset manifest --data-root photos.csv` reads it.

# %%
if __name__ == "__main__":
    with Path("photos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", "category", "defect", "mask"])
        for path in sorted(Path("photos").glob("*/t*/*/*.png")):
            _, category, split, defect, name = path.parts
            if split != "truth":
                mask = "" if defect == "ok" else f"photos/{category}/truth/{defect}/{name}"
                writer.writerow([path, split, category, defect, mask])
    listed = DATASETS["manifest"].find(Path("photos.csv"))
    print([sample.mask_path for sample in listed if sample.is_anomalous])

# %% [markdown]
# **A layout**, as an entry point of a package that others install too:
#
# ```toml
# [project.entry-points."aseg_bench.datasets"]
# screws = "own_dataset:SCREWS"
# ```

# %%
LAYOUT = Layout(normal="ok", masks=("truth/{defect}",), suffixes=("",))
SCREWS = Dataset(
    key="screws",
    label="Screws",
    summary="Screws with scratches.",
    needs_root=True,
    find=partial(find_in_layout, "screws", layout=LAYOUT),
    layout=LAYOUT,
    licence="CC0 1.0",
)

# %% [markdown]
# What `pip install` of that package writes, by hand; from there on `aseg-bench run --dataset screws --data-root photos`
# and `aseg-bench datasets` know it.

# %%
if __name__ == "__main__":
    site = Path("site")
    (site / "own_dataset-1.0.dist-info").mkdir(parents=True)
    (site / "own_dataset-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: own-dataset\nVersion: 1.0\n")
    (site / "own_dataset-1.0.dist-info/entry_points.txt").write_text(
        "[aseg_bench.datasets]\nscrews = own_dataset:SCREWS\n"
    )
    sys.path.append(str(site))
    found = DATASETS["screws"].find(Path("photos"))
    assert len(found) == len(listed) == 12
    print([sample.name for sample in found if sample.is_anomalous])
