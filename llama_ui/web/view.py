"""What the page shows: messages in the form in which Gradio's page holds them, and lines of HTML.  Pure."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError
from llama_ui.core.messages import Image, images, sanitize_text
from llama_ui.core.stats import Stats, format_stats
from llama_ui.llama_stack.check import CheckResult
from llama_ui.llama_stack.connection import ServerInfo

type ChatMessage = dict[str, Any]
# What the page notes beside a message: Gradio's own names.
METADATA = ("id", "title", "status", "duration", "log")


def message(role: str, text: str) -> ChatMessage:
    """In the form in which Gradio's page holds it. As a plain string a text would lose its indentation."""
    return {"role": role, "metadata": None, "content": [text_part(text)], "options": None}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def image_part(image: Image) -> dict[str, Any]:
    """A picture that is its own address: no file of it is kept, and Gradio looks for none."""
    return picture_part(data_url(image))


def picture_part(url: str) -> dict[str, Any]:
    return {"type": "component", "component": "image", "value": {"url": url}, "constructor_args": {}, "props": {}}


def data_url(image: Image) -> str:
    return f"data:{image.media_type};base64,{image.data}"


def cleaned(history: object) -> list[ChatMessage]:
    """The messages of users and assistants in whatever a program gives for a conversation, each in the page's form:
    texts, and pictures that it carries itself."""
    found = []
    for item in history if isinstance(history, list) else ():
        match item:
            case {"role": "user" | "assistant" as role, "content": str() | list() as content}:
                parts = [content] if isinstance(content, str) else content
                told = item.get("metadata")
                metadata = _known(told) if isinstance(told, dict) else None
                kept = [part for given in parts if (part := _cleaned(given))]
                found.append({"role": role, "metadata": metadata, "content": kept, "options": None})
    return found


def _cleaned(part: object) -> dict[str, Any] | None:
    match part:
        case str(text) | {"type": "text", "text": str(text)}:
            return text_part(sanitize_text(text))
    return next(map(image_part, images(part)), None)


def _known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: metadata[name] for name in METADATA if isinstance(metadata.get(name), str | int | float)}
    return {name: sanitize_text(it) if isinstance(it, str) else it for name, it in told.items()}


def thinking(turn: Reply) -> ChatMessage:
    """What the model thinks; Gradio folds it up when it is done. By its title it is kept from being sent."""
    if turn.thinking:
        metadata = {"title": "Thinking", "status": "pending"}
        return message("assistant", turn.reasoning.strip("\n")) | {"metadata": metadata}
    return thought(turn.reasoning, turn.reasoning_seconds)


def thought(text: str, seconds: float) -> ChatMessage:
    """What the model has thought, for so long."""
    metadata = {"title": "Thinking", "status": "done", "duration": max(0.1, round(seconds, 1))}
    return message("assistant", text.strip("\n")) | {"metadata": metadata}


def answer(turn: Reply, sent: Mapping[str, str]) -> ChatMessage:
    return message("assistant", turn.text) | {"metadata": {"log": receipt(turn, sent)} if turn.model else None}


def sent(turn: Reply, settings: Mapping[str, str]) -> str:
    """What was sent for a message, as JSON: `{"sent"}`; blank as long as nothing was. It stands in the message's own
    `metadata.log`.

    A reply has it in its receipt; one that is stopped before it begins, or in thought, has none.
    """
    return json.dumps({"sent": {**settings, "model": turn.model}}, ensure_ascii=False) if turn.model else ""


def receipt(turn: Reply, sent: Mapping[str, str]) -> str:
    """What was sent for a reply, and what it took, as JSON: `{"sent", "numbers", "line"}`; the line is for people.

    It stands in the reply's `metadata.log`, the one field there that Gradio keeps and does not show. Until the reply
    has ended it tells no more than the time to the first token, so that it is not sent anew with every update.
    """
    stats = turn.stats if turn.ended else Stats(turn.stats.waited, turn.stats.first)
    told = {"sent": {**sent, "model": turn.model}, "numbers": asdict(stats), "line": format_stats(stats)}
    return json.dumps(told, ensure_ascii=False)


class Receipt(NamedTuple):
    """The settings with which a reply was asked for, the fields of its `Stats`, and the line on them."""

    sent: Mapping[str, str] = {}
    numbers: Mapping[str, Any] = {}
    line: str = ""


def receipt_of(item: ChatMessage) -> Receipt:
    """A reply's receipt; an empty one where it has none."""
    try:
        told = json.loads((item.get("metadata") or {}).get("log") or "{}")
        sent = {name: value for name, value in told.get("sent", {}).items() if isinstance(value, str)}
        return Receipt(sent, dict(told.get("numbers", {})), str(told.get("line", "")))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Receipt()


def note(kind: str, text: str) -> ChatMessage:
    """A message of the page itself. By its `metadata.id` it is kept out of what the server gets."""
    return message("assistant", text) | {"metadata": {"id": kind}}


def error_note(error: ChatError) -> ChatMessage:
    return note("error", f"⚠️ {error}")


def status_line(state: str, text: str, blind: Sequence[str] = ()) -> str:
    """`text` is HTML; `state` is "ready", "wait" or "error". `blind`: the models that chat.js keeps pictures from."""
    data = f' data-blind="{html.escape(json.dumps(blind))}"' if blind else ""
    return f'<p class="status {state}" role="status"{data}>{text}</p>'


def complaint(text: str) -> str:
    """`text` is HTML: why something is not done."""
    return f'<p class="status error" role="alert">{text}</p>'


def pictures(files: Sequence[tuple[str, Image]]) -> str:
    """Links that save the pictures which a piece of code reads."""
    if not files:
        return ""
    links = ", ".join(f'<a download="{name}" href="{data_url(image)}">{name}</a>' for name, image in files)
    return f"<p>Save beside it what it reads: {links}</p>"


def shown(sentence: str) -> str:
    """A sentence in Markdown as HTML."""
    return html.escape(sentence).replace("`", "")


def escaped(error: ChatError) -> str:
    return shown(str(error))


def finding_line(finding: CheckResult) -> str:
    text = shown(f"{finding.message} {finding.fix}")
    return f'<li class="status {"ready" if finding.passed else "error"}"><b>{finding.check}</b> {text}</li>'


def findings(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(lines)}</ul>"


def server_line(server: ServerInfo) -> str:
    count = len(server.models)
    models = "1 chat model" if count == 1 else f"{count or 'no'} chat models"
    if server.local:
        return status_line(
            "ready",
            f"<b>Local stack</b>, {html.escape(server.name)} with a tiny demonstration model: it is real, and says "
            "foolish things. For a real one start the app with <code>--base-url URL</code>.",
            server.text_only,
        )
    name, url = html.escape(server.name), html.escape(server.url)
    return status_line("ready", f"<b>{name}</b> at {url}, {models}", server.text_only)
