"""What the documents show is true: examples run as written, and what they name exists."""

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from aseg_bench import __version__

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = sorted(
    path.relative_to(ROOT)
    for package in ("aseg_bench", "baselines", "uni_as")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def python_of(document: str) -> str:
    """The one block of Python that a document holds."""
    (block,) = re.findall(r"^```python\n(.*?)^```", read(document), flags=re.MULTILINE | re.DOTALL)
    return block


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_the_examples_of_docstrings_hold(path: Path) -> None:
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    assert doctest.testmod(module).failed == 0


def test_the_readme_scores_maps_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    masks = np.zeros((2, 8, 8), np.bool_)
    masks[0, 2:4, 2:5] = True
    np.save("masks.npy", masks)
    np.save("scores.npy", masks.astype(np.float32))
    exec(python_of("README.md"), {})
    assert capsys.readouterr().out == "1.0 1.0 1.0\n"  # a perfect map


def test_the_document_on_scale_bounds_a_stream_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random((8, 8)) < 0.2 for _ in range(4)]
    names = {"maps_and_masks": [(0.8 * mask + rng.random((8, 8)), mask) for mask in masks]}
    exec(python_of("docs/scale.md"), names)
    lower, upper = map(float, capsys.readouterr().out.split())
    assert 0.9 < lower <= upper < 1


def test_a_method_is_added_as_contributing_shows() -> None:
    names = {"MySettings": dict, "MyMethod": object}
    exec(python_of("CONTRIBUTING.md"), names)
    assert names["METHOD"].presets() == {"cpu": {}}  # type: ignore[attr-defined]


def test_the_makefile_has_every_target_that_a_document_names() -> None:
    documents = ("README.md", "CONTRIBUTING.md", "SECURITY.md", ".ci/run", ".pre-commit-config.yaml", "benchmark.py")
    texts = [*map(read, documents), *map(read, (f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))]
    named = {target for text in texts for target in re.findall(r"(?m)(?:^|`|entry: )make ([a-z]+)", text)}
    assert {"demo", "test", "check", "lint"} <= named
    assert named <= set(re.findall(r"(?m)^([a-z]+):.*## ", read("Makefile")))


def test_everywhere_the_same_is_checked_and_the_tests_come_last() -> None:
    assert "\ncheck: lint test ##" in read("Makefile")
    assert read(".ci/run").endswith("\nmake check\n")
    steps = [
        step
        for target in ("lint", "test")
        for step in re.findall(rf"(?m)^{target}:.*\n((?:\t.*\n)+)", read("Makefile"))
    ]
    lines = [line.strip().removeprefix("$(BIN)/") for step in steps for line in step.splitlines()]
    check, _, oldest = read(".github/workflows/check.yml").partition("\n  oldest:\n")
    assert re.findall(r"(?m)^ +- run: (.*)", check)[1:] == lines
    assert re.findall(r"(?m)^ +- run: (.*)", oldest)[-1] == lines[-1]


def test_the_version_to_cite_is_the_packages() -> None:
    assert f"\nversion: {__version__}\n" in read("CITATION.cff")
