"""Small pieces of HTML that the page shows, from templates that escape every value."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from llama_ui.core.conversation import Turn
from llama_ui.core.errors import ChatError
from llama_ui.core.stats import format_stats
from llama_ui.workbench.compare import Variant, diff_words


def without_markdown(sentence: ChatError | str) -> str:
    """A sentence in Markdown, or an error, as plain text. There is no Markdown in it but `code`."""
    return str(sentence).replace("`", "")


_TEMPLATES = Environment(loader=PackageLoader("llama_ui.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_TEMPLATES.filters["plain"] = without_markdown
_TEMPLATES.globals["format_stats"] = format_stats


def render(name: str, **values: object) -> str:
    """The HTML of a template. Sentences are in Markdown, or errors."""
    return _TEMPLATES.get_template(f"{name}.jinja").render(values)


def comparison(questions: Sequence[Turn], columns: Sequence[Variant], mark_differences: bool = False) -> str:
    """The user messages, and under each the answers of the columns side by side."""
    rows = []
    for index, question in enumerate(questions):
        turns = [column.turns[index] if index < len(column.turns) else None for column in columns]
        texts = [turn.reply.text if turn and turn.reply else "" for turn in turns]
        marked = mark_differences and all(texts)
        pieces: Sequence[list[tuple[str, bool]]] = diff_words(*texts) if marked else [[(text, False)] for text in texts]
        rows.append((question, list(zip(columns, turns, pieces, ("del", "ins"), strict=False))))
    return render("comparison", columns=columns, rows=rows)
