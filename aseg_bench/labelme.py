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
        if min(height, width) < 1 or height * width > most_pixels:
            raise InputError(f"{path} is of an image of {width} x {height} pixels; raise --max-pixels if you trust it")
        mask = Image.new("L", (width, height))
        draw = ImageDraw.Draw(mask)
        for number, shape in enumerate(content["shapes"], start=1):
            kind, points = shape.get("shape_type", "polygon"), [(float(x), float(y)) for x, y in shape["points"]]
            if kind != "polygon" or len(points) < 3:
                text = f"shape {number} of {path} is a {kind} of {len(points)} points; draw a polygon of three or more"
                raise InputError(text)
            outside = [(x, y) for x, y in points if not (0 <= x <= width and 0 <= y <= height)]
            beyond = all(x >= width for x, _ in points) or all(
                y >= height for _, y in points
            )  # no pixel would be drawn
            if outside or beyond:
                raise InputError(
                    f"shape {number} of {path} has its point {(outside or points)[0]} outside the image of "
                    f"{width} x {height} pixels; move it into the image"
                )
            draw.polygon(points, fill=255, outline=255)
        return np.asarray(mask)
