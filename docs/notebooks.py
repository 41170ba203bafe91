"""Scripts with cells, as pages."""

from typing import Any

import jupytext


def notebook(text: str) -> Any:
    """A script in the percent format as a notebook that says that it is in Python, with no header of its own."""
    made = jupytext.reads(text, fmt="py:percent")
    made.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    return made
