"""How Sphinx builds the site: `make docs`. pages.py has what is generated, links.py why links work as on GitHub."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.domains.python import PyObject

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import formulas
import links
import pages

from aseg_bench import __version__

project = "aseg-bench"
author = "The aseg-bench developers"
release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
nb_custom_formats = {".py": "notebooks.notebook"}
os.environ["PYTHONPATH"] = os.pathsep.join([str(links.ROOT / "examples"), *sys.path])  # some examples are plug-ins
nb_execution_mode = "force"
nb_execution_in_temp = True  # examples write into the folder in which they run
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"  # what hosts warn of is not about the example
exclude_patterns = ["*.py", "definitions"]
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
default_role = "py:obj"  # `name` in a docstring: a link where the site has it, else code
toc_object_entries = False
smartquotes = False  # options begin with two dashes

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_use_type_comments = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature has the types

html_theme = "furo"
html_math_renderer = "mathml"
html_show_copyright = False
html_title = f"aseg-bench {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Attributes"


def typed(*event: Any) -> tuple[str | None, str | None]:
    """A signature with the names that the code has for numpy's types."""
    *_, arguments, returned = event
    return _typed(arguments), _typed(returned)


def _typed(text: str | None) -> str | None:
    if text is None:
        return None
    text = re.sub(
        r"~?(?:numpy\.)?ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], ~?(?:numpy\.)?dtype\[~?(?:numpy\.)?([\w.]+)\]\]",
        r"NDArray[\1]",
        text,
    )
    return re.sub(r"[~\w.]*_Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]", "ArrayLike", text)


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx looks for pages, and point links at what the site has."""

    def read(_: Any, name: str, source: list[str]) -> None:
        source[0] = links.with_links_of_the_site(name, source[0])

    app.connect("builder-inited", lambda _: pages.write_all())
    app.connect("source-read", read)
    app.connect("autodoc-process-signature", typed)
    app.add_html_math_renderer(
        "mathml", inline_renderers=(formulas.inline, None), block_renderers=(formulas.block, None)
    )
