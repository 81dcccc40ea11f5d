"""How objects show themselves in a notebook: a heading, rows of facts, and a picture where there is one.

It knows text and bytes only.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

Rows = Iterable[tuple[str, str]]
"""Headings and what stands beside them."""

_CARD = """\
<div style="font: 13px/1.5 system-ui, sans-serif; max-width: 60em">
<strong>{{ title }}</strong>
{% if picture %}<div><img alt="" style="max-width: 100%" src="data:image/{{ kind }};base64,{{ picture }}"></div>
{% endif %}{% for table in tables %}<table>
{% if table.columns %}<thead><tr>{% for cell in table.columns %}<th style="text-align: left">{{ cell }}</th>{% endfor %}
</tr></thead>
{% endif %}<tbody>{% for row in table.rows %}<tr>{% for cell in row %}<td style="text-align: left">{{ cell }}</td>
{% endfor %}</tr>
{% endfor %}</tbody></table>
{% endfor %}</div>
"""


@cache
def _template() -> Template:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(_CARD)


def card(title: str, rows: Rows = (), *, picture: bytes = b"", kind: str = "png") -> str:
    """Return HTML of facts.

    Parameters
    ----------
    title : str
        The heading.
    rows : iterable of (str, str)
        Facts.
    picture : bytes
        A file of a picture; none where it is empty.
    kind : str
        Its format.
    """
    return cards(title, [((), list(rows))], picture=picture, kind=kind)


def cards(
    title: str, tables: Iterable[tuple[Sequence[Any], Sequence[Sequence[Any]]]], *, picture: bytes = b"", kind: str = ""
) -> str:
    """Return HTML of tables: headings of columns and rows of cells; arguments as of `card`."""
    content = [{"columns": columns, "rows": rows} for columns, rows in tables]
    encoded = base64.b64encode(picture).decode()
    return _template().render(title=title, tables=content, picture=encoded, kind=kind)
