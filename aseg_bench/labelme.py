"""Truth that is stored as polygons: the JSON files of the annotation tool labelme, drawn as masks."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from aseg_bench.errors import InputError
from aseg_bench.files import reading

SUFFIX = ".json"


def polygon_mask(path: Path, most_pixels: int) -> NDArray[np.uint8]:
    """Draw the polygons of a file, outline included, as labelme itself does; what its labels are does not count.

    Args:
        path: of the file, which also names height and width of the image.
        most_pixels: a mask may have.

    Returns:
        (height, width) uint8, 255 in a polygon and 0 elsewhere, upright as labelme shows images.

    Raises:
        InputError: the file cannot be read, names a larger image, or holds a shape that is not a polygon in it.

    Source: https://github.com/wkentaro/labelme, labelme/utils/shape.py.
    """
    with reading(path, "save it again with labelme", "cannot read {} as polygons of labelme"):
        content = json.loads(path.read_text(encoding="utf-8"))
        height, width = int(content["imageHeight"]), int(content["imageWidth"])
        if not 0 < height * width <= most_pixels:
            raise InputError(f"{path} is of an image of {width} x {height} pixels; raise --max-pixels if you trust it")
        mask = Image.new("L", (width, height))
        draw = ImageDraw.Draw(mask)
        for shape in content["shapes"]:
            points = [(float(x), float(y)) for x, y in shape["points"]]
            is_inside = all(0 <= x <= width and 0 <= y <= height for x, y in points)
            if shape["shape_type"] != "polygon" or len(points) < 3 or not is_inside:
                raise InputError(
                    f"{path} holds a shape ({shape['shape_type']}) that is not a polygon of three or more points in "
                    "the image; draw it as one"
                )
            draw.polygon(points, fill=255, outline=255)
        return np.asarray(mask)
