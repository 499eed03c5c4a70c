"""HTML of the report: Jinja2 templates of the folder `templates`, with every value escaped."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from voiceface.report.formatting import (
    format_difference,
    format_interval,
    format_metric,
    format_number,
    ordinal,
)

__all__ = ["get_environment", "render", "render_macro"]


@cache
def get_environment() -> Environment:
    """The environment of all templates. A missing variable is an error; only `Markup` is not escaped."""
    environment = Environment(
        loader=PackageLoader("voiceface.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "difference": format_difference,
            "interval": format_interval,
            "metric": format_metric,
            "number": format_number,
            "ordinal": ordinal,
        }
    )
    return environment


def render(template: str, **context: Any) -> str:
    """A whole template as text."""
    return get_environment().get_template(template).render(**context)


def render_macro(template: str, macro: str, *args: Any, **options: Any) -> Markup:
    """One macro of a template as HTML that may be placed in another template."""
    module = get_environment().get_template(template).module
    return Markup(getattr(module, macro)(*args, **options))
