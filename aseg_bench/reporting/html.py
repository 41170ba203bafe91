"""Tables as HTML fragments: no style of their own, classes for the page that holds them."""

from collections.abc import Iterable

from jinja2 import Environment

from aseg_bench.reporting.cells import Table

_TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
{% macro inner(cell) %}
{% if cell.rank == "best" %}<strong>{{ cell.text }}</strong>
{%- elif cell.rank == "second" %}<u>{{ cell.text }}</u>
{%- else %}{{ cell.text }}
{%- endif %}
{% if cell.notes %}<sup>{{ cell.notes }}</sup>{% endif %}
{% if cell.aside %} <small>({{ cell.aside }})</small>{% endif %}
{% endmacro %}
<figure class="table" id="{{ table.key }}">
<figcaption>{{ table.caption }}</figcaption>
<table>
<thead><tr>{% for cell in table.header %}<th scope="col">{{ inner(cell) }}</th>{% endfor %}</tr></thead>
{% for title, rows in table.blocks %}
<tbody>
{% if title %}
<tr class="block"><th colspan="{{ table.header | length }}">{{ title }}</th></tr>
{% endif %}
{% for row in rows %}
<tr>{% for cell in row %}
{% if loop.first %}
<th scope="row">{{ inner(cell) }}</th>
{% else %}
<td{% if table.right_aligned[loop.index0] %} class="number"{% endif %}>{{ inner(cell) }}</td>
{% endif %}
{% endfor %}</tr>
{% endfor %}
</tbody>
{% endfor %}
</table>
{% for letter, text in table.notes.items() %}
<p class="note"><sup>{{ letter }}</sup> {{ text }}</p>
{% endfor %}
</figure>
"""
)


def html(tables: Iterable[Table]) -> str:
    """All tables as HTML, every text escaped."""
    return "\n".join(_TEMPLATE.render(table=table) for table in tables)
