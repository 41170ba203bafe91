import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from aseg_bench import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = ("aseg_bench", "baselines", "uni_as")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what wheels are built from."""
    copy = tmp_path_factory.mktemp("project")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def unpacked(project: Path, kind: str, site: Path) -> Path:
    """A wheel built from a project, and unpacked as pip would."""
    build = f"import setuptools.build_meta as backend; backend.build_{kind}({str(site.parent)!r})"
    subprocess.run([sys.executable, "-c", build], check=True, capture_output=True, cwd=project)
    (wheel,) = site.parent.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture(scope="module")
def installed_wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the project's wheel is installed."""
    return unpacked(project, "wheel", tmp_path_factory.mktemp("wheel") / "site")


def run_from(site: Path, code: str, *words: str) -> str:
    command = [sys.executable, "-c", code, *words]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=site, env=environment).stdout


def test_the_wheel_carries_every_file_of_the_packages(installed_wheel: Path) -> None:
    def files(root: Path) -> set[str]:
        folders = [root / package for package in PACKAGES]
        return {
            path.relative_to(root).as_posix()
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(installed_wheel) == files(ROOT)


def test_type_checkers_and_editors_find_the_hints_of_either_install(
    installed_wheel: Path, project: Path, tmp_path: Path
) -> None:
    assert all((installed_wheel / package / "py.typed").is_file() for package in PACKAGES)
    editable = unpacked(project, "editable", tmp_path / "site")
    (path,) = editable.glob("*.pth")  # they follow a path, but no hook of importing
    assert Path(path.read_text().strip()) == project
    assert list(editable.glob("*.py")) == []


def test_the_command_line_works_outside_the_checkout(installed_wheel: Path) -> None:
    code = "import aseg_bench, sys; print(aseg_bench.__file__); from aseg_bench.cli import main; main()"
    place, version = run_from(installed_wheel, code, "--version").splitlines()
    assert Path(place).is_relative_to(installed_wheel)
    assert version == f"aseg-bench {__version__}"


def test_methods_are_listed_and_refused_with_a_hint_where_torch_is_missing(installed_wheel: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from aseg_bench.cli import main; main()"
    assert "uni_as" in run_from(installed_wheel, code, "methods")
    assert "preset cpu" in run_from(installed_wheel, code, "methods", "--show", "uni_as")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_from(installed_wheel, code, "predict", "photos", "--checkpoint", "checkpoint.pt", "--out", "maps")
    assert refused.value.returncode == 2
    assert (
        refused.value.stderr
        == "error: this needs the package torch: pip install '.[models]' in the folder of aseg-bench's sources\n"
    )


def test_the_conda_recipe_is_of_the_version_and_packages_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = yaml.safe_load((ROOT / "packaging/recipe.yaml").read_text())
    of_conda = {"opencv-python-headless": "py-opencv", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}
    of_conda |= {"torch": "pytorch"}

    def floors(requirements: list[str]) -> set[str]:
        parts = [re.split("(?=>=)", requirement) for requirement in requirements if ">=" in requirement]
        return {f"{of_conda.get(name, name)} {floor}" for name, floor in parts}

    assert recipe["context"]["version"] == project["version"]
    python = f"python {project['requires-python']}"
    assert set(recipe["requirements"]["run"]) == {python, *floors(project["dependencies"])}
    models = project["optional-dependencies"]["models"]
    assert set(recipe["requirements"]["run_constraints"]) == floors(models)
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert tuple(entry.split(" = ")) in project["scripts"].items()
