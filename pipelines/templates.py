"""The HTML templates beside this file, opened in one way: every value escaped, every missing one an error."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2


def page_template(name: str, filters: Mapping[str, Any]) -> jinja2.Template:
    """The template of a page, with the filters that it uses; compiled once for the same functions."""
    return _compiled(name, tuple(filters.items()))


@functools.cache
def _compiled(name: str, filters: tuple[tuple[str, Any], ...]) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters)
    return environment.get_template(name)
