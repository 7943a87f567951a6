"""Small pieces of HTML that the page shows. Sentences are Markdown with nothing but `code` in it."""

import html
import json
from collections.abc import Sequence

from llama_ui.core.conversation import Reply, Turn
from llama_ui.core.errors import ChatError
from llama_ui.core.messages import Image
from llama_ui.core.stats import format_stats
from llama_ui.llama_stack.connection import ServerInfo
from llama_ui.workbench.check import CheckResult
from llama_ui.workbench.compare import Variant, diff_words

type Pieces = list[tuple[str, bool]]


def from_markdown(sentence: ChatError | str) -> str:
    """A sentence, or an error, as HTML."""
    return html.escape(str(sentence).replace("`", ""))


def status(state: str, content: str, text_only: Sequence[str] = ()) -> str:
    """The status line. `content` is HTML, `state` is "ready", "wait" or "error".

    `text_only` are the models that accept no images, for chat.js.
    """
    data = f' data-text-only="{html.escape(json.dumps(text_only))}"' if text_only else ""
    return f'<p class="status {state}" role="status"{data}>{content}</p>'


def server_status(server: ServerInfo) -> str:
    """The status line of a server that answers."""
    name, url, count = html.escape(server.name), html.escape(server.url), len(server.models)
    models = "1 chat model" if count == 1 else f"{count or 'no'} chat models"
    content = f"<b>{name}</b> at {url}, {models}"
    if server.local:
        content = (
            f"<b>Local stack</b>, {name}. Demo model, running locally. Fine for a tour, not for answers. "
            "Connect yours: <code>--base-url URL</code>"
        )
    return status("ready", content, server.text_only)


def alert(sentence: ChatError | str) -> str:
    """Why something was not done."""
    return f'<p class="status error" role="alert">{from_markdown(sentence)}</p>'


def check_results(results: Sequence[CheckResult], complete: bool) -> str:
    """The results of a connection check, and whether there are more to come."""
    lines = [
        f'<li class="status {"ready" if result.passed else "error"}"><b>{html.escape(result.check)}</b> '
        f"{from_markdown(f'{result.message} {result.fix}')}</li>"
        for result in results
    ]
    return f"<ul>{''.join(lines)}{'' if complete else '<li class="status wait">Checking…</li>'}</ul>"


def download_links(files: Sequence[tuple[str, Image]]) -> str:
    """Links that save the images which a piece of code reads."""
    links = ", ".join(f'<a download="{name}" href="{image.data_url}">{name}</a>' for name, image in files)
    return f"<p>Save the images that it reads in the same folder: {links}</p>" if files else ""


def comparison(questions: Sequence[Turn], columns: Sequence[Variant], mark_differences: bool = False) -> str:
    """The user messages, and under each the answers of the columns side by side."""
    rows = []
    for column in columns:
        prompt = html.escape(column.settings.system_prompt) or "No system prompt"
        rows.append(f"<header>{html.escape(column.name)}<small>{prompt}</small></header>")
    for index, question in enumerate(questions):
        images = f" 🖼 {len(question.images)}" if question.images else ""
        rows.append(f'<div class="question">{html.escape(question.text)}{images}</div>')
        turns = [column.turns[index] if index < len(column.turns) else None for column in columns]
        texts = [turn.reply.text if turn and turn.reply else "" for turn in turns]
        marked = mark_differences and all(texts)
        pieces: Sequence[Pieces] = diff_words(*texts) if marked else [[(text, False)] for text in texts]
        rows += map(_cell, columns, turns, pieces, ("del", "ins"))
    return f'<div class="compared">{"".join(rows)}</div>'


def _cell(column: Variant, turn: Turn | None, pieces: Pieces, tag: str) -> str:
    text = "".join(f"<{tag}>{html.escape(text)}</{tag}>" if lacks else html.escape(text) for text, lacks in pieces)
    caption = _caption(turn.reply) if turn else ""
    small = f"<small>{caption}</small>" if caption else ""
    return f'<div class="answer" data-side="{html.escape(column.name)}"><div class="text">{text}</div>{small}</div>'


def _caption(reply: Reply | None) -> str:
    """The HTML below an answer: why it failed, what is waited for, or what it took."""
    if reply and reply.error:
        return from_markdown(reply.error)
    if reply and reply.waited is not None:
        return f"Waiting for the first token… {int(reply.waited)} s"
    if reply and reply.thinking:
        return f"Thinking… {int(reply.reasoning_seconds or 0)} s"
    if reply and not reply.ended:
        return ""
    return html.escape(format_stats(reply.stats)) if reply and reply.text.strip() else "No reply."
