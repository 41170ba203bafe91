"""Pages from the package's templates: one style, one script, and a policy that lets a browser use no other."""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup


def rendered(template: str, scripts: Sequence[str], **facts: Any) -> str:
    """A page in which every text that a user chose is escaped.

    Args:
        template: file name of the template, which has ``style``, ``script`` and their hashes beside the facts.
        scripts: file names of what becomes its one script.
        facts: what the template shows.
    """
    environment = Environment(
        loader=PackageLoader("aseg_bench.reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    style, script = _source("report.css"), "".join(map(_source, scripts))
    return environment.get_template(template).render(
        style=Markup(style), script=Markup(script), style_hash=_hash(style), script_hash=_hash(script), **facts
    )


def _source(name: str) -> str:
    return files("aseg_bench.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the content security policy calls a script or a style that may be used."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
