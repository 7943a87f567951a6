"""A comparison as HTML: the user messages, and under each the answers side by side."""

import html
from collections.abc import Sequence

from llama_ui.core.conversation import ChatSettings, Conversation, Reply, Turn
from llama_ui.core.stats import format_stats
from llama_ui.web.html import from_markdown
from llama_ui.workbench.compare import Variant, diff_words

type Pieces = list[tuple[str, bool]]


def before(conversation: Conversation) -> Variant:
    """The conversation as it was, with the settings of its last reply as far as they are known."""
    turns = conversation.exchanges()
    requests = [turn.reply.request for turn in turns if turn.reply and turn.reply.request]
    settings = requests[-1] if requests else ChatSettings(conversation.system_prompt)
    return Variant(f"Before: {settings.model}" if settings.model else "Before", settings, turns)


def table(questions: Sequence[Turn], columns: Sequence[Variant], mark_differences: bool = False) -> str:
    """The answers of the columns side by side."""
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
