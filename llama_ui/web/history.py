"""Gradio's chat history, and the conversation that it stands for. No other Python module knows its form.

Browsers keep histories, and programs rely on this form. A message is `{"role", "metadata", "content", "options"}`. Its
content is a list of text parts, `{"type": "text", "text"}`, and image parts, `{"type": "component", "component":
"image", "value": {"url": "data:image/..."}, ...}`. Its metadata tells what it is:

- `title`: the reasoning of the model, with its `status` ("pending" or "done") and its `duration` in seconds.
- `id`: a note of the page ("waiting", "notice", "ending" or "error"), which is never sent to the model.
- `log`: a receipt in JSON, which Gradio keeps and does not show: `{"sent"}`, the settings of the request, in a user
  message; `{"sent", "numbers", "refused", "line"}`, where `line` is for people, in the last message of a reply.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from llama_ui.core.conversation import ChatSettings, Conversation, Reply, Turn, add_reply
from llama_ui.core.errors import ChatError
from llama_ui.core.messages import Image, sanitize_text
from llama_ui.core.option_values import Example
from llama_ui.core.stats import Stats, format_stats
from llama_ui.workbench.details import as_json, tokens_of
from llama_ui.workbench.receipt import Receipt, receipt, sent_texts

type ChatMessage = dict[str, Any]
_METADATA = ("id", "title", "status", "duration", "log")
_NOTICE = "ℹ️ "


def sanitize_history(history: object) -> list[ChatMessage]:
    """The messages of users and assistants that a page or a program sends, with their texts and the images they carry.

    So no program can send a system message, or have Gradio read a file or fetch a URL.
    """
    messages = []
    for message in history if isinstance(history, list) else ():
        match message:
            case {"role": "user" | "assistant" as role, "content": str() | list() as content}:
                parts = [content] if isinstance(content, str) else content
                metadata = _sanitize_metadata(message.get("metadata"))
                messages.append(_message(role, [*filter(None, map(_sanitize_part, parts))], metadata))
    return messages


def _sanitize_part(part: object) -> dict[str, Any] | None:
    match part:
        case str(text) | {"type": "text", "text": str(text)}:
            return _text_part(sanitize_text(text))
        case {"type": "component", "component": "image", "value": {"url": str(url)}} if Image.from_data_url(url):
            return _image_part(url)
    return None


def _sanitize_metadata(metadata: object) -> dict[str, Any] | None:
    if not isinstance(metadata, dict):
        return None
    known = {name: metadata[name] for name in _METADATA if isinstance(metadata.get(name), str | int | float)}
    return known | {name: sanitize_text(value) for name, value in known.items() if isinstance(value, str)}


def parse(
    history: Iterable[ChatMessage],
    system_prompt: str = "",
    examples: tuple[Example, ...] = (),
    details: Mapping[str, object] | None = None,
) -> Conversation:
    """The conversation in a sanitized history. Keeps notices; the page's other notes are only displayed.

    `details` are those of the replies (`workbench.details`), by the number of user messages up to each.
    """
    turns: list[Turn] = []
    number = 0
    for message in history:
        metadata = message["metadata"] or {}
        known = Receipt.parse(metadata.get("log"))
        fields = known.fields()
        text = text_of(message)
        match message:
            case {"role": "user"}:
                number += 1
                urls = [part["value"]["url"] for part in message["content"] if "value" in part]
                images = tuple(image for url in urls if (image := Image.from_data_url(url)))
                turns.append(Turn(text, images, request=known.sent))
                continue
            case {"metadata": {"id": "notice"}}:
                fields["notices"] = (text.removeprefix(_NOTICE),)
            case {"metadata": {"id": kind}} if kind:
                pass
            case {"metadata": {"title": title}} if title:
                duration = metadata.get("duration")
                is_known = isinstance(duration, int | float) and 0 <= duration < 1e9
                fields |= {"reasoning": text, "reasoning_seconds": duration if is_known else None}
            case _:
                fields |= {"text": text, "tokens": tokens_of((details or {}).get(str(number)))}
        _add_fields(turns, fields)
    return Conversation(system_prompt, tuple(turns), examples)


def text_of(message: ChatMessage) -> str:
    """The texts in a message."""
    return "\n\n".join(part["text"] for part in message["content"] if part.get("text"))


def _add_fields(turns: list[Turn], fields: dict[str, Any]) -> None:
    """Adds what a message tells to the last reply, or begins another one where that has an answer or reasoning."""
    reply = turns[-1].reply if turns else None
    parts = fields.keys() & {"text", "reasoning"}
    if reply and not (parts and reply.has_answer) and not ("reasoning" in parts and reply.reasoning):
        notices = reply.notices + fields.pop("notices", ())
        turns[-1] = replace(turns[-1], replies=(replace(reply, notices=notices, **fields),))
    elif fields:
        add_reply(turns, Reply(ended=True, **fields))


def render(conversation: Conversation) -> list[ChatMessage]:
    """The conversation as a page shows it."""
    messages: list[ChatMessage] = []
    for turn in conversation.turns:
        messages += [render_user(turn)] if turn.has_message else []
        messages += render_reply(turn.reply) if turn.reply else []
    return messages


def render_user(turn: Turn) -> ChatMessage:
    """The user message of a turn."""
    texts = [_text_part(turn.text)] if turn.text else []
    message = _message("user", [*texts, *(_image_part(image.data_url) for image in turn.images)])
    return with_request(message, turn.request) if turn.request else message


def with_request(message: ChatMessage, request: ChatSettings) -> ChatMessage:
    """A user message with the settings that were sent for it. They stay where the reply is stopped before it begins."""
    return message | {"metadata": {"log": json.dumps({"sent": sent_texts(request)}, ensure_ascii=False)}}


def render_reply(reply: Reply, receipts: "Receipts | None" = None) -> list[ChatMessage]:
    """A reply, or the part of it that has arrived: its reasoning, its answer, and the page's notes on it.

    While it grows, the same `receipts` spare it the making of its receipt in each frame.
    """
    log = receipts.log if receipts else _log
    messages = []
    if reply.reasoning.strip():  # Gradio folds it up when it is done
        thinking: dict[str, Any] = {"title": "Thinking", "status": "pending" if reply.thinking else "done"}
        if not reply.thinking and reply.reasoning_seconds is not None:
            thinking["duration"] = max(0.1, round(reply.reasoning_seconds, 1))
        messages.append(_message("assistant", [_text_part(reply.reasoning.strip("\n"))], thinking))
    if reply.text:
        messages.append(_message("assistant", [_text_part(reply.text)], log(reply)))
    messages += [note("notice", f"{_NOTICE}{sentence}") for sentence in reply.notices]
    if reply.error:
        messages.append(error_note(reply.error))
    if reply.ending:
        messages.append(note("ending", f"{_NOTICE}{reply.ending}"))
    if messages and reply.ended and not reply.text and (known := log(reply)):
        if "title" in messages[-1]["metadata"]:  # of which Gradio would show the receipt
            messages.append(note("ending", f"{_NOTICE}The reply ended before the answer began."))
        messages[-1]["metadata"] |= known
    return messages


def render_samples(reply: Reply) -> list[ChatMessage]:
    """All replies to one message, a message for each; none where one was asked for.

    When a reply has ended, its `log` has as `kept` the messages that it is in a conversation.
    """
    samples: tuple[Reply, ...] = (reply, *reply.samples) if reply.samples else ()
    return [_render_sample(replace(sample, request=reply.request, notices=())) for sample in samples]


def _render_sample(reply: Reply) -> ChatMessage:
    text = reply.text or str(reply.error or "…")
    if not reply.ended:
        return _message("assistant", [_text_part(text)], None)
    line = " · ".join(filter(None, [format_stats(reply.stats), reply.ending]))
    return _message("assistant", [_text_part(text)], {"log": json.dumps({"line": line, "kept": render_reply(reply)})})


def render_for_programs(messages: list[ChatMessage], reply: Reply) -> list[ChatMessage]:
    """The messages of a reply and of its samples; when it has ended, with the probabilities of the answer's tokens."""
    if reply.ended and reply.tokens:
        probabilities = {"logprobs": {"content": as_json(reply.tokens)}}
        messages = [
            message | {"metadata": {**(message["metadata"] or {}), **probabilities}} if _is_answer(message) else message
            for message in messages
        ]
    return [*messages, *(message for sample in reply.samples for message in render_reply(sample))]


def _is_answer(message: ChatMessage) -> bool:
    return not ((message["metadata"] or {}).keys() & {"id", "title"})


class Receipts:
    """The receipt of one reply, kept no longer than that: it has the system prompt."""

    def __init__(self) -> None:
        self._key: object = None
        self._log: dict[str, str] | None = None

    def log(self, reply: Reply) -> dict[str, str] | None:
        """Its receipt as metadata, made anew only when it changes."""
        key = reply.request, reply.ended, reply.stats.waited, reply.stats.first
        if key != self._key:
            self._key, self._log = key, _log(reply)
        return self._log and dict(self._log)


def _log(reply: Reply) -> dict[str, str] | None:
    """The receipt of a reply as metadata. While the reply grows it does not change, so that it is sent only once."""
    stats = reply.stats if reply.ended else Stats(reply.stats.waited, reply.stats.first)
    known = receipt(Reply(request=reply.request, stats=stats, refused=reply.refused))
    return {"log": json.dumps({**known, "line": format_stats(stats)}, ensure_ascii=False)} if known else None


def note(kind: str, text: str) -> ChatMessage:
    """A message of the page itself."""
    return _message("assistant", [_text_part(text)], {"id": kind})


def error_note(error: ChatError) -> ChatMessage:
    """A message that explains a failure."""
    return note("error", f"⚠️ {error}")


def _message(role: str, content: list[dict[str, Any]], metadata: dict[str, Any] | None = None) -> ChatMessage:
    return {"role": role, "metadata": metadata, "content": content, "options": None}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}  # Gradio would strip the indentation of a plain string


def _image_part(url: str) -> dict[str, Any]:
    return {"type": "component", "component": "image", "value": {"url": url}, "constructor_args": {}, "props": {}}
