"""Small pieces of HTML that the page shows, from templates that escape every value."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from llama_ui.core.conversation import Turn
from llama_ui.core.errors import ChatError
from llama_ui.core.stats import format_stats
from llama_ui.llama_stack.connection import ServerInfo
from llama_ui.local_stack.catalog import BetterModel
from llama_ui.workbench.compare import Variant, diff_words


def without_markdown(sentence: ChatError | str) -> str:
    """A sentence in Markdown, or an error, as plain text. There is no Markdown in it but `code`."""
    return str(sentence).replace("`", "")


_TEMPLATES = Environment(loader=PackageLoader("llama_ui.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_TEMPLATES.policies["json.dumps_kwargs"] = {"sort_keys": False}
_TEMPLATES.filters["plain"] = without_markdown
_TEMPLATES.globals["format_stats"] = format_stats


def render(name: str, **values: object) -> str:
    """The HTML of a template. Sentences are in Markdown, or errors."""
    return _TEMPLATES.get_template(f"{name}.jinja").render(values)


def server(
    state: str,
    name: str,
    sentence: ChatError | str,
    server: ServerInfo | None = None,
    better_models: Sequence[BetterModel] = (),
) -> tuple[str, str, str]:
    """The server's status for the header, what it is for the panel that opens there, and the guide for it."""
    ready = bool(server and server.models)
    return (
        render("server_status", state=state, title=name, server=server),
        render("server", state=state, title=name, sentence=sentence, better_models=better_models),
        render("guide", ready=ready, note="" if server and ready and not server.demo else sentence),
    )


def describe(server: ServerInfo) -> str:
    """A sentence about the server."""
    if server.demo:
        return "Demo model, running locally. Fine for a tour, not for answers. Connect yours: `--base-url URL`"
    if server.local:
        return "Running locally. Connect yours: `--base-url URL`"
    count = len(server.models)
    return f"{server.url}, {count or 'no'} chat model{'s' * (count != 1)}"


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
