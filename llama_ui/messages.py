"""From what Gradio keeps of a conversation to the messages that a Llama Stack server gets.  Pure.

Gradio's history holds more than was said: waiting and error notes, thinking blocks, null fields. `from_gradio` keeps
what a person and the model said, and nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the model gets it. `content` is never blank."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Options:
    """How the model samples. None: not sent, the server's own default holds."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


def from_gradio(message: object, history: object, system_prompt: object) -> list[Message]:
    """The messages to send: the system prompt unless blank, then `user` and `assistant` in strict alternation.

    The last one is the new message of the user. Shapes of `history` (Gradio 6.31): a list of
    `{"role", "metadata", "content", "options"}`, `content` a string or a list of strings and
    `{"type": "text", "text": ...}` parts.

    A user message that got no answer (stopped, or failed) is joined with the next one by a blank line, so that nothing
    which the person wrote is lost and no two user messages follow each other. Roles other than user and assistant are
    left out: the system prompt is the only system message, whatever history a caller makes up.
    """
    turns = [Message("system", _text(system_prompt))] if _text(system_prompt).strip() else []
    start = len(turns)
    for role, text in [*_said(history), ("user", _text(message))]:
        if not text.strip():
            continue
        if len(turns) == start and role == "assistant":
            continue  # nobody has asked anything yet
        if len(turns) > start and turns[-1].role == role:
            turns[-1] = Message(role, f"{turns[-1].content}\n\n{text}")
        else:
            turns.append(Message(role, text))
    return turns


def _said(history: object) -> Iterable[tuple[Role, str]]:
    for item in history if isinstance(history, Sequence) else ():
        if not isinstance(item, Mapping) or is_note(item):
            continue
        match item.get("role"):
            case "user":
                yield "user", _text(item.get("content"))
            case "assistant":
                yield "assistant", _text(item.get("content"))


def is_note(item: Mapping[str, object]) -> bool:
    """Whether the UI wrote this message (waiting, thinking, an error) and not a person or the model.

    Gradio gives `metadata.title` to what it shows apart from the conversation; it comes back in the history.
    """
    metadata = item.get("metadata")
    return isinstance(metadata, Mapping) and bool(metadata.get("title"))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        text = content.get("text")
        return text if isinstance(text, str) else ""
    if isinstance(content, Sequence):
        return "\n\n".join(filter(None, map(_text, content)))
    return ""
