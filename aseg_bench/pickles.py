"""Numbers, texts and plain containers from pickles that strangers wrote: nothing else is built, and nothing is called.

The names of numpy stand for classes of ours, here and in torch's own unpickler: numpy's own take pointers from a file.
"""

import builtins
import pickle
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import IO, Any, Literal
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.files import open_archive

_NUMBERS, _TEXTS, _OBJECTS = "biufc", "SU", "O"
_DTYPE = re.compile(rf"[{_NUMBERS}{_TEXTS}{_OBJECTS}][0-9]{{1,9}}")
_PLAIN = str | bytes | int | float | complex | PurePath | np.generic | None
_TORCH_TYPE = re.compile(r"(bfloat|float|complex|u?int)\d\w*|bool|double|half|long|short|\w+Storage")
_STORAGES = {2: "Half BFloat16 Short", 4: "Float Int", 8: "Double Long ComplexFloat", 16: "ComplexDouble"}
_ITEM_SIZES = {f"torch.{name}Storage": size for size, names in _STORAGES.items() for name in names.split()}  # bytes
_MOST_MEMBERS = 2**18  # of a torch file: one a tensor
_LONGEST_NAME = 80  # of what a pickle asks for, in messages
_BYTES_OF_CONTAINER = 216  # that an empty set takes, the largest of them
_MOST_BYTES = 2**33  # that a pickle may build, where nobody says less
_OLDER_PARTS = 5  # pickles of torch's older format: two numbers, the machine, the content, the names of its storages


class PlainDtype:
    """Stands for ``numpy.dtype``: numbers, texts, and objects, of which only lists of texts become an array."""

    def __init__(self, name: str, is_aligned: bool = False, is_copied: bool = True) -> None:
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise InputError(f"it asks for arrays of {name!r:.40}; write arrays of numbers")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        match state:
            case (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_):
                self.dtype = self.dtype.newbyteorder(order)
            case _:
                raise InputError("it asks for arrays of records; write arrays of numbers")


class PlainArray(np.ndarray[Any, Any]):
    """Stands for ``numpy.ndarray``, which a pickle names but may not call: it could choose the memory that is read."""

    def __new__(cls, *_: Any, **__: Any) -> "PlainArray":
        """Refuse the call."""
        raise InputError("it calls numpy.ndarray, which no pickle of an array does; write plain arrays")

    def __setstate__(self, state: Any) -> None:
        match state:
            case (int(), tuple() as shape, PlainDtype() | np.dtype() as kind, bool() | int() as order, held):
                dtype = kind.dtype if isinstance(kind, PlainDtype) else kind
            case _:
                raise InputError("it holds an array in no form that numpy writes; write it again")
        n_items = _n_items(shape)
        if dtype.kind == _OBJECTS:
            is_sound = type(held) is list and len(held) == n_items and all(isinstance(one, _PLAIN) for one in held)
        else:
            is_known = dtype.kind in _NUMBERS + _TEXTS and dtype.itemsize > 0
            is_sound = is_known and type(held) is bytes and len(held) == n_items * dtype.itemsize
        if self.size or not is_sound:  # filled twice, its first memory would be free
            raise InputError(f"it holds an array whose shape {shape!r:.60} and values do not fit; write it again")
        if dtype.kind == "U":
            with_true_letters(np.frombuffer(held, dtype))
        super().__setstate__((1, shape, dtype, bool(order), held))  # type: ignore[arg-type]


def with_true_letters(array: NDArray[Any]) -> NDArray[Any]:
    """The array; of texts only if Unicode has all their letters, for Python trusts numpy in this.

    Args:
        array: (n,), contiguous.

    Raises:
        InputError: a letter is beyond the last of Unicode.
    """
    if array.dtype.kind == "U" and array.size:
        letters = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if letters.max() > sys.maxunicode:
            raise InputError("it holds a text with letters that Unicode does not have; write it again")
    return array


def _n_items(shape: Sequence[Any]) -> int:
    if not all(type(length) is int and length >= 0 for length in shape):
        raise InputError(f"it holds an array of shape {shape!r:.60}; write it again")
    return prod(shape)


def _new_array(kind: Any, shape: Any, code: Any) -> PlainArray:
    """What numpy's ``_reconstruct`` makes before the values come."""
    if kind is not PlainArray or shape != (0,) or code not in (b"b", "b"):
        raise InputError("it holds an array in no form that numpy writes; write it again")
    return np.ndarray.__new__(PlainArray, (0,), np.int8)


def _scalar(kind: Any, content: Any) -> Any:
    if not isinstance(kind, PlainDtype) or kind.dtype.kind == _OBJECTS or not isinstance(content, bytes):
        raise InputError("it holds a number in no form that numpy writes; write it again")
    return with_true_letters(np.frombuffer(content, kind.dtype, count=1))[0]


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Literal["C", "F"]) -> NDArray[Any]:
    """What numpy's fifth pickle protocol calls ``_frombuffer``."""
    if not isinstance(kind, PlainDtype) or kind.dtype.kind == _OBJECTS or type(buffer) not in (bytes, bytearray):
        raise InputError("it holds an array in no form that numpy writes; write it again")
    content = bytes(buffer)  # which nobody can write into once it was looked at
    return with_true_letters(np.frombuffer(content, kind.dtype)).reshape(shape, order=order)


def _latin1(text: str, encoding: str) -> bytes:
    """What the older pickle protocols make of an array's bytes."""
    if encoding != "latin1" or not isinstance(text, str):
        raise InputError(f"an array of it is encoded as {encoding!r:.20}; write it with pickle protocol 4 or 5")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Empty bytes, as the older protocols write them."""
    return b""


def _hashed(items: Sequence[Any]) -> Sequence[Any]:
    """Keys, or members of a set; Python hashes tuples within tuples without an end in time, or in its own memory."""
    for item in items:
        for one in item if type(item) is tuple else (item,):
            if not isinstance(one, _PLAIN):
                raise InputError(f"it has a {type(one).__name__} within a key; write texts or numbers as keys")
    return items


def _set(items: Any = ()) -> set[Any]:
    return set(_hashed(list(items)))


def _mapping(kind: Callable[..., Any]) -> Callable[..., Any]:
    """A class of mappings, called as ``copyreg`` calls it: with nothing, a dict, or pairs."""

    def made(items: Any = ()) -> Any:
        pairs = [tuple(pair) for pair in (items.items() if isinstance(items, dict) else items)]
        _hashed([key for key, _ in pairs])
        return kind(dict(pairs))

    return made


NUMPY: list[tuple[Any, str]] = [
    (PlainArray, "numpy.ndarray"),
    (PlainDtype, "numpy.dtype"),
    *((_from_buffer, f"numpy.{core}.numeric._frombuffer") for core in ("core", "_core")),
    *((_new_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What stands for the names of numpy, as ``torch.serialization.safe_globals`` takes it."""

PATHS: list[tuple[Any, str]] = [
    (kind, f"{module}.{pure}{system}Path")
    for module in ("pathlib", "pathlib._local")  # the latter of Python 3.13
    for pure in ("", "Pure")
    for system, kind in (("Posix", PurePosixPath), ("Windows", PureWindowsPath))
]

_BUILT: dict[str, Any] = {
    **{name: made for made, name in (*NUMPY, *PATHS)},
    "builtins.bytes": _no_bytes,
    "builtins.complex": complex,
    "builtins.frozenset": lambda items=(): frozenset(_set(items)),
    "builtins.set": _set,
    "_codecs.encode": _latin1,
    "collections.OrderedDict": _mapping(OrderedDict),
    "collections.Counter": _mapping(Counter),
}


_Unpickler: Any = pickle._Unpickler  # in Python: the one in C takes memory for what a file only declares


class _Plain(_Unpickler):  # type: ignore[misc]
    """Reads only data, and calls only what ``built`` has."""

    def __init__(
        self,
        file: IO[bytes],
        built: Mapping[str, Any],
        storage: Callable[[Any], Any] | None = None,
        most: int = _MOST_BYTES,
    ) -> None:
        super().__init__(file)
        self._built, self._storage, self._left = built, storage, most

    def find_class(self, module: str, name: str) -> Any:
        """The few names that data need; any other is refused before it is imported."""
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full not in self._built:
            if full.startswith("torch.") and self._storage is not None and _TORCH_TYPE.fullmatch(full.split(".")[-1]):
                return full
            raise AskedForError(ascii(full)[1:-1][:_LONGEST_NAME])
        return self._built[full]

    def persistent_load(self, pid: Any) -> Any:
        """A storage of a torch file."""
        if self._storage is None:
            raise InputError("it names what lies outside of it; write plain arrays")
        return self._storage(pid)

    def build(self) -> None:
        """Fill an array."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], PlainArray | PlainDtype | _Inert):
            self.stack[-1].__setstate__(state)
        elif not isinstance(self.stack[-1], OrderedDict):  # of which torch keeps notes, and nobody reads them
            raise InputError(f"it changes a {type(self.stack[-1]).__name__}; write plain arrays")

    def call(self) -> None:
        """Call what is allowed, or make an instance of it."""
        arguments = self.stack.pop()
        self.stack[-1] = self.stack[-1](*arguments)
        self.spend(sys.getsizeof(self.stack[-1]))

    def spend(self, n_bytes: int) -> None:
        """Count what is built, of which a few bytes of a file can ask for much."""
        self._left -= n_bytes
        if self._left < 0:
            raise InputError("it builds more than the limit; raise --max-gib if you trust it")

    def bytearray(self) -> None:
        """Bytes that can be written, in memory only as far as they are there."""
        length = int.from_bytes(self.read(8), "little")
        content = self.read(length)
        if len(content) != length:
            raise pickle.UnpicklingError("pickle data was truncated")
        self.append(builtins.bytearray(content))


def _with_checked_keys(code: bytes, keys: slice) -> Callable[[Any], None]:
    """What an opcode of dicts and sets does, after a look at the part of the stack that will be hashed."""
    load = _Unpickler.dispatch[code[0]]

    def loaded(self: Any) -> None:
        _hashed(self.stack[keys])
        load(self)

    return loaded


def _counted(code: bytes) -> Callable[[Any], None]:
    """What an opcode of an empty container does, with its memory counted."""
    load = _Unpickler.dispatch[code[0]]

    def loaded(self: Any) -> None:
        self.spend(_BYTES_OF_CONTAINER)
        load(self)

    return loaded


_NEVER = (pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEWOBJ_EX, pickle.NEXT_BUFFER)
_Plain.dispatch = {code: load for code, load in _Unpickler.dispatch.items() if code not in {one[0] for one in _NEVER}}
_Plain.dispatch |= {
    pickle.BUILD[0]: _Plain.build,
    pickle.NEWOBJ[0]: _Plain.call,
    pickle.REDUCE[0]: _Plain.call,
    **{
        code[0]: _counted(code) for code in (pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET, pickle.EMPTY_TUPLE)
    },
    pickle.BYTEARRAY8[0]: _Plain.bytearray,
    pickle.SETITEM[0]: _with_checked_keys(pickle.SETITEM, slice(-2, -1)),
    pickle.SETITEMS[0]: _with_checked_keys(pickle.SETITEMS, slice(None, None, 2)),
    pickle.DICT[0]: _with_checked_keys(pickle.DICT, slice(None, None, 2)),
    pickle.ADDITEMS[0]: _with_checked_keys(pickle.ADDITEMS, slice(None)),
    pickle.FROZENSET[0]: _with_checked_keys(pickle.FROZENSET, slice(None)),
}


class AskedForError(InputError):
    """A pickle asks for a name that is not of numbers, texts or plain containers.

    Attributes:
        name: which one.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"it asks for {name}")
        self.name = name


class _Inert:
    """In the place of what torch would build, while its pickle is only looked at."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _InertMapping(_Inert):
    """The same of a class of mappings."""

    def __setitem__(self, key: Any, value: Any) -> None: ...


def read_plain(file: IO[bytes], most: int = _MOST_BYTES) -> Any:
    """What the next pickle of a file holds.

    Args:
        file: at its start.
        most: bytes of memory that it may ask for.

    Raises:
        AskedForError: it asks for anything but numbers, texts, arrays of these and plain containers.
        InputError: it holds them in no form that Python and numpy write.
        Exception: nearly any, of a damaged file.
    """
    return _Plain(file, _BUILT, most=most).load()


def open_torch(path: Path) -> ZipFile:
    """The archive that ``torch.save`` writes, whose members are never compressed.

    Raises:
        InputError: it has more members, or others, than torch writes.
        Exception: BadZipFile and others, of a damaged file.
    """
    return open_archive(path, _MOST_MEMBERS, (ZIP_STORED,))


def load_torch(
    path: Path, classes: Sequence[tuple[Any, str]] = (), *, mmap: bool = False, most: int = _MOST_BYTES
) -> Any:
    """What ``torch.save`` wrote, looked at before torch's own restricted unpickler builds anything of it.

    Args:
        path: the file, of either format.
        classes: harmless stand-ins for classes by their full name, besides tensors, arrays and plain containers.
        mmap: leave tensors in the file until they are looked at, where it is an archive.
        most: bytes that what is built beside tensors may take.

    Raises:
        AskedForError: it asks for anything else.
        InputError: a tensor has more elements than the file holds, or the file is of no form that torch writes.
        Exception: nearly any, of a damaged file.
    """
    import torch  # the rest of this file needs none

    is_archive = _check_torch(path, [name for _, name in classes], most)
    with torch.serialization.safe_globals([*NUMPY, *PATHS, *classes]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_archive)


def _check_torch(path: Path, known: Sequence[str], most: int) -> bool:
    """Build nothing of a file, but look at all that torch would build; whether it is an archive, the newer format."""
    built = {**_BUILT, **dict.fromkeys(known, _InertMapping), **_TORCH}
    size, held, n_held, records = path.stat().st_size, dict[str, int](), 0, dict[str, int]()

    def storage(pid: Any) -> _Storage:
        nonlocal n_held
        kind, of, key, _, n_items, *_ = pid
        if kind != "storage" or not isinstance(key, str) or type(n_items) is not int:
            raise InputError("it names what lies outside of it; torch.save tensors")
        n_held += n_items - held.get(key, 0)
        held[key] = n_items
        if n_items < 0 or n_held > size or n_items * _ITEM_SIZES.get(str(of), 1) > records.get(key, size):
            raise InputError(
                f"it declares {n_items} numbers and has {records.get(key, size)} bytes of them; write it again"
            )
        return _Storage(n_items)

    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
        file.seek(0)
        for _ in range(0 if is_archive else _OLDER_PARTS):
            _Plain(file, built, storage, most).load()
    if is_archive:
        with open_torch(path) as archive:
            pickled = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickled) != 1 or len({name.casefold() for name in archive.namelist()}) < len(archive.namelist()):
                raise InputError("it is an archive as torch writes none; torch.save it again")
            records |= {info.filename.rpartition("/data/")[2]: info.file_size for info in archive.infolist()}
            with archive.open(pickled[0]) as content:
                _Plain(content, built, storage, most).load()
    return is_archive


class _Storage:
    """The numbers behind tensors: how many."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Inert:
    """Check that a tensor lies within its storage, and has no number twice."""
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise InputError("it holds a tensor in no form that torch writes; torch.save it again")
    n_items = _n_items(shape)
    _n_items((offset, *strides))  # none is negative
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if n_items and (n_items > storage.n_items or last >= storage.n_items):
        raise InputError(
            f"a tensor of shape {tuple(shape)} has more numbers than the {storage.n_items} that the file holds of it;"
            " torch.save what its clone() returns"
        )
    return _Inert()


def _of_subclass(make: Callable[..., Any], _: Any, arguments: Any, __: Any) -> Any:
    """What torch calls ``_rebuild_from_type_v2``."""
    return make(*arguments)


_TORCH: dict[str, Any] = {
    **{f"torch._utils._rebuild_{what}": _tensor for what in ("tensor", "tensor_v2", "tensor_v3")},
    "torch._utils._rebuild_parameter": _Inert,
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    **{name: name for name in ("torch.Tensor", "torch.nn.parameter.Parameter")},  # named, and never called
    **dict.fromkeys(("torch.Size", "torch.device"), _Inert),
}
