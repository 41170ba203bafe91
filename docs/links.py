"""Links that work on the site as on GitHub, and the mirror of what lies outside ``docs``.

``docs/generated`` has README and its kin, ``reports`` and ``examples`` as the repository has them, so that links among
them hold; what leads into or out of ``docs`` is changed when a page is read.
"""

import re
import shutil
from pathlib import Path, PurePosixPath

import yaml

DOCS = Path(__file__).parent
ROOT = DOCS.parent
DEFINITIONS, GENERATED = DOCS / "definitions", DOCS / "generated"
LINK = re.compile(r"""(\]\(|src=")([^)"#\s:]+)(#[^)\s]*)?([)"])""")  # to a file: before it, it, its anchor, after it
MIRRORED = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "CITATION.cff",
    "reports",
    "examples",
)


def mirror() -> None:
    """Copy what the site shows of the files outside ``docs``; a page without a title gets its path as one."""
    places = [ROOT / name for name in MIRRORED]
    for file in [*places, *(file for place in places for file in sorted(place.rglob("*")))]:
        if not file.is_file():
            continue
        copy = GENERATED / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        if file.suffix == ".md" and not (text := file.read_text(encoding="utf-8")).startswith("# "):
            copy.write_text(f"# {file.relative_to(ROOT).with_suffix('')}\n\n{text}", encoding="utf-8")


def with_links_of_the_site(name: str, text: str) -> str:
    """A page whose links to files of the repository lead to what the site has of them.

    Args:
        name: of the page, without its ending.
        text: as it stands in its file.
    """
    inside = PurePosixPath(name)
    if inside.parts[0] != "generated":
        return linked(text, (DOCS / inside).parent)
    mirrored = ROOT.joinpath(*inside.parts[1:])
    is_mirrored = inside.parts[1] in MIRRORED or f"{inside.parts[1]}.md" in MIRRORED
    return linked(text, mirrored.parent) if is_mirrored else text


def linked(text: str, home: Path) -> str:
    """A text whose relative links, read from the folder ``home``, lead to pages and files of the site."""

    def on_the_site(match: re.Match[str]) -> str:
        before, link, anchor, after = match.groups(default="")
        target = (home / link).resolve()
        if not target.is_relative_to(ROOT) or not target.exists():
            return match[0]
        if target.is_dir():
            target = min([*target.glob("*.md"), *target.glob("*.py")])
        if target.parent == DEFINITIONS:
            return f"{before}/generated/metrics/{definition(target)[0][0]}.md{anchor}{after}"
        if target.is_relative_to(DOCS):
            return f"{before}/{target.relative_to(DOCS).as_posix()}{anchor}{after}"
        return f"{before}/generated/{target.relative_to(ROOT).as_posix()}{anchor}{after}"

    return LINK.sub(on_the_site, text)


def definition(file: Path) -> tuple[list[str], str]:
    """The keys that a definition covers, and its text."""
    _, head, text = file.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head)["keys"], text.strip()
