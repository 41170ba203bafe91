"""What of a run may be published: without the commands and folders of a machine; and packs that others can check."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from aseg_bench.errors import InputError, first_few
from aseg_bench.files import files_below, open_archive, reading, written_whole
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.lock import holder
from aseg_bench.runs.record_file import FROM_RUN
from aseg_bench.runs.results import Results

CHECKSUMS = "checksums.json"
PACK_SUFFIX = ".aseg.zip"
_VERSION = 1  # of a pack
_MOST_MEMBERS, _MOST_BYTES = 2_000_000, 2**26  # files of a pack, and bytes of one that is read
# a path of folders from the root, the home or a drive; not the double slash of an address
_PLACE = re.compile(r"(?<![\w.~/\\…])(?<!:(?=//[^/]))(?:~|[A-Za-z]:)?[/\\]+(?:[^\s/\\:;,'\"<>()]+[/\\]+)*(?=[^\s/\\])")


def without_places(text: str) -> str:
    """Text fit to be published: of every absolute path in it only the last part is left, behind ``…/``."""
    return _PLACE.sub("…/", text.replace(str(Path.home()), "…"))


def publishable(value: Any) -> Any:
    """Conditions as in ``run.json`` without commands and without the folders of this machine."""
    if isinstance(value, Mapping):
        said = {key: one for key, one in value.items() if key != "command" and not str(key).endswith(FROM_RUN)}
        return {without_places(str(key)): publishable(one) for key, one in said.items()}
    if isinstance(value, list | tuple):
        return [publishable(one) for one in value]
    if not isinstance(value, str):
        return value
    kinds = PurePosixPath(value), PureWindowsPath(value)
    return next((f"…/{path.name}" for path in kinds if path.is_absolute()), without_places(value))


def pack(run: Path, out: Path | None = None, *, maps: bool = False) -> Path:
    """Write a finished run as one file for others: scores, record without places of this machine, SHA-256 of each.

    Args:
        run: folder of a finished run.
        out: the file; None takes ``<run>.aseg.zip`` beside the run.
        maps: put the maps in as well, so that others can score them again.

    Returns:
        The file.

    Raises:
        InputError: the run is not finished, somebody is writing into it, or it keeps no maps to be packed.
    """
    if writer := holder(run):
        raise InputError(f"{run} is in use by {writer}; wait until it is done")
    folder = Results.of(RunFolder(run)).folder
    if maps and not folder.store.root.is_dir():
        raise InputError(f"{run} keeps no maps, as those that were evaluated stay where they lie; leave --maps out")
    record = json.dumps(publishable(folder.content), indent=2, ensure_ascii=False).encode()
    contents: dict[str, bytes | Path] = {folder.record_file.name: record, folder.scores_file.name: folder.scores_file}
    if maps:
        found = [path for path in files_below(folder.store.root) if path.suffix == ".tiff"]
        contents |= {path.relative_to(run).as_posix(): path for path in found}
    sums = {name: _digest(content) for name, content in contents.items()}
    file = out or run.resolve().with_name(f"{run.resolve().name}{PACK_SUFFIX}")
    with written_whole(file) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
        archive.writestr(CHECKSUMS, json.dumps({"version": _VERSION, "files": sums}, indent=2))
        for name, content in contents.items():
            if isinstance(content, bytes):
                archive.writestr(name, content)
            else:
                archive.write(content, name)
    return file


def _digest(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def unpacked(file: Path) -> Iterator[Results]:
    """The results in a pack, all of whose files have been checked against their checksums; removed at the end.

    Raises:
        InputError: the file is not a pack, lacks a file, holds one that is not listed or has changed, or its run is not
            finished.
    """
    with TemporaryDirectory() as place:
        with (
            reading(file, "ask for it again", "{} is not a whole pack"),
            open_archive(file, _MOST_MEMBERS, (ZIP_STORED, ZIP_DEFLATED)) as archive,
        ):
            _check(archive, file)
            for name in ("run.json", "scores.csv"):
                (Path(place) / name).write_bytes(_content(archive, name, file))
        yield Results.of(RunFolder(Path(place)))


def _check(archive: ZipFile, file: Path) -> None:
    infos = {info.filename: info for info in archive.infolist()}
    if CHECKSUMS not in infos:
        raise InputError(f"{file} is not a pack: `aseg-bench pack RUN` writes one")
    sums = json.loads(_content(archive, CHECKSUMS, file))
    listed = sums["files"]
    if sums["version"] != _VERSION:
        raise InputError(f"{file} is a pack of version {sums['version']}; install a newer aseg-bench")
    faults = [f"{name} is missing" for name in {"run.json", "scores.csv", *listed} if name not in infos]
    faults += [f"{name} is not listed" for name in infos if name not in listed and name != CHECKSUMS]
    for name in sorted(listed.keys() & infos.keys()):
        with archive.open(name) as member:
            if hashlib.file_digest(member, "sha256").hexdigest() != listed[name]:  # type: ignore[arg-type]
                faults.append(f"{name} has changed since it was packed")
    if faults:
        raise InputError(f"{file}: {first_few(faults)}; ask for it again")


def _content(archive: ZipFile, name: str, file: Path) -> bytes:
    with archive.open(name) as member:
        content = member.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InputError(f"{file}: {name} is larger than {_MOST_BYTES // 2**20} MiB")
    return content
