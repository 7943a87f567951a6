"""A comparison as HTML: the user's messages, and under each the replies side by side.  Pure."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llama_ui.core.conversation import Reply
from llama_ui.core.messages import Message, is_note, message_text
from llama_ui.core.stats import format_stats
from llama_ui.web import view
from llama_ui.web.view import ChatMessage
from llama_ui.workbench.compare import Variant

type Marked = list[tuple[str, bool]]


@dataclass(frozen=True)
class Answer:
    """One reply: its text, what it took, and a note: an error, or what is waited for."""

    text: str
    numbers: str = ""
    note: str = ""


@dataclass(frozen=True)
class Column:
    """One side: its name, its system prompt, and its replies, one for each message as far as there are any."""

    name: str
    system_prompt: str
    replies: Sequence[Answer]


def before(history: Sequence[ChatMessage], system_prompt: str) -> Column:
    """The conversation as it was. `system_prompt`: the one of the replies that do not say which they had."""
    replies: list[Answer] = []
    model = ""
    answered = True
    for message in history:
        if is_note(message):
            continue
        if message["role"] == "user" and answered:  # those that follow each other are sent as one
            replies.append(Answer("", note="No reply."))
        elif message["role"] == "assistant" and replies:
            sent, _, took = view.receipt_of(message)
            model, system_prompt = sent.get("model", model), sent.get("system_prompt", system_prompt)
            replies[-1] = Answer(message_text(message), took)
        answered = message["role"] == "assistant"
    return Column(f"Before: {model}" if model else "Before", system_prompt, replies)


def column(side: Variant) -> Column:
    return Column(side.model, side.system_prompt, [_reply(turn) for turn in side.turns])


def _reply(turn: Reply) -> Answer:
    if turn.error:
        return Answer(turn.text, note=f"{turn.error}".replace("`", ""))
    if turn.ended:
        return Answer(turn.text, format_stats(turn.stats))
    if turn.thinking:
        return Answer(turn.text, note=f"Thinking… {int(turn.reasoning_seconds)} s")
    return Answer(turn.text, note="" if turn.waited is None else f"Waiting for the first token… {int(turn.waited)} s")


def table(
    asked: Sequence[Message],
    columns: Sequence[Column],
    marked: Callable[[str, str], tuple[Marked, Marked]] | None = None,
) -> str:
    """`marked`: gives two replies in pieces, each with whether the other one lacks it; without it none is marked."""
    rows = [f"<header>{html.escape(column.name)}{_prompt(column.system_prompt)}</header>" for column in columns]
    for index, message in enumerate(asked):
        count = len(message.images)
        pictures = f" 🖼 {count}" if count else ""
        rows.append(f'<div class="asked">{html.escape(message.content)}{pictures}</div>')
        replies = [column.replies[index] if index < len(column.replies) else Answer("") for column in columns]
        pieces: Sequence[Marked] = [[(reply.text, False)] for reply in replies]
        if marked and all(reply.text for reply in replies):
            pieces = marked(*(reply.text for reply in replies))
        rows += map(_cell, columns, replies, pieces, ("del", "ins"))
    return f'<div class="compared">{"".join(rows)}</div>'


def _prompt(system_prompt: str) -> str:
    return f"<small>{html.escape(system_prompt) or 'No system prompt'}</small>"


def _cell(column: Column, reply: Answer, pieces: Marked, tag: str) -> str:
    text = "".join(f"<{tag}>{html.escape(text)}</{tag}>" if lacks else html.escape(text) for text, lacks in pieces)
    small = "".join(f"<small>{html.escape(told)}</small>" for told in (reply.note, reply.numbers) if told)
    return f'<div class="answer" data-side="{html.escape(column.name)}"><div class="text">{text}</div>{small}</div>'
