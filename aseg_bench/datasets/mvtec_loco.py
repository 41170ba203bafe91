"""MVTec LOCO AD: an image may have several masks, one for each defect, in a folder named as the image is."""

import json
from functools import partial

from aseg_bench.datasets.layout import find_in_layout
from aseg_bench.datasets.records import CategoryCounts, Dataset, Layout, Region
from aseg_bench.errors import InputError
from aseg_bench.images import mask_files, read_mask
from aseg_bench.records import Sample

_LAYOUT = Layout(
    images={"train": "train/{defect}", "validation": "validation/{defect}", "test": "test/{defect}"},
    suffixes=("",),
    many=True,
)


def regions_of(sample: Sample) -> list[Region]:
    """The defects of an image with their saturation areas, for the metric sPRO; none of a normal image.

    Raises:
        InputError: ``defects_config.json`` of the category is missing or damaged, or has no entry for a mask's value.

    Source: Bergmann et al. (2022), section 5.2, https://doi.org/10.1007/s11263-022-01578-9
    """
    if sample.mask_path is None:
        return []
    file = sample.mask_path.parents[2] / "defects_config.json"
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        by_value = {int(one["pixel_value"]): one for one in entries}
        areas = {
            value: (float(one["saturation_threshold"]), bool(one["relative_saturation"]))
            for value, one in by_value.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {file} ({error}); it comes with the data set, in each category") from error
    regions = []
    for path in mask_files(sample.mask_path):
        mask = read_mask(path, sample.image_path)
        value = int(mask.max())
        if value not in areas:
            raise InputError(
                f"{path} holds the value {value}, for which {file} has no entry; take both from its archive"
            )
        area, is_relative = areas[value]
        n_pixels = int((mask > 0).sum())
        regions.append(Region(mask > 0, max(1, int(area * n_pixels if is_relative else min(area, n_pixels)))))
    return regions


MVTEC_LOCO = Dataset(
    key="mvtec_loco",
    label="MVTec LOCO AD",
    summary="Five scenes with structural and logical anomalies; the masks of an image count together. 305 more normal "
    "images are its split validation.",
    needs_root=True,
    find=partial(find_in_layout, "mvtec_loco", layout=_LAYOUT),
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-loco",
    licence="CC BY-NC-SA 4.0",
    citation="Bergmann et al., Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and "
    "Localization, IJCV 2022, https://doi.org/10.1007/s11263-022-01578-9",
    layout=_LAYOUT,
    marks=("*/test/logical_anomalies",),
    counts={
        "breakfast_box": CategoryCounts(351, 102, 173),
        "juice_bottle": CategoryCounts(335, 94, 236),
        "pushpins": CategoryCounts(372, 138, 172),
        "screw_bag": CategoryCounts(360, 122, 219),
        "splicing_connectors": CategoryCounts(360, 119, 193),
    },
    regions=regions_of,
)
