"""What of a map lies above a threshold: its regions, and their form in COCO's files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """Anomalous pixels that touch each other, at an edge or a corner.

    Attributes:
        x: column of the leftmost pixel.
        y: row of the topmost pixel.
        width: columns of the box around it.
        height: rows of that box.
        area: its pixels.
        highest_score: of these.
        counts: the picture's pixels column by column: how many are outside, then inside, then outside, and so on.
    """

    x: int
    y: int
    width: int
    height: int
    area: int
    highest_score: float
    counts: tuple[int, ...]


def regions_of(scores: NDArray[np.floating], mask: NDArray[np.bool_]) -> list[Region]:
    """The 8-connected regions of a mask, from top to bottom.

    Args:
        scores: the map, (height, width).
        mask: True where it is anomalous, same shape.
    """
    _, labels, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    regions = []
    for number, (x, y, width, height, area) in enumerate(facts[1:].tolist(), start=1):  # the first is all the rest
        box = slice(y, y + height), slice(x, x + width)
        inside = labels[box] == number
        highest, counts = float(scores[box][inside].max()), _run_lengths(inside, x, y, mask.shape)
        regions.append(Region(x, y, width, height, area, highest, counts))
    return sorted(regions, key=lambda region: (region.y, region.x))


def _run_lengths(inside: NDArray[np.bool_], x: int, y: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Run lengths of a picture (height, width) in which only a box holds pixels, column by column."""
    height, width = shape
    columns, rows = np.nonzero(inside.T)
    places = (columns + x) * height + rows + y
    starts = np.flatnonzero(np.diff(places, prepend=-2) != 1)
    lengths = np.diff(starts, append=len(places))
    ends = places[starts] + lengths
    gaps = places[starts] - np.concatenate([[0], ends[:-1]])
    counts = np.stack([gaps, lengths], axis=1).ravel().tolist()
    rest = height * width - int(ends[-1])
    return (*counts, rest) if rest else tuple(counts)


def coco(pictures: Mapping[str, tuple[tuple[int, int], Sequence[Region]]]) -> dict[str, Any]:
    """Regions in the form of COCO's annotations; run lengths are not compressed, for which COCO has ``iscrowd`` 1.

    Args:
        pictures: height and width, and the regions, by picture.

    Source: https://cocodataset.org/#format-data
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, ((height, width), regions)) in enumerate(pictures.items(), start=1):
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for region in regions:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [region.x, region.y, region.width, region.height],
                    "area": region.area,
                    "segmentation": {"size": [height, width], "counts": list(region.counts)},
                    "iscrowd": 1,
                    "score": region.highest_score,
                }
            )
    return {"images": images, "categories": [{"id": 1, "name": "anomaly"}], "annotations": annotations}
