"""Which files of a folder count; and files written whole: a reader sees the old or the new one, never half of one."""

import errno
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryFile, mkdtemp
from typing import IO, TypeVar
from zipfile import ZipFile, _EndRecData  # type: ignore[attr-defined]  # a directory is measured before it is read

from platformdirs import user_cache_dir

from aseg_bench.errors import AsegBenchError, InputError

T = TypeVar("T")
R = TypeVar("R")
CACHE_VARIABLE = "ASEG_BENCH_CACHE"
_NEW = ".aseg-bench-new-"  # how the folders begin in which files are written before they have their names
_OF_PROCESS = {errno.EMFILE, errno.ENFILE}  # too many files are open: no fault of a file
_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_UNKNOWN_THERE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # some file systems of clusters
_FAR = 2**30  # place of the byte that Windows locks, behind all that is read
_N_THREADS = 8  # that wait for the disk together: 200 maps take a tenth of the time of one after the other
_LONGEST_REASON = 300  # characters of what a reader says, which may repeat what the file holds
_SIZE_OF_DIRECTORY = 5  # where ``_EndRecData`` has the bytes of the directory
_PLACE_OF_DIRECTORY = 6  # and where it has the offset at which that begins
_BYTES_OF_ENTRY = 2**10  # of a member in the directory: 46, its name and some more
_LEFT_BY_OTHERS = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "__macosx", "__pycache__", "desktop.ini", "thumbs.db"}
)


def is_left_by_others(path: Path) -> bool:
    """Whether a file or folder is hidden, or one that operating systems, viewers and notebooks leave among pictures."""
    return path.name.startswith(".") or path.name.lower() in _LEFT_BY_OTHERS


def files_below(root: Path) -> list[Path]:
    """All files at or below a path, sorted, without those that ``is_left_by_others`` names or that lie in such folders.

    Links to files and folders are followed; one that leads nowhere is listed, so that reading it says what is wrong.

    Raises:
        InputError: the path does not exist.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise InputError(f"there is no file or folder {root}")
    found, entered = [], set()
    for folder, inner, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        inner[:] = [] if place in entered else [name for name in inner if not is_left_by_others(Path(name))]
        if place not in entered:  # a link may lead back up
            found += [file for name in names if _is_of_user(file := Path(folder, name))]
        entered.add(place)
    return sorted(found)


def _is_of_user(file: Path) -> bool:
    return not is_left_by_others(file) and (file.is_file() or (file.is_symlink() and not file.exists()))


def sha256_of(texts: Iterable[str]) -> str:
    """SHA-256 over some texts one behind the other."""
    total = sha256()
    for text in texts:
        total.update(text.encode(errors="surrogateescape"))
    return total.hexdigest()


def same_text(name: str) -> str:
    """A name in Unicode's composed form: macOS decomposes accents and Hangul, and other systems compose them."""
    return unicodedata.normalize("NFC", name)


@contextmanager
def reading(where: Path | str, mend: str = "write it again", said: str = "cannot read {}") -> Iterator[None]:
    """Whatever a reader raises for a damaged or hostile file becomes one InputError that names it.

    Args:
        where: the file; of a path it is seen first that it is not a pipe or a device, which would be waited for.
        mend: what to do about it.
        said: the sentence before the reason, with the file in the place of ``{}``.

    Raises:
        InputError: the block has raised any exception.
    """
    if isinstance(where, Path) and where.exists() and not where.is_file():
        raise InputError(f"{where} is not a file, but a folder, a pipe or a device; name a file instead")
    try:
        yield
    except AsegBenchError:
        raise
    except OSError as error:
        if error.errno in _OF_PROCESS:
            raise
        if not isinstance(error, FileNotFoundError):
            raise InputError(f"{said.format(where)} ({error}); {mend}") from error
        raise InputError(f"cannot read {where}: it is gone, or a link that leads nowhere") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        raise InputError(f"{said.format(where)} ({reason}); {mend}") from error


def open_archive(path: Path, most: int, kinds: Collection[int]) -> ZipFile:
    """A zip file that is safe to list and to read piece by piece.

    Args:
        path: the file.
        most: members that it may have.
        kinds: of compression that it may use; a piece of bzip2 or LZMA unpacks to any length.

    Raises:
        InputError: it has more members, or others.
        Exception: BadZipFile and others, of a damaged file.
    """
    with path.open("rb") as file:
        end = _EndRecData(file)
    if end and end[_SIZE_OF_DIRECTORY] > most * _BYTES_OF_ENTRY:
        raise InputError(f"{path} lists more than {most} members; write several files")
    archive = ZipFile(path)
    if end and archive.start_dir != end[_PLACE_OF_DIRECTORY]:
        archive.close()
        raise InputError(f"{path} has something before or behind its directory, where readers differ; write it again")
    infos = archive.infolist()
    if len(infos) > most or len({info.filename for info in infos}) < len(infos):
        archive.close()
        raise InputError(f"{path} lists more than {most} members, or one twice; write it again, or several files")
    if any(info.compress_type not in kinds for info in infos):
        archive.close()
        raise InputError(f"{path} is compressed in a way that its kind of file never is; write it again")
    return archive


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the name of ``path``; it becomes ``path`` when the block ends well.

    Works for a file and for a folder. On an error, and on Ctrl-C, the temporary path is removed and ``path`` unchanged;
    what a killed process leaves is removed by ``remove_left_overs``. An error of the disk names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=_NEW, dir=path.parent))
    try:
        yield folder / path.name
        (folder / path.name).replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say where
        raise
    finally:
        rmtree(folder, ignore_errors=True)


def remove_left_overs(folder: Path, below: Sequence[str] = ()) -> None:
    """Remove what killed processes have left of ``written_whole`` in a folder.

    Args:
        folder: nobody else may be writing there.
        below: names of its folders in which it is removed at any depth.
    """
    pattern = f"{_NEW}{'?' * 8}"
    left = [*folder.glob(pattern), *(path for name in below for path in (folder / name).rglob(pattern))]
    for path in left:
        rmtree(path, ignore_errors=True)


def to_disk(*roots: Path) -> None:
    """Wait until files, or all that folders hold, are on the disk itself, where no loss of power takes them away."""
    paths = [path for root in roots for path in (root, *(root.rglob("*") if root.is_dir() else ()))]
    in_threads(_to_disk, paths)


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What a function that waits for the disk makes of each item, in their order."""
    with ThreadPoolExecutor(_N_THREADS) as pool:
        return list(pool.map(function, items))


def _to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def took_lock(file: IO[str]) -> bool:
    """Whether this process has now got the lock of an open file, as nobody else has it; it goes when that is closed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNKNOWN_THERE:
            text = f"{file.name}: this file system knows no locks, so let one command at a time write here"
            warnings.warn(text, stacklevel=2)
            return True
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def cache_folder() -> Path:
    """Where things are kept that can be made or fetched again: ASEG_BENCH_CACHE, or the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_dir("aseg-bench"))


def make_folder(out: Path) -> None:
    """Make a folder for results before the work starts; it may exist already.

    Raises:
        InputError: the folder cannot be made, or cannot be written into.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(f"cannot write into {out} ({error.strerror}); choose another --out") from error


def make_place(file: Path) -> None:
    """Make the folder of a file of results before the work starts.

    Raises:
        InputError: the folder cannot be made or written into, or the path of the file is itself a folder.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder; give --out the name of a file")
    make_folder(file.parent)


def is_utf8(name: str) -> bool:
    """Whether the name of a file is valid text, so that tables and pages can print it."""
    return name == name.encode(errors="ignore").decode()


def is_folder_name(text: str) -> bool:
    """Whether a text can be the name of one folder: no slash, not ``.`` or ``..``, and only printable characters."""
    return text.strip() not in {"", ".", ".."} and not {"/", "\\"} & set(text) and text.isprintable()


def folder_name(method: str) -> str:
    """The folder of a method's files: its name, with an underscore for the colon that not all file systems take."""
    return method.replace(":", "_")
