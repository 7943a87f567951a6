"""The chat page: layout and wiring, nothing else. The only file that knows Gradio."""

import asyncio
import html
import json
import logging
import os
import sys
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.tunneling import CURRENT_TUNNELS

from llama_ui.chat import TICK, Turn, respond
from llama_ui.connection import Connection, Server
from llama_ui.doctor import Finding, examine
from llama_ui.errors import ChatError, InputError
from llama_ui.messages import from_gradio, is_note, options, said
from llama_ui.models import first_choice, same_model
from llama_ui.settings import Settings

log = logging.getLogger(__name__)

# Gradio looks for matplotlib twice in every step of a reply: where there is none, that is a search of the whole path.
if find_spec("matplotlib") is None:
    sys.modules["matplotlib"] = None  # type: ignore[assignment] # Python's own way to say that there is none
# How often Gradio sums up its events, with pandas, after every one of them by default. Nobody looks at the sums.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))

# Gradio's limit on what is under way in the whole app, its lookups and those who wait in line included: 40 by default.
EVENTS_PER_VISITOR = 10
TITLE = "Llama Stack Chat"
MESSAGE_PLACEHOLDER = "Type a message…"
# From Llama Stack's text generation guide.
EXAMPLES = [
    "Write a two-sentence poem about llama.",
    "Explain recursion in programming in simple terms.",
    "hello world, write me a 2 sentence poem about the moon",
]
PRESETS = {
    "Friendly": "You are a friendly assistant.",
    "Shakespeare": "You are shakespeare.",
    "Explainer": "You are a friendly assistant that explains complex topics simply.",
}

# Events of the page, which are nothing for other programs to call.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# Values as they are sent, without the thread and the checks that Gradio spends on each, a reply's every frame included.
RAW = PRIVATE | {"preprocess": False, "postprocess": False}
LOOKING = '<li class="status wait">Looking…</li>'

type ChatMessage = dict[str, Any]


def build(settings: Settings, connection: Connection) -> gr.Blocks:
    """The page. What it shows of the server comes from `connection`, for every visitor anew."""
    page = _Page(settings, connection)
    demo = gr.Blocks(title=TITLE, analytics_enabled=False)
    with demo:
        gr.Markdown(f"# 🦙 {TITLE}", elem_id="title")
        status = gr.HTML(_status_line("wait", "Connecting…"), elem_id="status")
        with gr.Accordion("Check the connection", open=False, elem_id="details") as details:
            findings = gr.HTML("", elem_id="findings")
        with gr.Row(elem_id="main"):  # laid out by page.css: on a narrow page the chat comes right after the prompt
            with gr.Column(elem_id="prompt"):
                system_prompt = _render_system_prompt(settings)
            with gr.Column(elem_id="settings"):
                model, refresh, sampling = _render_model(settings)
            with gr.Column(elem_id="chat"):
                complaint = gr.HTML("", elem_id="complaint", render=False)
                _Chat(
                    page.reply,
                    additional_inputs=[system_prompt, model, *sampling],
                    examples=[[text] for text in EXAMPLES],
                    cache_examples=False,  # a Space would ask the model while it is built
                    chatbot=_chatbot(),
                    textbox=_message_box(),
                    editable=True,
                    max_message_chars=settings.max_message_chars,
                    complaint=complaint,
                    api_name="chat",
                    api_description="Streams a reply. Sampling options that are left out are not sent to the server.",
                    analytics_enabled=False,
                )
                complaint.render()
        quiet = PRIVATE | {"concurrency_limit": None}
        details.expand(page.examine, [model], [findings], **quiet)
        demo.load(page.watch, [model], [status, model], **quiet)
        refresh.click(page.watch, [model], [status, model], **quiet)
        demo.load(None, js="chat.focus", **PRIVATE)
    for kind in {type(block) for block in demo.blocks.values()}:
        # Asked for with every visitor's arrival, for each component: a third of what an arrival costs.
        vars(kind)["__init__"].__signature__ = signature(kind.__init__)
    return demo


def launch(demo: gr.Blocks, settings: Settings) -> str:
    """Serves the page in the background. Returns its address. Raises OSError with a sentence where it cannot listen."""
    try:
        _, url, _ = demo.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=settings.share,
            prevent_thread_lock=True,
            quiet=True,
            max_threads=EVENTS_PER_VISITOR * settings.max_visitors + 100,
            show_error=False,
            run_history=False,  # it would list what visitors sent
            ssr_mode=False,
            footer_links=["api", "settings"],
            theme=_theme(),
            head=f"<script>{Path(__file__).with_name('page.js').read_text()}</script>",
            css=(Path(__file__).with_name("page.css")).read_text(),
        )
    except OSError as error:
        if settings.port is None:
            raise OSError("no free port was found from 7860 on; choose one with --port.") from error
        raise OSError(
            f"port {settings.port} on {settings.host} is in use or cannot be listened on; "
            "choose another with --port (GRADIO_SERVER_PORT)."
        ) from error
    demo.limiter = None  # which `max_threads` set, too: as few threads as Gradio has by default suffice
    return url


def close_tunnels() -> None:
    """Ends the child processes behind public links."""
    for tunnel in CURRENT_TUNNELS:
        tunnel.kill()


def _theme() -> gr.themes.Base:
    # Fonts that every system has: a web font would be asked of another server.
    return gr.themes.Default(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )


def _render_system_prompt(settings: Settings) -> gr.Textbox:
    system_prompt = gr.Textbox(
        settings.system_prompt,
        label="System prompt",
        placeholder="None. The model behaves as it was trained.",
        lines=2,
        max_lines=10,
        elem_id="system-prompt",
    )
    with gr.Row(elem_id="presets"):
        for label, prompt in PRESETS.items():
            # In the browser alone: no round trip, and nothing for other programs to call.
            gr.Button(label, size="sm", min_width=60).click(
                None, None, system_prompt, js=f"() => {json.dumps(prompt)}", **PRIVATE
            )
    return system_prompt


def _render_model(settings: Settings) -> tuple[gr.Dropdown, gr.Button, list[gr.Textbox]]:
    model = gr.Dropdown(
        [settings.model] if settings.model else [],
        value=settings.model,
        label="Model",
        info="Choose one, or type an id.",
        allow_custom_value=True,
        interactive=True,
        elem_id="model",
    )
    refresh = gr.Button("Refresh models", size="sm", elem_id="refresh")
    with gr.Accordion("Sampling", open=False), gr.Row(elem_id="sampling"):
        # Text boxes, since a number box that is left alone sends 0 (Gradio 6.31).
        sampling = [
            gr.Textbox(label=label, placeholder="default", max_lines=1, min_width=110)
            for label in ("Temperature", "Top p", "Max tokens", "Seed")
        ]
    return model, refresh, sampling


def _chatbot() -> gr.Chatbot:
    return gr.Chatbot(
        label="Conversation",
        show_label=False,
        height="var(--conversation-height)",
        buttons=["copy", "copy_all"],
        placeholder="<b>Say something, or begin with an example.</b>",
        elem_id="conversation",
    )


def _message_box() -> gr.Textbox:
    return gr.Textbox(
        placeholder=MESSAGE_PLACEHOLDER,
        label="Message",
        lines=1,
        max_lines=8,
        submit_btn=True,
        stop_btn=True,
        autofocus=False,  # it would scroll a narrow page; FOCUS does not
        scale=7,
        elem_id="message",
    )


class _Page:
    """What happens behind the page."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection

    async def reply(
        self,
        message: str,
        history: list[ChatMessage],
        system_prompt: str | None = None,
        model: str | None = None,
        temperature: str | None = None,
        top_p: str | None = None,
        max_tokens: str | None = None,
        seed: str | None = None,
    ) -> AsyncGenerator[list[ChatMessage], None]:
        """Yields the reply as it grows. Never raises: an exception here would lock the page until it is reloaded."""
        shown: list[ChatMessage] = []
        try:
            for label, text in (("message", message), ("system prompt", system_prompt or "")):
                self._check_text(label, text)
            if not message.strip():
                raise InputError("The message is blank.", "Type something to send.")
            sampling = options(temperature, top_p, max_tokens, seed)
            messages = from_gradio(message, history, system_prompt)
            told = {said(item) for item in history if is_note(item)}
            async with aclosing(respond(self._connection, model or "", messages, sampling)) as turns:
                async for turn in turns:
                    shown = self._shown(turn, told)
                    yield shown
        except ChatError as error:
            yield [*shown, _error_note(error)]
        except Exception:
            reference = uuid.uuid4().hex[:8]
            log.exception("Error %s while replying", reference)
            yield [*shown, _note("error", f"⚠️ Something went wrong in this app (error {reference}). Try again.")]

    async def watch(self, model: str | None) -> AsyncGenerator[tuple[str, Any], None]:
        """Yields the status line and the list of models, until the server is ready or known not to be."""
        asking = asyncio.ensure_future(self._connection.server())
        try:
            while not (await asyncio.wait([asking], timeout=TICK))[0]:
                yield _status_line("wait", html.escape(self._connection.progress) + "…"), gr.skip()
            server = await asking
            chosen = model or self._settings.model or (first_choice(server.models) if server.models else None)
            if chosen and chosen not in server.models:
                chosen = same_model(chosen, server.models) or chosen
            yield _server_line(server), gr.Dropdown(choices=server.models, value=chosen)
        except ChatError as error:
            yield _status_line("error", _escaped(error)), gr.skip()
        except Exception:
            log.exception("Error while looking at the server")
            yield _status_line("error", "The server's answer could not be read; the log says more."), gr.skip()
        finally:
            asking.cancel()

    async def examine(self, model: str | None) -> AsyncGenerator[str, None]:
        """Yields what the doctor finds, line by line."""
        lines: list[str] = []
        async with aclosing(examine(self._settings, self._connection, model or "")) as findings:
            yield _findings([LOOKING])
            async for finding in findings:
                lines.append(_finding_line(finding))
                yield _findings([*lines, LOOKING])
        yield _findings(lines)

    def _check_text(self, label: str, text: str) -> None:
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(f"The {label} has characters that cannot be sent.", "Remove them.")
        most = self._settings.max_message_chars
        if len(text) > most:
            raise InputError(f"The {label} has {len(text):,} characters; at most {most:,} are sent.", "Shorten it.")

    def _shown(self, turn: Turn, told: set[str]) -> list[ChatMessage]:
        """The messages to show. A notice that the conversation has already (`told`) is not given again."""
        if turn.waited is not None:
            return [_note("waiting", self._waiting(turn))]
        shown = [_message("assistant", turn.text)] if turn.text else []
        shown += [note for text in turn.notices if said(note := _note("notice", f"ℹ️ {text}")) not in told]
        if turn.ending:
            shown.append(_note("ending", f"ℹ️ {turn.ending}"))
        if turn.error:
            shown.append(_error_note(turn.error))
        return shown

    def _waiting(self, turn: Turn) -> str:
        seconds = int(turn.waited or 0)
        if turn.place:
            most = self._settings.max_visitors
            answered = "one visitor is" if most == 1 else f"{most} visitors are"
            return f"*You are number {turn.place} in line: {answered} being answered before you… {seconds} s*"
        if turn.reasoning:
            return f"*The model is thinking… {seconds} s*"
        if self._connection.ready:
            return f"*Waiting for the first token… {seconds} s*"
        progress = self._connection.progress
        return f"*The server is getting ready; your message is sent as soon as it is. {progress}… {seconds} s*"


class _Chat(gr.ChatInterface):
    """ChatInterface, wired so that a message costs one request to the app; what a page can do alone, page.js does.

    The original's events send six, keep the conversation on the server, too, leave the box locked for good after some
    failures, and have no Stop for the reply to an edited message (Gradio 6.31).
    """

    def __init__(self, *args: Any, max_message_chars: int, complaint: gr.HTML, **kwargs: Any) -> None:
        """`complaint`: where it is said why a message is not sent."""
        self._max_message_chars = max_message_chars
        self._complaint = complaint
        super().__init__(*args, **kwargs)

    def _setup_events(self) -> None:
        most, box, shown = self._max_message_chars, self.textbox, [self.textbox, self.chatbot]
        # Nothing is among its outputs, which would be covered with the word "Error" when it refuses.
        checked = box.submit(None, box, None, js=f"(text) => chat.check(text, {most})", **PRIVATE)
        checked.failure(None, box, self._complaint, js=f"(text) => chat.complain(text, {most})", **PRIVATE)
        asked = checked.success(None, shown, [*shown, self._complaint], js="chat.ask", **PRIVATE)
        retried = self.chatbot.retry(None, self.chatbot, self.chatbot, js="chat.retry", **PRIVATE)
        edited = self.chatbot.edit(_edited, self.chatbot, self.chatbot, queue=False, **RAW)
        example = self.chatbot.example_select(_asked, None, self.chatbot, queue=False, **RAW)
        replies = []
        for begun in (asked, retried, edited, example):
            reply = begun.success(
                self._answer,
                [self.chatbot, *self.additional_inputs],
                self.chatbot,
                concurrency_limit=None,  # by default one visitor waits for the other
                **RAW,
            )
            begun.success(None, None, box, js="chat.lock", **PRIVATE)  # while the request is on its way
            for ended in (reply.then, reply.failure):
                ended(None, self.chatbot, box, js="chat.ended", **PRIVATE)
            replies.append(reply)
        box.stop(None, self.chatbot, self.chatbot, js="chat.stopped", cancels=replies, **PRIVATE)
        self.chatbot.undo(None, self.chatbot, shown, js="chat.undo", **PRIVATE)
        self.fake_api_btn.click(
            gr.ChatInterface._api_wrapper(self, self.fn, self._stream_fn),
            [box, self.chatbot_state, *self.additional_inputs],
            [self.api_response, self.chatbot_state],
            api_name=self.api_name,
            api_description=self.api_description,
            concurrency_limit=None,
            postprocess=False,
        )

    async def _answer(self, history: list[ChatMessage], *settings: Any) -> AsyncGenerator[list[ChatMessage], None]:
        """Yields the conversation, which ends with a message of the user, with the reply to it."""
        if not history:
            return  # a program's doing; the page has shown a message by then
        async with aclosing(self.fn(said(history[-1]), history[:-1], *settings)) as replies:
            async for reply in replies:
                yield [*history, *reply]


def _edited(history: list[ChatMessage], edit: gr.EditData) -> list[ChatMessage]:
    index = edit.index[0] if isinstance(edit.index, (list, tuple)) else edit.index
    return [*history[:index], _message("user", edit.value)]


def _asked(example: gr.SelectData) -> list[ChatMessage]:
    return [_message("user", example.value["text"])]


def _message(role: str, text: str) -> ChatMessage:
    """In the form in which Gradio's page holds it. As a plain string a text would lose its indentation."""
    return {"role": role, "metadata": None, "content": [{"type": "text", "text": text}], "options": None}


def _note(kind: str, text: str) -> ChatMessage:
    """A message of the page itself. By its `metadata.id` it is kept out of what the server gets."""
    return _message("assistant", text) | {"metadata": {"id": kind}}


def _error_note(error: ChatError) -> ChatMessage:
    return _note("error", f"⚠️ {error}")


def _status_line(state: str, text: str) -> str:
    """`text` is HTML; `state` is "ready", "wait" or "error"."""
    return f'<p class="status {state}" role="status">{text}</p>'


def _escaped(error: ChatError) -> str:
    return html.escape(str(error)).replace("`", "")


def _finding_line(finding: Finding) -> str:
    text = html.escape(f"{finding.message} {finding.fix}".replace("`", ""))
    return f'<li class="status {"ready" if finding.passed else "error"}"><b>{finding.check}</b> {text}</li>'


def _findings(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(lines)}</ul>"


def _server_line(server: Server) -> str:
    count = len(server.models)
    models = "1 chat model" if count == 1 else f"{count or 'no'} chat models"
    if server.local:
        return _status_line(
            "ready",
            f"<b>Local stack</b>, {html.escape(server.name)} with a tiny demonstration model: it is real, and says "
            "foolish things. For a real one start the app with <code>--base-url URL</code>.",
        )
    return _status_line("ready", f"<b>{html.escape(server.name)}</b> at {html.escape(server.url)}, {models}")
