"""The event handlers of Inspect and of comparisons, and of exported and imported conversations."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import gradio as gr

from llama_ui.core.conversation import SETTINGS, ChatSettings, Conversation, Turn
from llama_ui.core.errors import ChatError, InputError
from llama_ui.core.logs import log_unexpected
from llama_ui.core.option_values import examples
from llama_ui.web import html
from llama_ui.web.handlers import BaseHandlers, form_texts, visitor_of
from llama_ui.web.history import ChatMessage, parse, render
from llama_ui.workbench import export, snippet
from llama_ui.workbench.compare import Variant, replay
from llama_ui.workbench.details import as_lines

_FORMATS = {"json": (export.to_json, "application/json"), "md": (export.to_markdown, "text/markdown")}


class TabHandlers(BaseHandlers):
    """The event handlers of Inspect, comparisons and files. `values` are the settings, in the order of `SETTINGS`."""

    async def code(
        self, subject: object, _: object, history: list[ChatMessage], *values: Any
    ) -> tuple[str, str, str, str, str]:
        """The request of the last message as Python, curl and JSON, links to its images, and a caption, all as HTML.

        `subject` is "reply" (the message has one), "message" (it would be sent next), "example" (none is typed yet) or
        "loop": then the Python is the guide's conversation loop with the current settings.
        """
        conversation = parse(history)
        try:
            request = conversation.until_last_message()
            if request is None:
                raise InputError("Send a message to see its code.", "")
            turn = conversation.turns[len(request.turns) - 1]
            sent = (turn.reply and turn.reply.request) or turn.request or self.read_settings(values)
            messages = replace(request, system_prompt=sent.system_prompt, examples=sent.examples).messages()
            stack = await self._connection.client()
            lookup = stack.discovery.identity(or_last=True)
            identity, model = await asyncio.gather(lookup, self._connection.resolve_model(sent.model))
            server = stack.base_url, identity.version, identity.dialect, model
            code = snippet.code(*server, messages, sent.options)
            python = code.python_parts
            if subject == "loop":
                python = (snippet.loop(*server, sent.system_prompt, sent.options, sent.examples), "", "")
        except ChatError as error:
            return (
                html.render("alert", sentences=[error]),
                "",
                "",
                "",
                html.render("code_caption", subject=subject, text=""),
            )
        texts = (python, code.curl_parts, code.json_parts)
        forms = [html.render("code", parts=parts, folded=code.folded) for parts in texts]
        caption = html.render("code_caption", subject=subject, text=turn.text)
        return forms[0], forms[1], forms[2], html.render("download_links", files=code.images), caption

    def check_settings(self, *values: Any) -> dict[str, str]:
        """What is wrong with each of the settings, a sentence each."""
        problems = {}
        for place, name in enumerate(SETTINGS):
            try:
                self.read_settings([value if index == place else "" for index, value in enumerate(values)])
            except InputError as error:
                problems[name] = html.without_markdown(error)
        return problems

    def export_file(self, form: Mapping[str, Any], history: list[ChatMessage], *values: Any) -> dict[str, str]:
        """The conversation as a file's `name`, `type` and `text`; or an `error`.

        `form` has the `kind`, "json" or "md", the conversation's `title`, and the `details` of its replies.
        """
        if not history:
            return {"error": "There is no conversation to export yet."}
        write, media_type = _FORMATS[form["kind"]]
        settings = form_texts(values)
        try:
            given = examples(settings["examples"])
        except InputError as error:
            return {"error": html.without_markdown(error)}
        conversation = parse(history, settings["system_prompt"], given, form.get("details") or {})
        text = write(conversation, settings, form["title"])
        name = re.sub(r"[\W_]+", "-", form["title"].lower()).strip("-")[:50] or "conversation"
        return {"name": f"{name}.{form['kind']}", "type": media_type, "text": text}

    def import_file(self, file: Mapping[str, Any] | None) -> dict[str, Any]:
        """The conversation in an uploaded file as `title`, `settings` and `history`, with a `note`; or an `error`."""
        try:
            content = Path((file or {})["path"]).read_bytes()  # Gradio refuses every path but those of its uploads
            chat = export.from_json(content, self._settings.max_image_side)
        except (OSError, KeyError):
            return {"error": "The file is no longer there. Import it again."}
        except InputError as error:
            return {"error": html.without_markdown(error)}
        settings = [chat.settings[name] for name in SETTINGS]
        counted = "1 tool message was" if chat.skipped == 1 else f"{chat.skipped:,} tool messages were"
        note = f"{counted} skipped." if chat.skipped else ""
        imported = {"title": chat.title, "settings": settings, "history": render(chat.conversation), "note": note}
        numbers = accumulate(int(turn.has_message) for turn in chat.conversation.turns)
        replies = [(number, turn.reply) for number, turn in zip(numbers, chat.conversation.turns, strict=True)]
        return imported | {"details": {str(number): as_lines(reply.tokens) for number, reply in replies if reply}}

    async def replay(self, history: list[ChatMessage], request: gr.Request, *values: Any) -> AsyncGenerator[str, None]:
        """Yields the conversation as it was, beside its messages answered again with the current settings."""
        conversation = parse(history, form_texts(values)["system_prompt"])
        questions, old = _questions(conversation), before(conversation)
        try:
            if not questions:
                raise InputError("Nothing to replay yet.", "Send a message first.")
            self.check_message(questions[-1])
            await self.check_images(questions)
            settings = self.read_settings(values)
            new = Variant(await self._connection.resolve_model(settings.model), settings)
            respond = partial(self._turns.respond, visitor_of(request))
            async with aclosing(replay(respond, [new], questions)) as news:
                async for _ in news:
                    yield html.comparison(questions, [old, new])
            yield await asyncio.to_thread(html.comparison, questions, [old, new], mark_differences=True)
        except ChatError as error:
            yield html.render("alert", sentences=[error])
        except Exception:
            yield html.render("alert", sentences=[log_unexpected("comparing")])

    def differences(self, first: list[ChatMessage], second: list[ChatMessage]) -> str:
        """Two answers to the same message, with the words that differ marked."""
        turns = [parse(history).turns for history in (first, second)]
        columns = [Variant("", ChatSettings(), list(turn[:1])) for turn in turns]
        return html.comparison(_questions(parse(first))[:1], columns, mark_differences=True)


def _questions(conversation: Conversation) -> list[Turn]:
    """The user messages of a conversation."""
    return [replace(turn, replies=()) for turn in conversation.exchanges()]


def before(conversation: Conversation) -> Variant:
    """The conversation as it was, with the settings of its last reply as far as they are known."""
    turns = conversation.exchanges()
    requests = [turn.reply.request for turn in turns if turn.reply and turn.reply.request]
    settings = requests[-1] if requests else ChatSettings(conversation.system_prompt)
    return Variant(f"Before: {settings.model}" if settings.model else "Before", settings, turns)
