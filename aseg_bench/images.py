"""Reads images and truth masks of any common kind; all pictures of a data set are read here."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from aseg_bench.errors import InputError

HEAT = "cividis"  # the colour map of anomaly scores: read in grey and by the colour-blind
_ENDINGS = "apng avif bmp dib gif j2k jfif jp2 jpe jpeg jpf jpg jpx pbm pcx pgm png pnm ppm qoi tga tif tiff webp"
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())  # of pictures that Pillow reads

_UPRIGHT = 1
_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
_EXIF_ORIENTATION = 0x0112
_JPEG_TAIL_BYTES = 4096  # some cameras append a few bytes after the end marker


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image as 8-bit RGB, upright.

    Grey is repeated, 16-bit is scaled from its full range (65535 becomes 255), transparency is dropped, palette and
    CMYK colours are resolved, and the EXIF orientation is applied.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InputError: the file is missing, is not an image, is truncated, or holds floating-point or 32-bit values.
    """
    image = _load(path)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = np.asarray(image).astype(np.uint32)
        return np.repeat(np.round(grey / 257).astype(np.uint8)[..., None], 3, axis=-1)
    _refuse_unknown_range(path, image)
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> NDArray[np.integer]:
    """Read a truth mask with the values as stored, upright; the protocol decides which of them mean anomalous.

    A 1-bit mask reads as 0 and 255. A coloured palette reads as its indices, a grey one as its grey values.

    Returns:
        (height, width) uint8, or int32 where the file has more than 8 bits.

    Raises:
        InputError: the file cannot be read, or is a coloured or partly transparent picture without one value per pixel.
    """
    mask = _load(path)
    if mask.mode == "P":
        colours = np.asarray(mask.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        is_grey = bool((colours == colours[:, :1]).all())
        return np.asarray(mask.convert("L") if is_grey else mask)
    if mask.mode == "1":
        return np.asarray(mask.convert("L"))
    values = np.asarray(mask)
    if values.ndim == 3:
        channels = mask.getbands()
        colour = values[..., [channel != "A" for channel in channels]]
        is_plain = (colour == colour[..., :1]).all() and ("A" not in channels or np.ptp(values[..., -1]) == 0)
        if mask.mode not in {"LA", "RGB", "RGBA"} or not is_plain:
            raise InputError(f"mask {path} is a colour picture; save it as grey, 0 normal and 255 anomalous")
        return np.ascontiguousarray(colour[..., 0])
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"mask {path} holds floating-point values; save it as grey, 0 normal and 255 anomalous")
    return values if values.dtype == np.uint8 else values.astype(np.int32)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels as ``read_image`` will return them, from the file's header only.

    Raises:
        InputError: the file is missing or is not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            is_rotated = _orientation(image) in _ROTATED
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from error
    return (width, height) if is_rotated else (height, width)


def check_complete(path: Path) -> None:
    """Find an image that ``read_image`` will refuse, without decoding its pixels.

    Looks at the checksums of a PNG and the end marker of a JPEG.

    Raises:
        InputError: the file is missing, is not an image, is visibly damaged, or holds floating-point or 32-bit values.
    """
    try:
        with Image.open(path) as image:
            is_jpeg = image.format == "JPEG"
            _refuse_unknown_range(path, image)
            image.verify()
        if is_jpeg and b"\xff\xd9" not in path.read_bytes()[-_JPEG_TAIL_BYTES:]:
            raise OSError("its end is missing")
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from error


def _refuse_unknown_range(path: Path, image: Image.Image) -> None:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise InputError(f"{path} holds 32-bit values of unknown range; save it with 8 or 16 bits per channel")


def _load(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            is_turned = _orientation(image) != _UPRIGHT
            image.load()
            upright = ImageOps.exif_transpose(image) if is_turned else image
            upright.format = image.format
            return upright
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation from the header; where it has none, Pillow would decode a PNG to find it behind the pixels."""
    if image.format == "PNG" and "exif" not in image.info:
        return _UPRIGHT
    return int(image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT))


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no file {path}")
    return InputError(f"cannot read {path} as an image ({error}); replace or remove it")
