"""One HTML file that needs nothing else: no server and no network.

Templates escape whatever they are given and stop at a name that is not defined. The few lines of
script only sort tables, mark a name everywhere and enlarge images. A content security policy in
the page forbids everything that is not inside it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ros2_ood_monitor.pages.images import data_uri
from ros2_ood_monitor.pages.numbers import coordinate, interval, percent, three_digits


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading, with an entry in the table of contents."""

    anchor: str
    heading: str
    template: str
    """File in the folder `templates` of the page's package; it sees `view`."""
    view: Any
    parts: Mapping[str, str] = field(default_factory=dict)
    """Headings by anchor of what the template has inside, for the table of contents."""


@dataclass(frozen=True)
class Page:
    """Everything on a page; texts are plain text."""

    title: str
    """Of the window."""
    over: str
    """Small line above the heading."""
    heading: str
    lead: str
    facts: Mapping[str, str]
    sections: Sequence[Section]


def render(page: Page, package: str) -> str:
    """Return a page as HTML, with the templates of `package` and those beside this module.

    A `style.css` among the templates of `package` follows the style sheet of all pages.

    Raises:
        jinja2.TemplateError: a template is missing or wrong.
    """
    script = (files(__package__) / 'templates' / 'page.js').read_text(encoding='utf-8')
    digest = base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')
    return (
        _environment(package)
        .get_template('page.html')
        .render(page=page, script=Markup(script), digest=digest)
    )


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__package__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        'breakable': breakable,
        'coordinate': coordinate,
        'data_uri': data_uri,
        'interval': interval,
        'percent': percent,
        'three_digits': three_digits,
    }
    return environment


def breakable(name: str) -> Markup:
    """Return a name as markup that may be broken after an underscore."""
    return escape(name).replace('_', Markup('_<wbr>'))
