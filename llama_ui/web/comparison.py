"""A comparison as HTML: the user messages, and under each the answers side by side."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llama_ui.core.conversation import Conversation, Reply, Turn
from llama_ui.core.stats import format_stats
from llama_ui.web.html import from_markdown
from llama_ui.workbench.compare import Variant

type Pieces = list[tuple[str, bool]]


@dataclass(frozen=True)
class Column:
    """One side: its name, its system prompt, and its turns, one for each user message as far as there are any."""

    name: str
    system_prompt: str
    turns: Sequence[Turn]


def before(conversation: Conversation) -> Column:
    """The conversation as it was. Its system prompt is that of the last reply, if the reply tells which it had."""
    turns = conversation.exchanges()
    requests = [turn.reply.request for turn in turns if turn.reply and turn.reply.request]
    model, prompt = (requests[-1].model, requests[-1].system_prompt) if requests else ("", conversation.system_prompt)
    return Column(f"Before: {model}" if model else "Before", prompt, turns)


def column(variant: Variant) -> Column:
    """A variant as far as it has come."""
    return Column(variant.settings.model, variant.settings.system_prompt, variant.turns)


def table(
    questions: Sequence[Turn],
    columns: Sequence[Column],
    diff: Callable[[str, str], tuple[Pieces, Pieces]] | None = None,
) -> str:
    """The answers of the columns side by side. `diff` splits two answers into pieces, to mark where they differ."""
    rows = [f"<header>{html.escape(column.name)}{_prompt(column.system_prompt)}</header>" for column in columns]
    for index, question in enumerate(questions):
        images = f" 🖼 {len(question.images)}" if question.images else ""
        rows.append(f'<div class="question">{html.escape(question.text)}{images}</div>')
        turns = [column.turns[index] if index < len(column.turns) else None for column in columns]
        texts = [turn.reply.text if turn and turn.reply else "" for turn in turns]
        pieces: Sequence[Pieces] = diff(*texts) if diff and all(texts) else [[(text, False)] for text in texts]
        rows += map(_cell, columns, turns, pieces, ("del", "ins"))
    return f'<div class="compared">{"".join(rows)}</div>'


def _prompt(system_prompt: str) -> str:
    return f"<small>{html.escape(system_prompt) or 'No system prompt'}</small>"


def _cell(column: Column, turn: Turn | None, pieces: Pieces, tag: str) -> str:
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
