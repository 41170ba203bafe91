"""Reads maps from pictures, TIFF and tables of numbers that strangers wrote: size limits first."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.files import reading
from aseg_bench.images import opened, refuse_missing_rows
from aseg_bench.predictions.loading import check_size
from aseg_bench.predictions.records import Limits

Array = NDArray[Any]

# compressions whose decoders stop at the size that a strip or tile has: none, LZW, deflate, PackBits, LZMA, Zstd
_BOUNDED = frozenset({1, 5, 8, 32773, 32946, 34925, 34926, 50000})
_GROWTH_OF_CSV = 4  # "0," becomes a float64


def read_picture(path: Path, limits: Limits) -> Array:
    """The one picture of a file, (height, width) or with a last axis of colours; constant transparency is dropped.

    Raises:
        InputError: the file is damaged, too large, of several pages, or a TIFF in a compression of photographs.
    """
    if path.suffix.lower() in (".tif", ".tiff") and (numbers := read_tiff(path, limits)) is not None:
        return numbers
    with opened(path) as picture:
        check_size(path, prod(picture.size) * 4, limits)
        values = np.asarray(picture.convert("RGB") if picture.mode == "P" else picture)
        refuse_missing_rows(path, picture)
        has_alpha = picture.mode in ("LA", "RGBA") and np.ptp(values[..., -1]) == 0
        return values[..., :-1] if has_alpha else values


def read_tiff(path: Path, limits: Limits, mend: str = "write it again") -> Array | None:
    """The numbers of a TIFF of one page, (height, width) or with a last axis of colours; None of a palette's indices.

    Args:
        path: the file.
        limits: how large it may be.
        mend: what to do about a damaged one.

    Raises:
        InputError: the file is damaged, too large, of several pages, or in a compression of photographs.
    """
    with reading(path, mend), tifffile.TiffFile(path) as tiff:
        if len(tiff.pages) > 1:
            raise InputError(f"{path} holds {len(tiff.pages)} pages; write a file for each map")
        page = tiff.pages.first
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:  # whose numbers stand for colours
            return None
        n_bytes = np.dtype(page.dtype).itemsize if page.dtype else 1
        check_size(path, max(prod(page.shape), prod(page.chunks)) * n_bytes, limits)
        if page.compression not in _BOUNDED:
            raise InputError(
                f"{path} is compressed as {tifffile.COMPRESSION(page.compression).name}, which is for photographs;"
                " write numbers with no compression, or with LZW, deflate, LZMA or Zstd"
            )
        if sum(page.databytecounts) > path.stat().st_size:
            raise InputError(f"{path} declares {sum(page.databytecounts)} bytes of values and is shorter")
        values = page.asarray(maxworkers=1)
        return np.moveaxis(values, 0, -1) if page.axes == "SYX" else np.asarray(values)


def read_table(path: Path, limits: Limits) -> Array:
    """The numbers of a CSV file without headings, as float64.

    Raises:
        InputError: the file is damaged or too large, or holds anything but one matrix of numbers.
    """
    check_size(path, path.stat().st_size * _GROWTH_OF_CSV, limits)
    remedy = "a CSV map holds one number per pixel, separated by commas, and no headings"
    with reading(path, remedy):
        values = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")  # spreadsheets mark UTF-8
    if any(
        len(line) > 1 and (line == np.arange(len(line))).all() for line in (values[:1].ravel(), values[:, :1].ravel())
    ):
        raise InputError(f"{path} counts its rows or columns, as pandas does; {remedy} (header=False, index=False)")
    return values
