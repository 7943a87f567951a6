"""What happens behind the other tabs of the page, and behind the conversations that are kept and taken along."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from llama_ui.core.errors import ChatError, InputError
from llama_ui.core.logs import log_unexpected
from llama_ui.core.messages import Message, from_gradio, parse_sampling_options
from llama_ui.hosting.limits import Visitor
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web import comparison, view
from llama_ui.web.comparison import Column
from llama_ui.web.handlers import Handlers, visitor_of
from llama_ui.web.view import ChatMessage
from llama_ui.workbench import export, snippet
from llama_ui.workbench.compare import Variant, diff_words, replay
from llama_ui.workbench.export import SETTINGS

NOTHING_SENT = "Send a message: what was sent for it then stands here."


class TabHandlers:
    """What happens behind the other tabs. `entered` are the settings in the order of `export.SETTINGS`."""

    def __init__(self, settings: Settings, connection: Connection, page: Handlers, turns: Turns) -> None:
        self._settings = settings
        self._connection = connection
        self._turns = turns
        self._page = page

    async def code(self, history: list[ChatMessage], *entered: Any) -> tuple[str, str, str, str]:
        """The last turn's request as Python, curl and JSON, and the pictures that they read, as HTML."""
        asked = next((index for index in reversed(range(len(history))) if history[index]["role"] == "user"), None)
        if asked is None:
            return f"# {NOTHING_SENT}", f"# {NOTHING_SENT}", "", ""
        sent = _settings(entered)
        for message in history[asked:]:
            sent |= view.receipt_of(message).sent
        try:
            messages = from_gradio(history[asked]["content"], history[:asked], sent["system_prompt"])
            chosen = parse_sampling_options(*(sent[name] for name in SETTINGS[2:]))
            stack = await self._connection.client()
            identity, model = await asyncio.gather(stack.last_identity(), self._connection.resolve_model(sent["model"]))
            code = snippet.code(stack.base_url, identity.version, identity.dialect, model, messages, chosen)
        except ChatError as error:
            return f"# {error}", f"# {error}", "", ""
        return code.python, code.curl, code.json, view.pictures(code.pictures)

    def exported(self, wanted: Mapping[str, str], history: list[ChatMessage], *entered: Any) -> dict[str, str]:
        """A file of the conversation. `wanted`: its `kind`, "json" or "md", and the conversation's `title`."""
        kind, write = ("json", export.to_json) if wanted["kind"] == "json" else ("md", export.to_markdown)
        return {"kind": kind, "text": write(history, _settings(entered), wanted["title"])}

    def imported(self, file: Mapping[str, Any] | None) -> dict[str, Any]:
        """What is in a file that was uploaded: `title`, `settings`, `history`; or a `complaint`."""
        try:
            # Gradio lets no path through but those of its uploads.
            content = Path((file or {})["path"]).read_bytes()
            read = export.from_json(content, self._settings.max_image_side)
        except (OSError, KeyError):
            return {"complaint": "The file is no longer there. Import it again."}
        except InputError as error:
            return {"complaint": view.escaped(error)}
        return {
            "title": read.title,
            "settings": [read.settings[name] for name in SETTINGS],
            "history": read.history,
        }

    async def others(self) -> Any:
        """The models that can be chosen as the second one."""
        try:
            return gr.Dropdown(choices=(await self._connection.server_info()).models)
        except ChatError:  # the status line says why
            return gr.skip()

    async def replay(self, history: list[ChatMessage], request: gr.Request, *entered: Any) -> AsyncGenerator[str, None]:
        """Yields the conversation as it was, beside its messages answered anew with the settings as they are now."""
        said = [message for message in from_gradio(None, history, None) if message.role == "user"]
        before = comparison.before(history, _settings(entered)["system_prompt"])
        async for shown in self._compared(visitor_of(request), said, [before], entered, [""]):
            yield shown

    async def ask_both(
        self, message: str, second: str, history: list[ChatMessage], request: gr.Request, *entered: Any
    ) -> AsyncGenerator[str, None]:
        """Yields two models' answers to the message; to those of the conversation where it is blank."""
        said = [item for item in from_gradio(None, [] if message.strip() else history, None) if item.role == "user"]
        said += from_gradio(message, [], None)
        try:
            if not second:
                raise InputError("There is only one model.", "Choose a second one.")
            if message.strip():
                self._page.check("message", message)
        except InputError as error:
            yield view.complaint(view.escaped(error))
            return
        async for shown in self._compared(visitor_of(request), said, [], entered, ["", second]):
            yield shown

    async def _compared(
        self,
        visitor: Visitor,
        said: list[Message],
        columns: list[Column],
        entered: tuple[Any, ...],
        models: list[str],
    ) -> AsyncGenerator[str, None]:
        """`models`: one for each side that answers anew; blank: the one of the settings."""
        if not said:
            yield view.complaint("There is no message to answer yet: chat first, or type one here.")
            return
        try:
            sent = _settings(entered)
            chosen = self._turns.limits.sampling_options(parse_sampling_options(*(sent[name] for name in SETTINGS[2:])))
            names = [await self._connection.resolve_model(model or sent["model"]) for model in models]
            for name in names:
                await self._page.check_conversation(said, sent["system_prompt"], name)
            sides = [Variant(name, sent["system_prompt"], chosen) for name in names]
            async with aclosing(replay(partial(self._turns.respond, visitor), sides, said)) as news:
                async for _ in news:
                    yield comparison.table(said, [*columns, *map(comparison.column, sides)])
            shown = [*columns, *map(comparison.column, sides)]
            yield await asyncio.to_thread(comparison.table, said, shown, diff_words)
        except ChatError as error:
            yield view.complaint(view.escaped(error))
        except Exception:
            yield view.complaint(view.escaped(log_unexpected("comparing")))


def _settings(entered: tuple[Any, ...]) -> dict[str, str]:
    return dict(zip(SETTINGS, (str(value or "") for value in entered), strict=True))
