"""By what a map or a score was made: version, command, date, and the libraries that numbers depend on."""

import platform
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aseg_bench.remote import without_passwords

_VERSIONS_OF = (
    *("numpy", "numba", "scipy", "opencv-python-headless", "pillow"),
    *("torch", "timm", "lightning-fabric", "anomalib"),
)


def command_line() -> str:
    """The command of this process, as it can be typed; a URL in it has no password."""
    name = Path(sys.argv[0]).name
    words = map(without_passwords, sys.argv[1:])
    return shlex.join(["aseg-bench" if name == "__main__.py" else name, *words])


def made_by() -> dict[str, str]:
    """This version, command and moment, in UTC."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"aseg_bench": version("aseg-bench"), "command": command_line(), "date": now}


def machine() -> str:
    """System, processor and Python."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Of the libraries that numbers depend on, those that are installed."""
    return dict(_versions())


def _versions() -> Iterator[tuple[str, str]]:
    for package in _VERSIONS_OF:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
