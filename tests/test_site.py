"""The site: definitions hold, pages cover the tables, links lead somewhere, and it builds without a warning."""

import doctest
import re
import subprocess
import sys
from importlib.util import find_spec
from inspect import getdoc, isclass, isfunction
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

import aseg_bench
from aseg_bench.metrics import METRICS
from aseg_bench.protocols import PROTOCOLS, Protocol
from tests.test_house import ROOT

DOCS = ROOT / "docs"
DEFINITIONS = sorted((DOCS / "definitions").glob("*.md"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module that writes pages, after it has written them into a folder of its own."""
    generated = tmp_path_factory.mktemp("docs") / "generated"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        import links
        import pages

        for module in (links, pages):
            patch.setattr(module, "GENERATED", generated)
        pages.write_all()
        yield pages


def examples_of(file: Path) -> str:
    return "\n".join(re.findall(r"^```pycon\n(.*?)^```", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("file", DEFINITIONS, ids=lambda file: file.stem)
def test_a_metric_has_the_value_that_was_computed_by_hand(file: Path) -> None:
    text = examples_of(DOCS / "definitions" / "toy.md") + examples_of(file)
    test = doctest.DocTestParser().get_doctest(text, {}, file.stem, str(file), 0)
    assert doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(test).failed == 0


def test_every_metric_is_defined_once_and_computed_by_hand(pages: ModuleType) -> None:
    keys = []
    for file in DEFINITIONS:
        covered, text = pages.definition(file)
        keys += covered
        by_hand = examples_of(file)
        named = set(re.findall(r'METRICS\["([^"]+)"\]', by_hand))
        assert {key for key in covered if not METRICS[key].is_of_protocols} <= named, file
        assert not covered or ("## By hand" in text and "## What other code does" in text)
    assert sorted(keys) == sorted(METRICS)


def test_every_setting_of_a_protocol_has_words(pages: ModuleType) -> None:
    from steps import WORDS

    for field, kind in get_type_hints(Protocol).items():
        if field in WORDS and get_origin(kind) is Literal:
            assert (
                {protocol.settings[field] for protocol in PROTOCOLS.values()}
                <= WORDS[field].keys()
                <= set(get_args(kind))
            )
    told = {field for protocol in PROTOCOLS.values() for step in pages.steps(protocol) for field in step.settings}
    assert told == PROTOCOLS["exact"].settings.keys() - {"version"}


def test_a_step_is_marked_where_it_is_not_that_of_exact(pages: ModuleType) -> None:
    assert not any(step.differs for step in pages.steps(PROTOCOLS["exact"]))
    for protocol in PROTOCOLS.values():
        differs = [
            name
            for name, value in protocol.settings.items()
            if value != PROTOCOLS["exact"].settings[name] and name != "version"
        ]
        assert {name for step in pages.steps(protocol) if step.differs for name in step.settings} >= set(differs)


def test_there_is_a_page_for_every_metric_and_protocol(pages: ModuleType) -> None:
    for folder, names in (("metrics", METRICS), ("protocols", PROTOCOLS)):
        assert {file.name for file in (pages.GENERATED / folder).iterdir()} == {f"{name}.md" for name in names}
    for metric in METRICS.values():
        text = (pages.GENERATED / "metrics" / f"{metric.key}.md").read_text(encoding="utf-8").replace("\\", "")
        assert metric.summary in text
        assert metric.source in text


def test_a_link_leads_to_a_file_here_and_to_a_page_there(pages: ModuleType) -> None:
    """On GitHub links are read as they stand, on the site after `with_links_of_the_site`."""
    import links

    for file in [*DOCS.glob("*.md"), *DEFINITIONS]:
        for _, link, _, _ in links.LINK.findall(file.read_text(encoding="utf-8")):
            assert link.startswith("/generated/") or (file.parent / link).exists(), f"{file}: {link}"
    for root in (DOCS, pages.GENERATED):
        for file in root.glob("*.md") if root == DOCS else root.rglob("*.md"):
            name = file.relative_to(root).with_suffix("").as_posix()
            name = name if root == DOCS else f"generated/{name}"
            text = links.with_links_of_the_site(name, file.read_text(encoding="utf-8"))
            for _, link, _, _ in links.LINK.findall(text):
                if link.startswith("/generated/"):
                    place = pages.GENERATED / link.removeprefix("/generated/")
                else:
                    place = DOCS / link[1:] if link.startswith("/") else file.parent / link
                assert place.exists(), f"{file}: {link}"


def test_a_colon_in_a_docstring_is_not_read_as_a_type() -> None:
    """The first line of a property or of what is returned: what stands before a colon would be shown as its type."""
    for thing in (getattr(aseg_bench, name) for name in aseg_bench.__all__):
        if not callable(thing):
            continue
        properties = [value for value in vars(thing).values() if isinstance(value, property)] if isclass(thing) else []
        functions = [value for value in vars(thing).values() if isfunction(value)] if isclass(thing) else [thing]
        assert not [doc for doc in map(getdoc, properties) if doc and ": " in doc.splitlines()[0]], thing
        assert not [
            doc for doc in map(getdoc, functions) if doc and re.search(r"^Returns:\n +[^\n]*: ", doc, re.MULTILINE)
        ]


def test_the_workflow_builds_what_make_docs_builds() -> None:
    (line,) = re.findall(r"(?m)^docs:.*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"))
    workflow = (ROOT / ".github" / "workflows" / "docs.yml").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^ +- run: (.*)$", workflow)[-1] == line


@pytest.mark.skipif(
    not all(map(find_spec, ("sphinx", "furo", "jupytext", "latex2mathml", "myst_nb", "sphinx_copybutton"))),
    reason="the site is built with what pip install '.[docs]' brings",
)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-d",
        tmp_path / "trees",
        DOCS,
        tmp_path / "site",
    ]
    built = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=ROOT)
    assert built.returncode == 0, built.stderr[-3000:]
    assert (tmp_path / "site" / "generated" / "api.html").is_file()
