"""The public API is what the package names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aseg_bench
from aseg_bench.cli import COMMANDS


@pytest.mark.parametrize("name", aseg_bench.__all__)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    thing = getattr(aseg_bench, name)
    assert name in dir(aseg_bench)
    assert not callable(thing) or thing.__doc__


def test_completion_shows_the_public_names_and_nothing_else() -> None:
    assert dir(aseg_bench) == sorted(aseg_bench.__all__)


def test_type_checkers_see_the_names_that_are_loaded_lazily() -> None:
    tree = ast.parse(Path(aseg_bench.__file__).read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.asname: str(node.module).removeprefix("aseg_bench.")
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert seen == aseg_bench._ROOMS


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evaluate_mops'"):
        _ = aseg_bench.evaluate_mops


def test_commands_call_functions_of_their_names() -> None:
    names = {example.split()[0] for example in COMMANDS.values()}
    assert {"run", "audit", "compare", "report", "predict"} <= names & set(aseg_bench.__all__)


def test_the_star_loads_everything() -> None:
    code = "from aseg_bench import *; print(METRICS['pixel_ap'].label, RunPlan.__name__, report.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Pixel AP RunPlan report\n"
