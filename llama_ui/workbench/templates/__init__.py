"""Texts that are made from a conversation: Markdown, Python and a curl command."""

from jinja2 import Environment, PackageLoader

_ENVIRONMENT = Environment(
    loader=PackageLoader(__name__, ""), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def render(name: str, **values: object) -> str:
    """The text of a template. Values are inserted as they are."""
    return _ENVIRONMENT.get_template(name).render(values)
