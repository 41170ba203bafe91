"""Files are written whole: a reader sees the old file or the new one, never half of one. And names that stay inside."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the name of ``path``; it becomes ``path`` when the block ends well.

    Works for a file and for a folder. On an error, and on Ctrl-C, nothing of it stays and an older ``path`` is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder / path.name
        (folder / path.name).replace(path)
    finally:
        rmtree(folder, ignore_errors=True)


def is_folder_name(text: str) -> bool:
    """Whether a text names a folder by itself: no path, no step up, and nothing that cannot be seen."""
    return text.strip() not in {"", ".", ".."} and not {"/", "\\"} & set(text) and text.isprintable()
