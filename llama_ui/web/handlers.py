"""The event handlers of the chat, and the checks of what a page or a program sends that all handlers share."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from llama_ui.core.conversation import SETTINGS, ChatSettings, Reply, Turn
from llama_ui.core.errors import ChatError, InputError, UnknownModel, Unsendable
from llama_ui.core.images import MAX_IMAGES, is_clean_form
from llama_ui.core.logs import log_unexpected
from llama_ui.core.messages import Image, validate_text
from llama_ui.core.option_values import as_text
from llama_ui.core.reply import TICK_SECONDS, finish
from llama_ui.core.text import as_code
from llama_ui.hosting.limits import Visitor, network
from llama_ui.hosting.logins import account
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection, ServerInfo
from llama_ui.llama_stack.models import first_choice, same_model
from llama_ui.local_stack.catalog import BETTER_MODELS
from llama_ui.settings import Settings
from llama_ui.web import html
from llama_ui.web.attachments import read_attachment
from llama_ui.web.history import ChatMessage, Receipts, error_note, note, parse, render_reply, with_request
from llama_ui.workbench import better_models, share_link
from llama_ui.workbench.check import CheckResult, check_connection
from llama_ui.workbench.continuation import continued

MAX_MODEL_CHARS = 300
MAX_CONVERSATION_IMAGES = 20


class BaseHandlers:
    """What all event handlers share: they read and check inputs, and raise `InputError` for what cannot be sent."""

    def __init__(self, settings: Settings, connection: Connection, turns: Turns) -> None:
        self._settings = settings
        self._connection = connection
        self._turns = turns

    def read_settings(self, values: Sequence[object]) -> ChatSettings:
        """Reads the page's settings, in the order of `SETTINGS`, and applies the app's limits to them."""
        validate_text("system prompt", values[0] or "", self._settings.max_message_chars)
        validate_text("model's name", values[1] or "", MAX_MODEL_CHARS)
        settings = ChatSettings.from_texts(form_texts(values))
        if settings.options.response_format:
            from llama_ui.workbench.schema import check_schema  # imports jsonschema, which takes 0.1 s

            check_schema(settings.options)
        return replace(settings, options=self._turns.limits.sampling_options(settings.options))

    def read_message(self, message: object) -> Turn:
        """Reads a program's message with files, `{"text", "files"}`. Text files become part of its text."""
        text, files = (message.get("text") or "", message.get("files") or []) if isinstance(message, dict) else ("", [])
        contents = [self.read_file(file) for file in files]
        blocks = [content for content in contents if isinstance(content, str)]
        images = tuple(content for content in contents if isinstance(content, Image))
        turn = Turn("\n\n".join(filter(None, [*blocks, text])), images)
        self.check_message(turn)
        return turn

    def read_file(self, file: dict[str, Any]) -> Image | str:
        """Reads an uploaded file."""
        path = Path(file["path"])  # Gradio refuses every path but those of its uploads
        limits = self._settings.max_image_side, self._settings.max_message_chars
        try:
            return read_attachment(file.get("orig_name") or path.name, path.read_bytes(), *limits)
        except OSError as error:
            raise InputError("A file of the message is no longer there.", "Add it again.") from error

    def check_message(self, turn: Turn) -> None:
        """Checks the user message that a reply is requested for."""
        validate_text("message", turn.text, self._settings.max_message_chars)
        if (count := len(turn.images)) > MAX_IMAGES:
            raise InputError(f"The message has {count} pictures; at most {MAX_IMAGES} are sent.", "Remove some.")
        if turn.replies or not turn.has_message:
            raise InputError("The message is blank.", "Type something to send.")

    async def check_images(self, turns: Sequence[Turn]) -> None:
        """Checks the images of a conversation: a page, or a program, may send images that no upload produced."""
        images = [image for turn in turns for image in turn.images]
        if (count := len(images)) > MAX_CONVERSATION_IMAGES:
            sentence = f"The conversation has {count} pictures; at most {MAX_CONVERSATION_IMAGES} are sent."
            raise InputError(sentence, "Start a new chat.")
        for image in images:
            if not await asyncio.to_thread(is_clean_form, image, self._settings.max_image_side):
                raise InputError("A picture in the conversation cannot be sent.", "Start a new chat, and add it again.")


class Handlers(BaseHandlers):
    """The event handlers of the chat."""

    async def reply(
        self,
        message: ChatMessage,
        history: list[ChatMessage],
        system_prompt: str | None = None,
        model: str | None = None,
        temperature: str | None = None,
        top_p: str | None = None,
        max_tokens: str | None = None,
        seed: str | None = None,
        reasoning_effort: str | None = None,
        streaming: str | None = None,
        response_format: str | None = None,
        top_logprobs: str | None = None,
        n: str | None = None,
        stop: str | None = None,
        frequency_penalty: str | None = None,
        presence_penalty: str | None = None,
        thinking: str | None = None,
        extra_body: str | None = None,
        examples: str | None = None,
        request: gr.Request | None = None,
    ) -> AsyncGenerator[list[ChatMessage], None]:
        """Yields the user message, and after it the reply as it grows. The parameters' names are a public API.

        Never raises: an exception here would lock the page until it is reloaded.
        """
        values = [system_prompt, model, temperature, top_p, max_tokens, seed, reasoning_effort, streaming]
        values += [response_format, top_logprobs, n, stop, frequency_penalty, presence_penalty, thinking, extra_body]
        async with aclosing(self.answer(message, history, [*values, examples], request)) as updates:
            async for messages, _ in updates:
                yield messages

    async def answer(
        self,
        message: ChatMessage,
        history: list[ChatMessage],
        values: Sequence[object],
        request: gr.Request | None,
        prefix: str = "",
    ) -> AsyncGenerator[tuple[list[ChatMessage], Reply], None]:
        """Yields the user message with the reply to it, and that reply, which goes on from `prefix`. Never raises."""
        messages = [message]
        try:
            settings = self.read_settings(values)
            conversation = parse([*history, message], settings.system_prompt, settings.examples)
            try:
                self.check_message(conversation.turns[-1])
                await self.check_images(conversation.turns)
            except InputError as error:
                raise Unsendable(error.sentence, error.fix) from error
            seen = {notice for turn in conversation.turns for reply in turn.replies for notice in reply.notices}
            sent, visitor, receipts = None, visitor_of(request), Receipts()
            if prefix:
                conversation = conversation.continued(prefix)
            replies = self._turns.respond(visitor, settings.model, conversation.messages(), settings.options)
            async with aclosing(replies):
                async for reply in replies:
                    reply = continued(reply, prefix) if prefix else reply
                    if reply.ended and settings.options.response_format:
                        from llama_ui.workbench.schema import with_verdict  # late, as above

                        reply = await with_verdict(reply, settings.options)
                    if reply.model and not sent:
                        sent = replace(settings, model=reply.model)
                        message = with_request(message, sent)
                    notices = tuple(notice for notice in reply.notices if notice not in seen)
                    reply = replace(reply, request=sent, notices=notices)
                    messages = [message, *self._render(reply, receipts)]
                    yield messages, reply
        except ChatError as error:
            yield [*messages, *render_reply(finish(Reply(), error))], Reply()
        except Exception:
            yield [*messages, error_note(log_unexpected("replying"))], Reply()

    def _render(self, reply: Reply, receipts: Receipts) -> list[ChatMessage]:
        if reply.waited is None or reply.text:
            return render_reply(reply, receipts)
        waiting = f"The server is getting ready; your message is sent as soon as it is. {self._connection.progress}"
        if reply.position:
            limit = self._settings.max_visitors
            active = "one visitor is" if limit == 1 else f"{limit} visitors are"
            waiting = f"You are number {reply.position} in line: {active} being answered before you"
        elif self._connection.ready:
            waiting = "Waiting for the first token"
        return [note("waiting", f"*{waiting}… {int(reply.waited)} s*")]

    def attach(self, message: dict[str, Any] | None) -> dict[str, dict[str, list[str]]]:
        """Reads the box's files: path -> its `images` (`data:` URLs), `texts` and `problems` (HTML), one in all."""
        results = {}
        for file in (message or {}).get("files", []):
            result: dict[str, list[str]] = {"images": [], "texts": [], "problems": []}
            try:
                content = self.read_file(file)
                if isinstance(content, Image):
                    result["images"].append(content.data_url)
                else:
                    result["texts"].append(content)
            except InputError as error:
                result["problems"].append(escape(html.without_markdown(error)))
            results[str(file["path"])] = result
        return results

    async def arrive(self, model: str | None, query: Mapping[str, str] | None) -> AsyncGenerator[list[Any], None]:
        """Yields `html.server` until the server is ready or unavailable, the values of a link in the order of
        `share_link.NAMES`, and notes on what was left out of it.
        """
        values, notes = share_link.read(query or {}, self._settings.max_message_chars)
        linked = values.get("model", "")
        fields = [values.get(name, gr.skip()) for name in SETTINGS]
        fields.append({"text": values["message"], "files": []} if "message" in values else gr.skip())
        async with aclosing(self._server_status()) as updates:
            async for *parts, server in updates:
                if server and linked and not same_model(linked, server.models):
                    notes.append(f"The link's model {as_code(linked)} is not on this server.")
                    linked = ""
                # Only where it changes: another one may have been chosen since.
                if server and (chosen := _choose(server, linked or model or self._settings.model)) != model:
                    fields[SETTINGS.index("model")] = chosen
                yield [*parts, *fields, html.render("alert", sentences=notes) or gr.skip()]
                fields = [gr.skip()] * len(fields)

    async def _server_status(self) -> AsyncGenerator[tuple[str, str, str, ServerInfo | None], None]:
        """Yields `html.server`, and in the end the server if there is one."""
        looking = asyncio.ensure_future(self._connection.server_info())
        try:
            while not (await asyncio.wait([looking], timeout=TICK_SECONDS))[0]:
                yield *html.server("wait", "Connecting…", f"{self._connection.progress}…"), None
            server = await looking
            name = f"Local stack, {server.name}" if server.local else server.name
            models = better_models.offered(self._connection)
            yield *html.server("ready", name, html.describe(server), server, models), server
        except ChatError as error:
            yield *html.server("error", "No server", error), None
        except Exception:
            yield *html.server("error", "No server", log_unexpected("looking at the server")), None
        finally:
            looking.cancel()

    async def use_local_model(self, name: str) -> AsyncGenerator[str, None]:
        """Yields the progress of a download, after which the local stack uses the model; or why it does not."""
        label = BETTER_MODELS[name].label
        try:
            yield html.render("download", label=label, done=0, total=0)
            async with aclosing(better_models.use(self._connection, name)) as steps:
                async for done, total in steps:
                    yield html.render("download", label=label, done=done, total=total)
            yield ""
        except ChatError as error:
            yield html.render("alert", sentences=[error])
        except Exception:
            yield html.render("alert", sentences=[log_unexpected("changing the model")])

    def show_account(self, request: gr.Request) -> str:
        """Who is signed in, or the link to sign in."""
        return html.render("account", account=account_of(request))

    async def check(self, model: str | None, request: gr.Request) -> AsyncGenerator[str, None]:
        """Yields the results of a connection check, one by one."""
        results: list[CheckResult] = []
        try:
            validate_text("model's name", model or "", MAX_MODEL_CHARS)
            self._turns.limits.admit(visitor_of(request))  # the check requests a token from the model
        except ChatError as error:
            yield html.render("alert", sentences=[error])
            return
        yield html.render("check_results", results=results)
        async with aclosing(check_connection(self._settings, self._connection, model or "")) as checks:
            async for result in checks:
                results.append(result)
                yield html.render("check_results", results=results)
        yield html.render("check_results", results=results, complete=True)


def form_texts(values: Sequence[object]) -> dict[str, str]:
    """The page's settings, in the order of `SETTINGS`, as texts by their names. Those that are missing are blank."""
    return dict.fromkeys(SETTINGS, "") | {name: as_text(value) for name, value in zip(SETTINGS, values, strict=False)}


def account_of(request: gr.Request | None) -> str:
    """The Hugging Face account of a visitor; blank if they did not sign in."""
    inner = request and getattr(request, "request", None)
    return account(inner.scope) if inner else ""


def visitor_of(request: gr.Request | None) -> Visitor:
    """The visitor who sent a request to the app: the account where there is one, else the session."""
    if name := account_of(request):
        return Visitor(name, name)
    client = request.client if request else None
    return Visitor((request and request.session_hash) or "", network(client.host if client and client.host else ""))


def _choose(server: ServerInfo, model: str | None) -> str:
    """The server's name for this model; without one, the server's first choice, which is blank where none chats."""
    with suppress(UnknownModel):
        model = model or first_choice(server.models)
    return (model and same_model(model, server.models)) or model or ""
