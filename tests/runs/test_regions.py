import json

import numpy as np
import pytest
from scipy import ndimage

from aseg_bench.runs.regions import coco, regions_of


def decoded(segmentation):
    """A mask from run lengths, pixel by pixel."""
    height, width = segmentation["size"]
    mask, place, is_inside = np.zeros((height, width), bool), 0, False
    for count in segmentation["counts"]:
        for _ in range(count):
            mask[place % height, place // height] = is_inside
            place += 1
        is_inside = not is_inside
    assert place == height * width
    return mask


MASKS = {
    "random": np.random.default_rng(0).random((13, 9)) > 0.6,
    "everything": np.ones((4, 3), bool),
    "a corner each": np.pad(np.zeros((3, 5), bool), 1, constant_values=True) & (np.indices((5, 7)).sum(0) % 4 == 0),
    "whole columns": np.repeat([[False, True, True, False, True]], 4, axis=0),
    "a ring": np.pad(np.zeros((2, 3), bool), 1, constant_values=True),
}


@pytest.mark.parametrize("name", MASKS)
def test_regions_are_scipys_with_their_boxes_areas_and_highest_scores(name):
    mask, scores = MASKS[name], np.random.default_rng(1).random(MASKS[name].shape, dtype=np.float32)
    labels, n_regions = ndimage.label(mask, np.ones((3, 3)))
    expected = [
        (
            columns.start,
            rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
            np.count_nonzero(labels == number),
            scores[labels == number].max(),
        )
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1)
    ]
    found = [(r.x, r.y, r.width, r.height, r.area, r.highest_score) for r in regions_of(scores, mask)]
    assert len(found) == n_regions
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("name", MASKS)
def test_run_lengths_give_back_each_region_and_together_the_mask(name):
    mask = MASKS[name]
    content = json.loads(json.dumps(coco({"a.png": (mask.shape, regions_of(mask.astype(np.float32), mask))})))
    union = np.zeros_like(mask)
    for number, annotation in enumerate(content["annotations"], start=1):
        region = decoded(annotation["segmentation"])
        rows, columns = np.nonzero(region)
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert annotation["area"] == region.sum()
        assert (annotation["id"], annotation["image_id"], annotation["iscrowd"]) == (number, 1, 1)
        assert not (union & region).any()
        union |= region
    assert np.array_equal(union, mask)


def test_pictures_without_regions_are_listed_as_well():
    empty = np.zeros((4, 6), bool)
    content = coco({"a.png": (empty.shape, regions_of(empty.astype(np.float32), empty)), "b.png": ((2, 2), [])})
    assert content["images"] == [
        {"id": 1, "file_name": "a.png", "height": 4, "width": 6},
        {"id": 2, "file_name": "b.png", "height": 2, "width": 2},
    ]
    assert content["categories"] == [{"id": 1, "name": "anomaly"}]
    assert content["annotations"] == []
