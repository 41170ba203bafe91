"""Writes files whole, so that a reader sees the old file or the new one, never half of one; checks names of files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryFile, mkdtemp

from aseg_bench.errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the name of ``path``; it becomes ``path`` when the block ends well.

    Works for a file and for a folder. On an error, and on Ctrl-C, the temporary path is removed and ``path`` unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=".new-", dir=path.parent))
    try:
        yield folder / path.name
        (folder / path.name).replace(path)
    finally:
        rmtree(folder, ignore_errors=True)


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
