"""Reads arrays from files that strangers wrote: size limits first, no code from a file ever runs."""

import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import prod
from pathlib import Path, PurePath
from tempfile import TemporaryFile
from typing import IO, Any, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from aseg_bench.errors import InputError, first_few, how_to_install
from aseg_bench.files import files_below, open_archive, reading, sha256_of
from aseg_bench.pickles import (
    AskedForError,
    PlainArray,
    load_torch,
    open_torch,
    read_plain,
    with_true_letters,
)
from aseg_bench.predictions.records import Limits

Array = NDArray[Any]
_MOST_MEMBERS = 1000  # of an npz file
_MOST_MAPS = 2**20  # of one file, each of which takes memory for its name and place
_MOST_PARTS = 2**22  # of lists within lists, which a pickle may hold in each other
_BYTES_OF_TEXT = 2**7  # that a text takes beside its letters
NEEDS_PICKLE = "it holds pickled objects: pass --allow-pickle to read arrays and plain containers from it, nothing else"


def sorted_out(root: Path, suffixes: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Files at or below a path with one of these endings, and all others; both sorted.

    Raises:
        InputError: the path does not exist, or no file has such an ending.
    """
    files = files_below(root)
    wanted = [file for file in files if file.suffix.lower() in suffixes]
    if not wanted:
        raise InputError(f"no {' or '.join(suffixes)} file at or below {root}")
    return wanted, [file for file in files if file.suffix.lower() not in suffixes]


def checksum_of_files(root: Path) -> str:
    """SHA-256 over the names and contents of ``files_below``, wherever the path lies.

    Raises:
        InputError: the path does not exist, or a file cannot be read.
    """
    return sha256_of(digests_of_files(root))


def digests_of_files(root: Path, some: slice = slice(None)) -> list[str]:
    """What `checksum_of_files` is over, a text for each of some of the files."""
    texts = []
    for file in files_below(root)[some]:
        with reading(file), file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        texts.append("\0".join((file.relative_to(root).as_posix(), digest, "")))
    return texts


def npz_members(path: Path) -> tuple[str, ...]:
    """Names of the arrays in an npz file.

    Raises:
        InputError: the file is not an npz file, or it is truncated.
    """
    with _open_npz(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of numbers in an npz file by member, or of an npy file; none of a damaged file."""
    shapes: dict[str, tuple[int, ...]] = {}
    with suppress(InputError), reading(path), ExitStack() as stack:
        if path.suffix.lower() == ".npy":
            named: dict[str, IO[bytes]] = {"": stack.enter_context(path.open("rb"))}
        else:
            archive = stack.enter_context(_open_npz(path))
            named = {full.removesuffix(".npy"): stack.enter_context(archive.open(full)) for full in archive.namelist()}
        for name, file in named.items():
            shape, _, dtype = _npy_header(file, str(path), sys.maxsize, Limits(sys.maxsize, True), are_texts=True)
            if dtype.kind in "biufV":
                shapes[name] = shape
    return shapes


def read_npz(path: Path, names: Sequence[str], limits: Limits) -> list[Array]:
    """Some arrays of an npz file, opened once.

    Raises:
        InputError: the file or a member is missing, damaged, too large or pickled.
    """
    with _open_npz(path) as archive:
        arrays = []
        for name in names:
            with reading(f"{path}, member {name}"):
                info = archive.getinfo(_full_name(path, archive, name))
                check_size(f"{path}, member {name}", info.file_size, limits)
                with archive.open(info) as member:
                    arrays.append(_read_npy(member, f"{path}, member {name}", info.file_size, limits))
        return arrays


def read_texts(path: Path, names: Sequence[str], limits: Limits) -> list[list[str]]:
    """Some members of an npz file that name images or categories; arrays of objects are read if pickle is allowed.

    Raises:
        InputError: the file or a member is missing, damaged or too large, or holds objects and pickle is not allowed.
    """
    with _open_npz(path) as archive:
        members = []
        for name in names:
            where = f"{path}, member {name}"
            with reading(where):
                info = archive.getinfo(_full_name(path, archive, name))
                check_size(where, info.file_size, limits)
                with archive.open(info) as member:
                    array = _read_npy(member, where, info.file_size, limits, are_texts=True)
                members.append([as_text(value) for value in array.ravel().tolist()])
        return members


def as_text(name: Any) -> str:
    """The name of an image or a category, which a file may hold as text, as bytes or as a path.

    Raises:
        InputError: it is a list or another container.
    """
    if isinstance(name, bytes):
        return name.decode(errors="surrogateescape")
    if isinstance(name, list | tuple | dict | set | frozenset):
        raise InputError(f"an image is named by a {type(name).__name__}; write its path as text")
    return name.as_posix() if isinstance(name, PurePath) else str(name)


@dataclass(frozen=True)
class StoredArray:
    """An array that stays in its file; its items, along the first axis, are read one by one.

    A compressed member of an npz is unpacked into a temporary file (in the folder that ``TMPDIR`` names), which is
    removed once others have been read.

    Attributes:
        path: an npz or npy file.
        member: the array's name in it; empty for an npy.
        shape: of the array.
        dtype: of the array.
        is_fortran: the first axis varies fastest.
        start: byte of the member at which the values begin.
    """

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    start: int

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __getitem__(self, index: int) -> Array:
        """A copy of one item.

        Raises:
            InputError: the file cannot be read any more.
        """
        with reading(f"{self.path}, member {self.member}"):
            file, offset = _member_bytes(self.path, self.member, self.path.stat().st_mtime_ns)
            order: Literal["C", "F"] = "F" if self.is_fortran else "C"
            whole = np.memmap(file, self.dtype, "r", offset + self.start, self.shape, order)  # unmapped on return
            return np.array(whole[index])


def stored_array(path: Path, name: str, limits: Limits) -> StoredArray:
    """An array of an npz file, or with an empty name of an npy file, checked but not kept in memory.

    Raises:
        InputError: the file or the member is missing, damaged, too large or pickled.
    """
    if not name:
        with reading(path), path.open("rb") as file:
            shape, is_fortran, dtype = _npy_header(file, str(path), path.stat().st_size, limits)
            start = file.tell()
            if start + prod(shape) * dtype.itemsize > path.stat().st_size:
                raise InputError(f"{path} ends before its values do; write it again")
        return StoredArray(path, "", shape, dtype, is_fortran, start)
    with _open_npz(path) as archive, reading(f"{path}, member {name}"):
        where, info = f"{path}, member {name}", archive.getinfo(_full_name(path, archive, name))
        check_size(where, info.file_size, limits)
        with archive.open(info) as member:
            shape, is_fortran, dtype = _npy_header(member, where, info.file_size, limits)
            start = member.tell()
            if start + prod(shape) * dtype.itemsize > info.file_size:
                raise InputError(f"{where} ends before its values do; write it again")
            if info.compress_type == ZIP_STORED:
                while member.read(2**20):  # which checks the sum at the end
                    pass
    stored = StoredArray(path, name, shape, dtype, is_fortran, start)
    if info.compress_type != ZIP_STORED and shape and shape[0]:
        stored[0]  # unpacks it, which checks the sum
    return stored


@lru_cache(maxsize=2)  # maps, and masks beside them
def _member_bytes(path: Path, name: str, changed: int) -> tuple[IO[bytes] | Path, int]:
    """Where the bytes of a member lie uncompressed: a file, and the place of the first; ``changed`` is the file's time.

    An npy file, whose member has no name, is its own bytes.

    Source: the local file header of PKWARE's APPNOTE.TXT, 4.3.7.
    """
    if not name:
        return path, 0
    with _open_npz(path) as archive:
        info = archive.getinfo(_full_name(path, archive, name))
        if info.compress_type == ZIP_STORED:
            with path.open("rb") as file:
                file.seek(info.header_offset + 26)
                n_name, n_extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
            return path, info.header_offset + 30 + n_name + n_extra
        unpacked: IO[bytes] = TemporaryFile()  # noqa: SIM115 - lives as long as the cache remembers it
        with archive.open(info) as member:
            shutil.copyfileobj(member, unpacked, 2**20)
        unpacked.flush()
        return unpacked, 0


def _full_name(path: Path, archive: ZipFile, name: str) -> str:
    """A member's name in the archive, without or with its ending.

    Raises:
        InputError: the archive has no such member.
    """
    names = {full.removesuffix(".npy"): full for full in archive.namelist()}
    if name not in names:
        raise InputError(f"{path} has no member {name}; it has {first_few(list(names), 20) or 'none'}")
    return names[name]


def read_npy(path: Path, limits: Limits) -> Array:
    """The array of an npy file.

    Raises:
        InputError: the file is damaged, too large or pickled.
    """
    with reading(path), path.open("rb") as file:
        return _read_npy(file, str(path), path.stat().st_size, limits)


def read_pickle(path: Path, limits: Limits) -> Any:
    """What a pickle holds, if that is arrays and plain containers.

    Raises:
        InputError: pickle is not allowed, the file is damaged or too large, or it asks for anything else.
    """
    if not limits.allow_pickle:
        raise InputError(f"cannot read {path}: {NEEDS_PICKLE}")
    with reading(path), path.open("rb") as file:
        check_size(path, path.stat().st_size, limits)
        return _plain(file, str(path), limits)


def read_torch(path: Path, limits: Limits, classes: Sequence[tuple[type, str]] = ()) -> Any:
    """What ``torch.save`` wrote, through torch's own restricted unpickler; tensors stay in the file until looked at.

    Args:
        path: the file.
        limits: pickle must be allowed.
        classes: harmless stand-ins for classes by their full name, besides tensors, arrays and plain containers.

    Raises:
        InputError: torch is not installed, pickle is not allowed, or the file is damaged, too large or holds more.
    """
    if not limits.allow_pickle:
        raise InputError(f"cannot read {path}: {NEEDS_PICKLE}")
    if find_spec("torch") is None:
        raise InputError(f"reading {path} needs torch: {how_to_install('torch')}")
    with reading(path):
        check_size(path, path.stat().st_size, limits)
        try:
            return load_torch(path, classes, mmap=True, most=limits.max_bytes)
        except AskedForError as error:
            raise InputError(
                f"{path} asks for {error.name}, which is neither a tensor nor an array nor a plain container, so it"
                " is not loaded; torch.save these alone"
            ) from error
        except InputError as error:
            raise InputError(f"cannot read {path}: {error}") from error


def mentions(path: Path, *words: bytes) -> bool:
    """Whether what ``torch.save`` wrote names all of these words, found without unpickling; False if it is damaged."""
    missing, last = set(words), b""
    with suppress(InputError), reading(path), ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        if file.read(2) == b"PK":
            archive = stack.enter_context(open_torch(path))
            (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            file = stack.enter_context(archive.open(pickled))
        while missing and (part := file.read(2**20)):
            missing -= {word for word in missing if word in last + part}
            last = part[-64:]
    return not missing


def _plain(file: IO[bytes], where: str, limits: Limits) -> Any:
    try:
        return read_plain(file, limits.max_bytes)
    except AskedForError as error:
        raise InputError(
            f"{where} asks for {error.name}, which is neither an array nor a plain container, so it is not loaded;"
            " write plain arrays"
        ) from error
    except InputError as error:
        raise InputError(f"cannot read {where}: {error}") from error


def _open_npz(path: Path) -> ZipFile:
    with reading(path, said="cannot read {} as npz"):
        return open_archive(path, _MOST_MEMBERS, (ZIP_STORED, ZIP_DEFLATED))


def _read_npy(file: IO[bytes], where: str, n_bytes: int, limits: Limits, are_texts: bool = False) -> Array:
    shape, is_fortran, dtype = _npy_header(file, where, n_bytes, limits, are_texts)
    if dtype.hasobject:
        array = _plain(file, where, limits)
        if not isinstance(array, PlainArray):
            raise InputError(f"{where} holds a {type(array).__name__} in the place of an array; write it again")
        return array
    values = with_true_letters(np.frombuffer(file.read(prod(shape) * dtype.itemsize), dtype=dtype, count=prod(shape)))
    return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)


def _npy_header(
    file: IO[bytes], where: str, n_bytes: int, limits: Limits, are_texts: bool = False
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type of an array whose file, of so many bytes, is at its start."""
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject and are_texts:
        if not limits.allow_pickle:
            raise InputError(f"cannot read {where}: {NEEDS_PICKLE}")
        return shape, is_fortran, dtype
    if dtype.hasobject:
        raise InputError(f"cannot read {where}: it holds Python objects; save arrays of numbers with numpy.savez")
    if min(shape, default=0) < 0 or not dtype.itemsize:
        raise InputError(f"{where} declares the shape {shape} of {dtype.itemsize} bytes each; write it again")
    declared = prod(shape) * dtype.itemsize
    check_size(where, declared + (prod(shape) * _BYTES_OF_TEXT if are_texts else 0), limits)
    if declared > n_bytes:
        raise InputError(f"{where} declares {declared} bytes of shape {shape} and holds {n_bytes}; write it again")
    return shape, is_fortran, dtype


def check_size(where: Path | str, n_bytes: int, limits: Limits) -> None:
    """Refuse what would take more memory than the limit.

    Raises:
        InputError: so many bytes are more than the limit.
    """
    if n_bytes > limits.max_bytes:
        raise InputError(
            f"{where} would take {n_bytes / 2**30:.2g} GiB, more than the limit of {limits.max_bytes / 2**30:.2g};"
            " raise --max-gib if you trust it"
        )


def check_count(where: Path | str, n_maps: int) -> None:
    """Refuse a stack of so many maps that their names alone would take the memory.

    Raises:
        InputError: these are more than a million.
    """
    if n_maps > _MOST_MAPS:
        raise InputError(f"{where} holds {n_maps} maps; write {_MOST_MAPS} at most into one file")


def flattened(parts: Sequence[Any]) -> Iterator[Any]:
    """The items of lists within lists, in order.

    Raises:
        InputError: the lists hold each other.
    """
    inner, n_parts = [iter(parts)], 0
    while inner:
        for part in inner[-1]:
            n_parts += 1
            if n_parts > _MOST_PARTS:
                raise InputError(f"it holds lists within lists of more than {_MOST_PARTS} parts; write one flat list")
            if isinstance(part, list | tuple):
                inner.append(iter(part))
                break
            yield part
        else:
            inner.pop()
