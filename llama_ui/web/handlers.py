"""What happens behind the page."""

import asyncio
import html
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError, InputError
from llama_ui.core.images import MAX_IMAGES, is_clean_form
from llama_ui.core.logs import log_unexpected
from llama_ui.core.messages import (
    Image,
    Message,
    from_gradio,
    images,
    is_note,
    message_text,
    parse_sampling_options,
    validate_text,
)
from llama_ui.core.reply import TICK_SECONDS
from llama_ui.core.text import as_code
from llama_ui.hosting.limits import Visitor, network
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.check import check_connection
from llama_ui.llama_stack.connection import Connection, ServerInfo
from llama_ui.llama_stack.models import first_choice, same_model
from llama_ui.settings import Settings
from llama_ui.web import view
from llama_ui.web.attachments import attached
from llama_ui.web.view import ChatMessage
from llama_ui.workbench import share_link
from llama_ui.workbench.export import SETTINGS

# Characters of a model's name, and pictures in a conversation.
MOST_NAME, MOST_IMAGES = 300, 20
LOOKING = '<li class="status wait">Looking…</li>'


class Handlers:
    """What happens behind the page."""

    def __init__(self, settings: Settings, connection: Connection, turns: Turns) -> None:
        self._settings = settings
        self._connection = connection
        self._turns = turns

    async def reply(
        self,
        message: list[dict[str, Any]],
        history: list[ChatMessage],
        system_prompt: str | None = None,
        model: str | None = None,
        temperature: str | None = None,
        top_p: str | None = None,
        max_tokens: str | None = None,
        seed: str | None = None,
        reasoning_effort: str | None = None,
        request: gr.Request | None = None,
    ) -> AsyncGenerator[tuple[str, list[ChatMessage]], None]:
        """Yields the reply to the message as it grows; `message` is what `content` gives. In front of it is the receipt
        of what was sent (`view.sent`), which outlives a reply that is stopped before it begins.

        Never raises: an exception here would lock the page until it is reloaded.
        """
        receipt, shown = "", list[ChatMessage]()
        try:
            self.check("message", message_text({"content": message}), images(message))
            wished = parse_sampling_options(temperature, top_p, max_tokens, seed, reasoning_effort)
            chosen = self._turns.limits.sampling_options(wished)
            messages = from_gradio(message, history, system_prompt)
            await self.check_conversation(messages, system_prompt or "", model or "")
            told = {message_text(item) for item in history if is_note(item)}
            entered = (system_prompt, model, temperature, top_p, max_tokens, seed, reasoning_effort)
            sent = dict(zip(SETTINGS, (str(value or "") for value in entered), strict=True))
            if chosen != wished:
                sent["max_tokens"] = str(chosen.max_tokens)
            answering = self._turns.respond(visitor_of(request), model or "", messages, chosen)
            async with aclosing(answering) as turns:
                async for turn in turns:
                    receipt, shown = view.sent(turn, sent), self._shown(turn, told, sent)
                    yield receipt, shown
        except ChatError as error:
            yield receipt, [*shown, view.error_note(error)]
        except Exception:
            yield receipt, [*shown, view.error_note(log_unexpected("replying"))]

    async def arrive(self, model: str | None, query: Mapping[str, str] | None) -> AsyncGenerator[list[Any], None]:
        """Yields what `watch` does, and what a link carries (`share_link.py`): the fields that it fills in, once, in
        the order of `share_link.NAMES` without the model; and the notes on what it does not."""
        values, notes = share_link.read(query or {}, self._settings.max_message_chars)
        wanted = values.pop("model", "")
        fields = [values.get(name, gr.skip()) for name in share_link.NAMES if name not in ("model", "message")]
        fields.append({"text": values["message"], "files": []} if "message" in values else gr.skip())
        filled = gr.Dropdown(value=wanted) if wanted else gr.skip()
        told = "".join(map(view.complaint, map(view.shown, notes)))
        async with aclosing(self._looked()) as looked:
            async for status, server in looked:
                if server and wanted and not same_model(wanted, server.models):
                    told += view.complaint(view.shown(f"The link's model {as_code(wanted)} is not on this server."))
                    wanted = ""
                choice = _choice(server, wanted or model or self._settings.model) if server else filled
                yield [status, choice, *fields, told]
                fields, filled = [gr.skip()] * len(fields), gr.skip()

    async def watch(self, model: str | None) -> AsyncGenerator[tuple[str, Any], None]:
        """Yields the status line and the list of models, until the server is ready or known not to be."""
        async with aclosing(self._looked()) as looked:
            async for status, server in looked:
                yield status, _choice(server, model or self._settings.model) if server else gr.skip()

    async def _looked(self) -> AsyncGenerator[tuple[str, ServerInfo | None], None]:
        """The status line, and at last the server, if there is one."""
        asking = asyncio.ensure_future(self._connection.server_info())
        try:
            while not (await asyncio.wait([asking], timeout=TICK_SECONDS))[0]:
                yield view.status_line("wait", html.escape(self._connection.progress) + "…"), None
            server = await asking
            yield view.server_line(server), server
        except ChatError as error:
            yield view.status_line("error", view.escaped(error)), None
        except Exception:
            yield view.status_line("error", view.escaped(log_unexpected("looking at the server"))), None
        finally:
            asking.cancel()

    async def examine(self, model: str | None, request: gr.Request) -> AsyncGenerator[str, None]:
        """Yields what the doctor finds, line by line."""
        lines: list[str] = []
        try:
            validate_text("model's name", model or "", MOST_NAME)
            self._turns.limits.admit(visitor_of(request))  # it asks the model for a token
        except ChatError as error:
            yield view.complaint(view.escaped(error))
            return
        async with aclosing(check_connection(self._settings, self._connection, model or "")) as findings:
            yield view.findings([LOOKING])
            async for finding in findings:
                lines.append(view.finding_line(finding))
                yield view.findings([*lines, LOOKING])
        yield view.findings(lines)

    def content(self, message: object) -> list[dict[str, Any]]:
        """A message with files, `{"text", "files"}` as Gradio has it, as the content of one in the conversation.

        Raises InputError for a message, or the first file in it, that cannot be sent.
        """
        text, files = (message.get("text") or "", message.get("files") or []) if isinstance(message, dict) else ("", [])
        parts, blocks = [], []
        for file in files:
            match self._read(file):
                case Image() as image:
                    parts.append(view.image_part(image))
                case block:
                    blocks.append(block)
        text = "\n\n".join(filter(None, [*blocks, text]))
        self.check("message", text, images(parts))
        return [view.text_part(text), *parts] if text.strip() else parts

    def attach(self, message: dict[str, Any] | None) -> list[dict[str, str]]:
        """What comes of the files that were added to the box: each its `path`, and `image`, `text` or `complaint`."""
        told = []
        for file in (message or {}).get("files", []):
            try:
                read = self._read(file)
                came = {"image": view.data_url(read)} if isinstance(read, Image) else {"text": read}
            except InputError as error:
                came = {"complaint": view.escaped(error)}
            told.append({"path": str(file["path"]), **came})
        return told

    def _read(self, file: dict[str, Any]) -> Image | str:
        # Gradio lets no path through but those of its uploads.
        path = Path(file["path"])
        limits = self._settings.max_image_side, self._settings.max_message_chars
        try:
            return attached(file.get("orig_name") or path.name, path.read_bytes(), *limits)
        except OSError as error:
            raise InputError("A file that was added is no longer there.", "Add it again.") from error

    def check(self, label: str, text: object, pictures: Sequence[Image] = ()) -> None:
        """Raises InputError for a text, or pictures, that cannot be sent."""
        validate_text(label, text, self._settings.max_message_chars)
        if len(pictures) > MAX_IMAGES:
            count = len(pictures)
            raise InputError(f"The {label} has {count} pictures; at most {MAX_IMAGES} are sent.", "Remove some.")
        if label == "message" and not str(text).strip() and not pictures:
            raise InputError("The message is blank.", "Type something to send.")

    async def check_conversation(self, messages: Sequence[Message], system_prompt: object, model: object) -> None:
        """Raises InputError for what cannot be sent: whatever the page lets through, a program can make up."""
        self.check("system prompt", system_prompt)
        validate_text("model's name", model, MOST_NAME)
        count = sum(len(message.images) for message in messages)
        if count > MOST_IMAGES:
            raise InputError(f"The conversation has {count} pictures; at most {MOST_IMAGES} are sent.", "Begin anew.")
        if count:
            await asyncio.to_thread(self._check_images, messages)

    def _check_images(self, messages: Sequence[Message]) -> None:
        """Pictures come back from the page, or from a program: only what `attach` could have made is sent on."""
        for message in messages:
            if not all(is_clean_form(image, self._settings.max_image_side) for image in message.images):
                raise InputError("A picture of the conversation cannot be sent.", "Clear it, and add the picture anew.")

    def _shown(self, turn: Reply, told: set[str], sent: Mapping[str, str]) -> list[ChatMessage]:
        """The messages to show. A notice that the conversation has already (`told`) is not given again.

        `sent`: the settings with which it was asked for.
        """
        if turn.waited is not None:
            return [view.note("waiting", self._waiting(turn))]
        shown = [view.thinking(turn)] if turn.reasoning else []
        if turn.text:
            shown.append(view.answer(turn, sent))
        shown += [note for text in turn.notices if message_text(note := view.note("notice", f"ℹ️ {text}")) not in told]
        if turn.ending:
            shown.append(view.note("ending", f"ℹ️ {turn.ending}"))
        if turn.error:
            shown.append(view.error_note(turn.error))
        if turn.ended and turn.model and not turn.text:
            shown[-1]["metadata"]["log"] = view.receipt(turn, sent)
        return shown

    def _waiting(self, turn: Reply) -> str:
        seconds = int(turn.waited or 0)
        if turn.position:
            most = self._settings.max_visitors
            answered = "one visitor is" if most == 1 else f"{most} visitors are"
            return f"*You are number {turn.position} in line: {answered} being answered before you… {seconds} s*"
        if self._connection.ready:
            return f"*Waiting for the first token… {seconds} s*"
        progress = self._connection.progress
        return f"*The server is getting ready; your message is sent as soon as it is. {progress}… {seconds} s*"


def visitor_of(request: gr.Request | None) -> Visitor:
    """Who sent a request to the app."""
    client = request.client if request else None
    return Visitor((request and request.session_hash) or "", network(client.host if client and client.host else ""))


def _choice(server: ServerInfo, model: str | None) -> gr.Dropdown:
    """The list of models, with this one chosen, by the server's own name for it; without one the one to begin with."""
    chosen = model or (first_choice(server.models) if server.models else None)
    return gr.Dropdown(choices=server.models, value=chosen and (same_model(chosen, server.models) or chosen))
