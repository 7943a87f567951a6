"""What the page shows: messages in the form in which Gradio's page holds them, and lines of HTML.  Pure."""

import html
import json
from collections.abc import Sequence
from typing import Any

from llama_ui.chat import Turn
from llama_ui.connection import Server
from llama_ui.doctor import Finding
from llama_ui.errors import ChatError
from llama_ui.messages import Image

type ChatMessage = dict[str, Any]


def message(role: str, text: str) -> ChatMessage:
    """In the form in which Gradio's page holds it. As a plain string a text would lose its indentation."""
    return {"role": role, "metadata": None, "content": [text_part(text)], "options": None}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def image_part(image: Image) -> dict[str, Any]:
    """A picture that is its own address: no file of it is kept, and Gradio looks for none."""
    value = {"url": data_url(image)}
    return {"type": "component", "component": "image", "value": value, "constructor_args": {}, "props": {}}


def data_url(image: Image) -> str:
    return f"data:{image.media_type};base64,{image.data}"


def thinking(turn: Turn) -> ChatMessage:
    """What the model thinks; Gradio folds it up when it is done. By its title it is kept from being sent."""
    metadata: dict[str, Any] = {"title": "Thinking", "status": "pending" if turn.thinking else "done"}
    if not turn.thinking:
        metadata["duration"] = max(0.1, round(turn.thought, 1))  # seconds
    return message("assistant", turn.reasoning.strip("\n")) | {"metadata": metadata}


def note(kind: str, text: str) -> ChatMessage:
    """A message of the page itself. By its `metadata.id` it is kept out of what the server gets."""
    return message("assistant", text) | {"metadata": {"id": kind}}


def error_note(error: ChatError) -> ChatMessage:
    return note("error", f"⚠️ {error}")


def status_line(state: str, text: str, blind: Sequence[str] = ()) -> str:
    """`text` is HTML; `state` is "ready", "wait" or "error". `blind`: the models that page.js keeps pictures from."""
    data = f' data-blind="{html.escape(json.dumps(blind))}"' if blind else ""
    return f'<p class="status {state}" role="status"{data}>{text}</p>'


def escaped(error: ChatError) -> str:
    return html.escape(str(error)).replace("`", "")


def finding_line(finding: Finding) -> str:
    text = html.escape(f"{finding.message} {finding.fix}".replace("`", ""))
    return f'<li class="status {"ready" if finding.passed else "error"}"><b>{finding.check}</b> {text}</li>'


def findings(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(lines)}</ul>"


def server_line(server: Server) -> str:
    count = len(server.models)
    models = "1 chat model" if count == 1 else f"{count or 'no'} chat models"
    if server.local:
        return status_line(
            "ready",
            f"<b>Local stack</b>, {html.escape(server.name)} with a tiny demonstration model: it is real, and says "
            "foolish things. For a real one start the app with <code>--base-url URL</code>.",
            server.blind,
        )
    name, url = html.escape(server.name), html.escape(server.url)
    return status_line("ready", f"<b>{name}</b> at {url}, {models}", server.blind)
