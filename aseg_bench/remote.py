"""Data and maps in a store that fsspec knows (s3, gs, memory, ...): a mirror on the disk, so that readers read files.

What guards against hostile files, checksums and resumption do with files of this machine, they do with these, too.
"""

import errno
import json
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any, TypeVar
from urllib.parse import unquote

from aseg_bench.errors import AsegBenchError, InputError, first_few, how_to_install
from aseg_bench.files import (
    CACHE_VARIABLE,
    cache_folder,
    in_threads,
    remove_left_overs,
    to_disk,
    took_lock,
    written_whole,
)
from aseg_bench.progress import progress_bar, working

T = TypeVar("T")
R = TypeVar("R")
_SCHEME = r"[A-Za-z][\w+.-]+:"  # of two letters at least: the C: of Windows is none
_URL = re.compile(rf"({_SCHEME}:)*{_SCHEME}/")
_SLASHES = re.compile(rf"(^|::)({_SCHEME})/+")  # a Path keeps one of the two behind a scheme
_PASSWORD = re.compile(r"(:/+[^/:@\s]*):([^/\s]*)@")
_STAMPS = (  # by which stores tell a file that has changed from one that has not
    *("ETag", "etag", "md5", "md5Hash", "Content-MD5", "content_hash", "sha", "oid", "generation"),
    *("blob_id", "xet_hash"),
    *("mtime", "modify", "modificationTime", "LastModified", "last_modified", "Last-Modified", "updated", "created"),
)
# These read other stores or files, some by code that a file names, or with names and bytes that are not to be trusted.
_WRAPPERS = {
    *("async_wrapper", "asyncwrapper", "blockcache", "cached", "dask", "dir", "filecache", "generic", "git"),
    *("libarchive", "reference", "simplecache", "tar", "zip"),
}
_BEAR_THREADS = {"file", "local", "memory"}  # beside stores that work asynchronously
_NOTHING_BEHIND = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # a link
_FILES = "files"  # folder of a mirror, beside what is noted of them
_N_TOGETHER = 256  # files between two notes of what has been fetched
_SECONDS = 0.2  # between two looks whether another process has finished


class StoreError(InputError):
    """A store says no, or has nothing where a URL leads."""


def is_url(place: Path | str) -> bool:
    """Whether a place is in a store: it begins with a scheme, as ``s3://bucket/mvtec``, also where a Path holds it."""
    return bool(_URL.match(Path(place).as_posix()))


def without_passwords(text: str) -> str:
    """A text whose URLs hold ``user@`` in the place of ``user:password@``."""
    return _PASSWORD.sub(r"\1@", text)


def named(place: Path) -> str:
    """A place as records name it, who may be read anywhere: of a mirror its URL, without a password."""
    if is_url(place):
        return without_passwords(_url_of(place)).partition("?")[0]
    mirrors = _mirrors()
    if not place.is_relative_to(mirrors) or place == mirrors:
        return str(place)
    mirror, *inner = place.relative_to(mirrors).parts
    url = mirrors / mirror / "url"
    return "/".join([url.read_text(encoding="utf-8"), *inner[2:]]) if url.is_file() else str(place)


def here(place: Path | str, without: Collection[str] = (), from_record: bool = False) -> Path:
    """The same place on this machine: a path as it is, and of a URL the mirror, once that has what the store has.

    Files that are missing or have changed are fetched, those that are gone from the store are removed. What is fetched
    stays, so a fetching that was interrupted goes on. Processes that want one mirror wait for each other.

    Args:
        place: a path, or a URL that fsspec knows, of a folder or a file; also as a Path.
        without: names of folders whose files are not needed; they are left as they are.
        from_record: a file names the place, which may be a stranger's; a URL is followed only if it has a mirror, that
            is, if somebody has named it to a command on this machine.

    Raises:
        InputError: fsspec is missing, the URL has a query or leads through another store or into an archive, only a
            record names it, or a name in the store's listing leads out of the mirror.
        StoreError: the store's plugin is missing, the store says no or has nothing there.
    """
    if not is_url(place):
        return Path(place)
    url = _url_of(place)
    said = without_passwords(url)
    _check(url)
    told, digest = re.sub(r"[^A-Za-z0-9.]+", "-", said)[-60:].strip("-."), sha256(said.encode()).hexdigest()
    mirror = _mirrors() / f"{told}-{digest[:8]}"
    if from_record and not (mirror / "url").is_file():
        raise InputError(
            f"the record names {said}, which no command on this machine has been given; if you trust whoever wrote the "
            f"record, fetch it with `aseg-bench doctor --data-root {said}` and give the same command again"
        )
    with _asking(url):
        remote = _Remote.opened(url)
        with _alone(mirror, said):
            if not (mirror / "url").is_file():
                with written_whole(mirror / "url") as temporary:
                    temporary.write_text(said, encoding="utf-8")
            remove_left_overs(mirror, [_FILES])
            return _fetched(remote, mirror, set(without))


def _check(url: str) -> None:
    said, query, _ = without_passwords(url).partition("?")
    if query:
        raise InputError(
            f"{said}?... has a query, which may be a key and would be written into records; give the URL without "
            "it, and put what the store asks for into fsspec's configuration"
        )
    if "::" in url or url.partition(":")[0].lower() in _WRAPPERS:
        raise InputError(
            f"{said} leads through another store or into an archive; take the archive apart, and name the folder or "
            "the file itself, where it lies"
        )


def _url_of(place: Path | str) -> str:
    text = place.as_posix() if isinstance(place, Path) else place

    def whole(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}//{'/' if match[2] in ('file:', 'local:', 'dbfs:') else ''}"

    return _SLASHES.sub(whole, text).rstrip("/")


def _mirrors() -> Path:
    return cache_folder().absolute() / "remote"


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Whatever a store raises becomes one InputError with what it said, without the password of the URL."""
    try:
        yield
    except AsegBenchError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, FileNotFoundError) and " " not in reason:  # many stores say no more than the name
            reason = f"there is no {reason}"
        secrets = {text for match in _PASSWORD.finditer(url) for text in (match[2], unquote(match[2])) if text}
        for secret in sorted(secrets, key=len, reverse=True):
            reason = reason.replace(secret, "***")
        raise StoreError(
            f"cannot read {without_passwords(url)}: {without_passwords(reason)}; see that the place is there, that you "
            "may read it, and that the package is installed that fsspec needs for it"
        ) from error


@contextmanager
def _alone(mirror: Path, said: str) -> Iterator[None]:
    """Wait until no other process is at work in a mirror, and keep others waiting."""
    try:
        mirror.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write what {said} holds to {mirror} ({error}); set {CACHE_VARIABLE}") from error
    with (mirror / ".lock").open("a+", encoding="utf-8") as file:
        if not took_lock(file):
            with working(f"waiting for another process, which fetches {said}", not sys.stderr.isatty()):
                while not took_lock(file):
                    time.sleep(_SECONDS)
        yield


@dataclass(frozen=True)
class _Entry:
    """A file of a store: its full name there, its size, and what tells whether it has changed; None is not known."""

    name: str
    size: int | None
    stamp: str | None

    def is_in(self, path: Path, was: object) -> bool:
        """Whether a file is this one, by what was noted when it was fetched."""
        is_known = self.stamp is not None and was == [self.size, self.stamp]
        return is_known and path.is_file() and self.size in (None, path.stat().st_size)


@dataclass(frozen=True)
class _Remote:
    """A folder or a file in a store.

    Attributes:
        said: its URL, for messages.
        fs: the file system of fsspec.
        root: the path there.
        name: last part of the path, by which the mirror is called, as tables may name methods by it.
    """

    said: str
    fs: Any
    root: str
    name: str

    @classmethod
    def opened(cls, url: str) -> "_Remote":
        """The file system of a URL.

        Raises:
            InputError: fsspec is missing.
        """
        said = without_passwords(url)
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError as error:
            raise InputError(f"{said} is read with the package fsspec: {how_to_install('fsspec')}") from error
        fs, root = url_to_fs(url)
        root = root.rstrip("/")
        name = _unquoted(fs, root.rpartition("/")[2])
        return cls(said, fs, root, name if name and _is_inner(name) else "root")

    def listed(self, left_out: Collection[str]) -> dict[PurePath, _Entry]:
        """All files by their path below the root; a single one, which the root is, by ``.``.

        Args:
            left_out: names of folders that are not looked into.

        Raises:
            InputError: a name leads out of the folder.
            StoreError: there is no file.
        """
        self.fs.invalidate_cache()
        found: dict[str, Mapping[str, Any]] = {}
        level, entered = [self.root], {self.root}
        while level:  # fsspec's own walk passes over a folder that may not be listed, as if it were empty
            listings, folders = self.each(self._in, level), level
            level = []
            for folder, infos in zip(folders, listings, strict=True):
                for name, info in infos.items():
                    if info["type"] != "directory" or (folder and not name.startswith(f"{folder}/")):
                        found[name] = info
                    elif name not in entered and name.rpartition("/")[2] not in left_out:
                        level.append(name)
                        entered.add(name)
        if len(found) > 1:
            found.pop(self.root, None)  # the mark
        if not (found or left_out) and self.fs.isfile(self.root):
            info = self.fs.info(self.root)
            found |= {self.root: info} if info.get("mimetype") != "text/html" else {}  # that lists an empty folder
        lacking = [name for name, info in found.items() if _stamp(info) is None]
        found |= dict(zip(lacking, self.each(self.fs.info, lacking), strict=True))
        below = {name: "." if name == self.root else name.removeprefix(f"{self.root}/") for name in found}
        inner = {name: _unquoted(self.fs, path) for name, path in below.items()}
        outer = [name for name, path in inner.items() if (self.root and below[name] == name) or not _is_inner(path)]
        if outer:
            raise InputError(
                f"{self.said} lists names that are not of files within it: {first_few(list(map(repr, outer)))}; "
                "nothing was fetched, rename them there"
            )
        if not found and not left_out:
            raise StoreError(f"{self.said} holds no file")
        return {PurePath(inner[name]): _Entry(name, info.get("size"), _stamp(info)) for name, info in found.items()}

    def _in(self, folder: str) -> dict[str, Mapping[str, Any]]:
        """What lies in a folder, by its full name, and not the mark of the folder itself that some stores have."""
        infos = {info["name"].rstrip("/"): info for info in self.fs.ls(folder, detail=True)}
        infos = {name: info for name, info in infos.items() if name != folder or folder == self.root}
        if "http" in _protocols(self.fs):  # a page that lists a folder may have links that sort it
            return {name: info for name, info in infos.items() if not {"?", "#"} & {*name}}
        if "file" not in _protocols(self.fs):
            return infos
        return {name: behind for name, info in infos.items() if (behind := self._behind(name, info))}

    def _behind(self, name: str, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What a name of the disk leads to; None if neither to a file nor to a folder, or to one that it lies in."""
        if info["type"] in ("file", "directory"):
            return info
        try:
            info = self.fs.info(name)
        except OSError as error:
            if error.errno not in _NOTHING_BEHIND:
                raise
            return None
        if info["type"] == "directory":
            return None if os.path.realpath(name) in map(os.path.realpath, PurePath(name).parents) else info
        return info if info["type"] == "file" else None

    def each(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """What a function makes of each item, of several at once if the store bears it."""
        is_parallel = getattr(self.fs, "async_impl", False) or not _BEAR_THREADS.isdisjoint(_protocols(self.fs))
        return in_threads(function, items) if is_parallel else list(map(function, items))

    def fetch(self, entry: _Entry, path: Path) -> None:
        """Fetch a file whole.

        Raises:
            InputError: it has another size than the listing says.
        """
        with written_whole(path) as temporary:
            self.fs.get_file(entry.name, str(temporary))
            if not temporary.is_file() or entry.size not in (None, temporary.stat().st_size):
                raise InputError(
                    f"{entry.name} of {self.said} came with another size than is listed; give the same command again"
                )


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _unquoted(fs: Any, path: str) -> str:
    """A path as the user knows it: over http, names come with %20 in the place of a blank."""
    return unquote(path) if "http" in _protocols(fs) else path


def _is_inner(path: str) -> bool:
    """Whether a name of a store is a path within a folder, on this system, and stays the same as a path."""
    parts = PurePath(path).parts
    return path == "." or ("/".join(parts) == path and ".." not in parts and "\0" not in path)


def _stamp(info: Mapping[str, Any]) -> str | None:
    return " ".join(f"{key}={info[key]}" for key in _STAMPS if info.get(key) is not None) or None


def _fetched(remote: _Remote, mirror: Path, left_out: set[str]) -> Path:
    """Bring the files of a mirror to what the store has, and note in ``fetched.jsonl`` what each of them was there."""
    root, notes = mirror / _FILES / remote.name, mirror / "fetched.jsonl"
    entries = remote.listed(left_out)
    _remove_others(root, {root / path for path in entries}, left_out)
    before = _noted(notes)
    due = [path for path, entry in entries.items() if not entry.is_in(root / path, before.get(path.as_posix()))]
    if not due:
        return root
    with progress_bar(not sys.stderr.isatty()) as bar, notes.open("a", encoding="utf-8") as file:
        file.writelines(["\n", *(_note(path) for path in due)])  # what is fetched and not noted then is not known
        file.flush()
        task = bar.add_task(f"fetching {remote.said}", total=len(due), note="")
        for start in range(0, len(due), _N_TOGETHER):
            some = due[start : start + _N_TOGETHER]

            def fetch(path: PurePath) -> None:
                remote.fetch(entries[path], root / path)
                bar.advance(task)

            remote.each(fetch, some)
            to_disk(*(root / path for path in some))
            file.writelines(_note(path, entries[path].size, entries[path].stamp) for path in some)
            file.flush()
    return root


def _note(path: PurePath, *of_file: object) -> str:
    return json.dumps([path.as_posix(), *of_file]) + "\n"


def _noted(notes: Path) -> dict[str, object]:
    """Size and stamp of the files that have been fetched, by path; the last note of each counts."""
    found: dict[str, object] = {}
    for line in notes.read_text(encoding="utf-8", errors="replace").splitlines() if notes.is_file() else ():
        try:
            path, *of_file = json.loads(line)
            found[path] = of_file
        except (ValueError, TypeError):  # it broke off in the middle
            continue
    return found


def _remove_others(root: Path, kept: Collection[Path], left_out: set[str]) -> None:
    """Remove files that are gone from the store, and the folders that are empty then."""
    if root.is_file() and root not in kept:
        root.unlink()
    for place, _, names in os.walk(root, topdown=False):
        folder = Path(place)
        if not left_out.isdisjoint(folder.relative_to(root).parts):
            continue
        for path in (folder / name for name in names):
            if path not in kept:
                path.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
