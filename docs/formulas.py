"""Formulas as MathML, which browsers draw without a script and without a network."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def inline(writer: Any, node: nodes.math) -> None:
    """A formula in a line."""
    writer.body.append(_drawn(node, "inline"))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    """A formula by itself."""
    writer.body.append(f'<div class="math">{_drawn(node, "block")}</div>')
    raise nodes.SkipNode


def _drawn(node: nodes.Element, display: str) -> str:
    drawn = str(convert(node.astext(), display=display))
    if "\\" in drawn:
        raise ValueError(f"latex2mathml leaves a command of {node.astext()!r} as it is; write it in another way")
    return drawn
