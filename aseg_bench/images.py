"""Reads images and truth masks of any common kind; all pictures of a data set are read here."""

import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aseg_bench import labelme
from aseg_bench.corruptions import corrupted
from aseg_bench.errors import InputError
from aseg_bench.files import is_left_by_others, reading
from aseg_bench.records import Sample

HEAT = "cividis"  # the colour map of anomaly scores: read in grey and by the colour-blind
_ENDINGS = "apng avif bmp dib gif j2k jfif jp2 jpe jpeg jpf jpg jpx pbm pcx pgm png pnm ppm qoi tga tif tiff webp"
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())  # of pictures that Pillow reads

# decoders that may see a file, whatever its ending says: no program of its own is run, as one is for PostScript
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")

MIN_BIT_DEPTH, MAX_BIT_DEPTH = 9, 16  # of a channel that is stored in 16 bits

_UPRIGHT = 1
_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC = 262
_TIFF_TILE = (322, 323)  # its width and height
_MIN_IS_WHITE = 0
_JPEG_TAIL_BYTES = 4096  # some cameras append a few bytes after the end marker
_BLACK = (0, 0, 0)
_PNG_HEADER = ">IIBBBBB"  # width, height, bits, colour type, compression, filter, interlace
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def read_image(path: Path, bit_depth: int = MAX_BIT_DEPTH) -> NDArray[np.uint8]:
    """Read an image as 8-bit RGB, upright.

    Grey is repeated, more than 8 bits are scaled from their full range (``2**bit_depth - 1`` becomes 255), transparency
    is dropped, palette and CMYK colours are resolved, and the EXIF orientation is applied.

    Args:
        path: of the image.
        bit_depth: of the camera, where a file of 16 bits holds fewer; 9 to 16.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InputError: the file is missing, is not an image, is truncated, holds several pages, floating-point or 32-bit
            values, or values of more bits than ``bit_depth``.
    """
    with opened(path) as image:
        _refuse_unknown_range(path, image)
        if not _is_deep(image):
            colours = np.asarray(image.convert("RGB"))
        else:
            values = _deep_values(path, image)
            _refuse_more_bits(path, values, bit_depth)
            colours = np.round(values / ((2**bit_depth - 1) / 255)).astype(np.uint8)
            colours = np.repeat(colours[..., None], 3, axis=-1) if colours.ndim == 2 else colours[..., :3]
        refuse_missing_rows(path, image)
        return turned(colours, _orientation(image))


def picture_of(sample: Sample) -> NDArray[np.uint8]:
    """The image of a sample as `read_image` reads it, then corrupted where the data set is.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InputError: as `read_image`.
    """
    pixels = read_image(sample.image_path, sample.bit_depth)
    return corrupted(pixels, sample.corruption, sample.name) if sample.corruption else pixels


def highest_deep_value(path: Path, bit_depth: int = MAX_BIT_DEPTH) -> int | None:
    """The highest value of an image of more than 8 bits per channel; None for an image of 8.

    Raises:
        InputError: the file cannot be read, or holds values of more bits than ``bit_depth``.
    """
    with opened(path) as image:
        if not _is_deep(image):
            return None
        values = _deep_values(path, image)
        _refuse_more_bits(path, values, bit_depth)
        return int(values.max())


def read_mask(path: Path, image_path: Path | None = None) -> NDArray[np.integer]:
    """Read a truth mask with the values as stored, upright; the protocol decides which of them mean anomalous.

    A 1-bit mask reads as 0 and 255, a grey one as its grey values, also where a palette gives them. A coloured palette
    reads as its indices; where its first colour is not black but another one is, black reads as 0 and all else as 255.
    A mask without an EXIF orientation that has the stored size of its image is turned as the image is. The masks of a
    folder count together: 255 where one of them is above 0. Polygons of labelme (``.json``) are drawn with 255.

    Args:
        path: of the mask, or of a folder of masks.
        image_path: of the image, whose EXIF orientation counts; None where it has none.

    Returns:
        (height, width) uint8, or int32 where the file has more than 8 bits.

    Raises:
        InputError: the file cannot be read, holds several pages, or is a coloured or partly transparent picture without
            one value per pixel; or the masks of a folder differ in size, or there are none.
    """
    if path.is_dir():
        return _joint_mask(path, image_path)
    if path.suffix.lower() == labelme.SUFFIX:
        return labelme.polygon_mask(path, most_pixels())
    with opened(path) as mask:
        values, size, own = _mask_values(path, mask), mask.size, _orientation(mask)
        refuse_missing_rows(path, mask)
    return turned(values, own if image_path is None or own != _UPRIGHT else _turn_of_image(image_path, size))


def mask_files(path: Path) -> list[Path]:
    """The files of a mask: itself, or the pictures in a folder of masks, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(
        file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not is_left_by_others(file)
    )


def _joint_mask(folder: Path, image_path: Path | None) -> NDArray[np.uint8]:
    masks = [read_mask(file, image_path) > 0 for file in mask_files(folder)]
    if len({mask.shape for mask in masks}) != 1:
        what = "differ in size" if masks else "are not there"
        raise InputError(f"the masks of {folder} {what}; they are of one image, and have one pixel for each of its own")
    return np.where(np.any(masks, axis=0), np.uint8(255), np.uint8(0))


def mask_turns(path: Path, image_path: Path) -> bool:
    """Whether ``read_mask`` turns a mask, or one of a folder, as the EXIF orientation of its image says.

    Raises:
        InputError: a file is missing, is not an image, or holds several pages.
    """
    if path.is_dir():
        return any(mask_turns(file, image_path) for file in mask_files(path))
    if path.suffix.lower() == labelme.SUFFIX:
        return False  # it is drawn upright
    with opened(path) as mask:
        size, own = mask.size, _orientation(mask)
    return own == _UPRIGHT and _turn_of_image(image_path, size) != _UPRIGHT


def _turn_of_image(path: Path, size: tuple[int, int]) -> int:
    """The orientation of an image for a mask of this width and height: only one of its stored size is turned."""
    with opened(path) as image:
        return _orientation(image) if image.size == size else _UPRIGHT


def image_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels as ``read_image`` will return them, from the file's header only.

    Raises:
        InputError: the file is missing, is not an image, or holds several pages.
    """
    with opened(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in _ROTATED else (height, width)


def orientation(path: Path) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 is upright, and 5 to 8 swap height and width.

    Raises:
        InputError: the file is missing, is not an image, or holds several pages.
    """
    with opened(path) as image:
        return _orientation(image)


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels as stored, (height, width) or with more axes, made upright by an EXIF orientation.

    Source: Exif 2.32 (CIPA DC-008-2019), tag 274.
    """
    if orientation in _ROTATED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def check_complete(path: Path) -> None:
    """Find an image that ``read_image`` will refuse, without decoding its pixels.

    Looks at the checksums of a PNG and the end marker of a JPEG.

    Raises:
        InputError: the file is missing, is not an image, is visibly damaged, or holds several pages, floating-point or
            32-bit values.
    """
    with opened(path) as image:
        is_jpeg = image.format in {"JPEG", "MPO"}
        _refuse_unknown_range(path, image)
        image.verify()
        if is_jpeg and b"\xff\xd9" not in path.read_bytes()[-_JPEG_TAIL_BYTES:]:
            raise OSError("its end is missing")


def allow_pixels(n_pixels: int) -> None:
    """Read images of up to so many pixels, in all of this process, where Pillow's limit of 178,956,970 is lower."""
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, -(-n_pixels // 2))  # Pillow refuses twice this


def most_pixels() -> int:
    """How many pixels an image may have."""
    return 2 * (Image.MAX_IMAGE_PIXELS or sys.maxsize)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image whose header is read; whatever is wrong with it, also in the block, is one InputError."""
    with reading(path, "replace or remove it", "cannot read {} as an image"):
        try:
            with Image.open(path, formats=_formats()) as image:
                _refuse_parts(path, image)
                yield image
        except FileNotFoundError as error:
            what = f"{path} is a link that leads nowhere" if path.is_symlink() else f"there is no file {path}"
            raise InputError(what) from error
        except Image.DecompressionBombError as error:
            raise InputError(f"{path} is too large ({error}); raise --max-pixels if you trust it") from error


def _refuse_parts(path: Path, image: Image.Image) -> None:
    """Refuse several pages, and tiles that are larger than a picture may be."""
    n_pages = getattr(image, "n_frames", 1)
    if n_pages > 1 and image.format != "MPO":  # a phone's JPEG with previews behind it
        raise InputError(f"{path} holds {n_pages} pages; write a file for each")
    tile = [getattr(image, "tag_v2", {}).get(tag, 1) for tag in _TIFF_TILE]
    if prod(tile) > most_pixels():
        raise InputError(f"{path} has tiles of {tile[0]} x {tile[1]} pixels; raise --max-pixels if you trust it")


def refuse_missing_rows(path: Path, image: Image.Image) -> None:
    """Refuse a PNG whose compressed data end early: Pillow reads the rows that are missing as stored zeros.

    Data are counted only where the last row is stored as zeros, or rows do not come one after the other.

    Source: the PNG specification, https://www.w3.org/TR/png-3/, sections 8 and 10.
    """
    if image.format != "PNG":
        return
    last_row = np.asarray(image.crop((0, image.height - 1, image.width, image.height)))
    if last_row.any() and not image.info.get("interlace"):
        return
    content = path.read_bytes()
    width, height, bits, colour, _, _, interlace = struct.unpack_from(_PNG_HEADER, content, 16)
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = [(-(-(height - top) // down), -(-(width - left) // across)) for top, left, down, across in passes]
    n_bits = bits * _PNG_CHANNELS[colour]
    missing = sum(rows * (1 + -(-columns * n_bits // 8)) for rows, columns in sizes if rows > 0 and columns > 0)
    inflate, place = zlib.decompressobj(), 8
    while missing > 0 and place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        data = content[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        while data and missing > 0:
            missing -= len(inflate.decompress(data, missing))
            data = inflate.unconsumed_tail
        place += 12 + length
    if missing > 0:
        raise OSError("its last rows are missing")


@cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]  # an older Pillow may lack one


def _orientation(image: Image.Image) -> int:
    """EXIF orientation from the header; where it has none, Pillow would decode a PNG to find it behind the pixels."""
    if image.format == "PNG" and "exif" not in image.info:
        return _UPRIGHT
    found = int(image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT))
    return found if found in range(1, 9) else _UPRIGHT


def _refuse_unknown_range(path: Path, image: Image.Image) -> None:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise InputError(f"{path} holds 32-bit values of unknown range; save it with 8 or 16 bits per channel")


def _refuse_more_bits(path: Path, values: NDArray[np.int32], bit_depth: int) -> None:
    if values.max() > 2**bit_depth - 1:
        raise InputError(f"{path} reaches {values.max()}, more than {bit_depth} bits hold; raise --bit-depth")


def _is_deep(image: Image.Image) -> bool:
    """Whether it has 16 bits per channel; of colours, Pillow would keep the higher 8."""
    layouts = [str(tile[3]) for tile in getattr(image, "tile", ())]
    return image.mode.startswith("I") or any(";16" in layout for layout in layouts)


def _deep_values(path: Path, image: Image.Image) -> NDArray[np.int32]:
    """Values of more than 8 bits, (height, width) or (height, width, channels), as stored."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int32)
        is_inverted = getattr(image, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == _MIN_IS_WHITE
        return 2**MAX_BIT_DEPTH - 1 - values if is_inverted else values
    image.load()  # finds damage
    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.shape[:2] != image.size[::-1]:
        raise OSError("its 16-bit colours cannot be decoded")
    return stored[..., [2, 1, 0, 3][: stored.shape[-1]]].astype(np.int32)  # from blue, green, red


def _mask_values(path: Path, mask: Image.Image) -> NDArray[np.integer]:
    if mask.mode == "P":
        return _palette_values(path, mask)
    if mask.info.get("transparency") not in (None, 0, _BLACK):
        raise InputError(f"mask {path} makes other values than 0 transparent; save it as grey without transparency")
    if mask.mode == "1":
        return np.asarray(mask.convert("L"))
    values = _deep_values(path, mask) if _is_deep(mask) else np.asarray(mask)
    if values.ndim == 3:
        channels = mask.getbands()
        has_alpha = channels[-1] == "A"
        colour = values[..., : -1 if has_alpha else None]
        if has_alpha and np.ptp(values[..., -1]):
            raise InputError(
                f"mask {path} is a partly transparent picture; save it as grey, 0 normal and 255 anomalous"
            )
        if mask.mode not in {"LA", "RGB", "RGBA"} or not (colour == colour[..., :1]).all():
            raise InputError(f"mask {path} is a colour picture; save it as grey, 0 normal and 255 anomalous")
        values = np.ascontiguousarray(colour[..., 0])
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"mask {path} holds floating-point values; save it as grey, 0 normal and 255 anomalous")
    return values if values.dtype == np.uint8 else values.astype(np.int32)


def _palette_values(path: Path, mask: Image.Image) -> NDArray[np.uint8]:
    indices = np.asarray(mask)
    used = np.unique(indices)
    palette = np.asarray(mask.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    transparency = mask.info.get("transparency", b"")  # the opacity of each colour, or the one that has none
    opacity = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        opacity[transparency] = 0
    else:
        opacity[: len(transparency)] = np.frombuffer(transparency, np.uint8)
    is_grey = bool((palette == palette[:, :1]).all()) and len(np.unique(colours[used], axis=0)) > min(1, len(used) - 1)
    is_clear = opacity[used] == 0
    if ((opacity[used] < 255) & ~is_clear).any() or (is_grey and colours[used[is_clear]].any()):
        raise InputError(f"mask {path} is a partly transparent picture; save it as grey, 0 normal and 255 anomalous")
    if is_grey:
        greys: NDArray[np.uint8] = colours[indices, 0]
        return greys
    background = used[is_clear]
    if not len(background) and colours[0].any():
        background = used[~colours[used].any(axis=1)]
    if not len(background) or background.tolist() == [0]:
        return indices
    values: NDArray[np.uint8] = np.where(indices == 0, np.uint8(255), indices)
    values[np.isin(indices, background)] = 0
    return values
