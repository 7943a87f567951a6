"""The chat page: layout and wiring, nothing else. The only file that knows Gradio."""

import asyncio
import html
import json
import logging
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import BlocksConfig
from gradio.context import get_blocks_context
from gradio.events import Dependency
from gradio.tunneling import CURRENT_TUNNELS

from llama_ui.chat import TICK, Turn, respond
from llama_ui.connection import Connection, Server
from llama_ui.doctor import Finding, examine
from llama_ui.errors import ChatError, InputError
from llama_ui.messages import from_gradio, is_note, options, said
from llama_ui.models import first_choice, same_model
from llama_ui.settings import Settings

log = logging.getLogger(__name__)

# Gradio's limit on replies under way in the whole app, 40 by default.
MAX_EVENTS = 500
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

# Puts the cursor back where the next message is typed, unless it is somewhere else by now.
FOCUS = """() => {
  const focus = (tries) => {
    const box = document.querySelector("#message textarea");
    if (box && box.disabled && tries) setTimeout(focus, 50, tries - 1);
    else if (box && document.activeElement === document.body) box.focus({preventScroll: true});
  };
  focus(40);
}"""
# The status line and the list of models are looked at again after a failure, when the server was found changed, and
# after a reply from a server that the status line still calls gone.
LOOK_AGAIN = """(history) => {
  const changed = ["error", "notice"].includes(history.at(-1)?.metadata?.id);
  if (changed || document.querySelector("#status .error")) document.querySelector("#refresh").click();
}"""
WITHOUT_WAITING = "(history) => [history.filter((message) => message.metadata?.id !== 'waiting')]"

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
                _Chat(
                    page.reply,
                    additional_inputs=[system_prompt, model, *sampling],
                    examples=[[text] for text in EXAMPLES],
                    cache_examples=False,  # a Space would ask the model while it is built
                    chatbot=_chatbot(),
                    textbox=_message_box(),
                    validator=page.validate,
                    editable=True,
                    concurrency_limit=None,  # by default one visitor waits for the other
                    show_progress="hidden",
                    api_name="chat",
                    api_description="Streams a reply. Sampling options that are left out are not sent to the server.",
                    analytics_enabled=False,
                )
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
        details.expand(page.examine, [model], [findings], **quiet)
        demo.load(page.watch, [model], [status, model], **quiet)
        refresh.click(page.watch, [model], [status, model], **quiet)
        demo.load(None, js=FOCUS, api_visibility="private")
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
            max_threads=MAX_EVENTS,
            show_error=False,
            run_history=False,  # it would list what visitors sent
            ssr_mode=False,
            footer_links=["api", "settings"],
            theme=_theme(),
            css=(Path(__file__).with_name("page.css")).read_text(),
        )
    except OSError as error:
        if settings.port is None:
            raise OSError("no free port was found from 7860 on; choose one with --port.") from error
        raise OSError(
            f"port {settings.port} on {settings.host} is in use or cannot be listened on; "
            "choose another with --port (GRADIO_SERVER_PORT)."
        ) from error
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
                None, None, system_prompt, js=f"() => {json.dumps(prompt)}", api_visibility="private"
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

    def validate(self, message: str) -> dict[str, Any]:
        """Holds back, with a line in red, what the text box should not send; the text stays in it."""
        try:
            self._check_text("message", message)
        except InputError as error:
            return dict(gr.validate(False, str(error)))
        return dict(gr.validate(bool(message.strip()), "Type something to send."))

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
        shown = [_reply(turn.text)] if turn.text else []
        shown += [note for text in turn.notices if said(note := _note("notice", f"ℹ️ {text}")) not in told]
        if turn.ending:
            shown.append(_note("ending", f"ℹ️ {turn.ending}"))
        if turn.error:
            shown.append(_error_note(turn.error))
        return shown

    def _waiting(self, turn: Turn) -> str:
        seconds = int(turn.waited or 0)
        if turn.reasoning:
            return f"*The model is thinking… {seconds} s*"
        if self._connection.ready:
            return f"*Waiting for the first token… {seconds} s*"
        progress = self._connection.progress
        return f"*The server is getting ready; your message is sent as soon as it is. {progress}… {seconds} s*"


class _Chat(gr.ChatInterface):
    """ChatInterface, with what Gradio 6.31 leaves undone mended."""

    def _setup_events(self) -> None:
        """Locks the message box while any reply runs, with a Stop in it, and unlocks it however the reply ends.

        The original leaves the box locked for good after a failure outside of the chat function (a value that a
        component refuses, say), does not lock it for an example, and has no Stop for the reply to an edited message.
        """
        super()._setup_events()
        root = get_blocks_context()
        assert root is not None  # events can only be set up inside of Blocks
        quiet: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
        unlock: dict[str, Any] = {
            "fn": lambda history: (history, history, _unlocked()),
            "inputs": [self.chatbot],
            "outputs": [self.chatbot_state, self.chatbot_value, self.textbox],
            **quiet,
        }
        submits = {
            _event_name(root, fn): Dependency(self.textbox, fn.get_config(), fn._id, fn.fn)
            for fn in root.fns.values()
            if fn.name == "_submit_fn"
        }
        for name, submit in submits.items():
            submit.failure(**unlock)
            submit.then(None, js=FOCUS, api_visibility="private")
            submit.then(None, self.chatbot, js=LOOK_AGAIN, api_visibility="private")
            if name in ("edit", "example_select", "option_select"):
                submit.then(**unlock)
        for fn in root.fns.values():
            before = root.fns.get(fn.trigger_after) if fn.trigger_after is not None else None
            if before and fn.outputs == [self.textbox] and before.outputs == [self.chatbot_state, self.chatbot_value]:
                # The original's own unlocking also clears the box, twice after Stop, and what is typed by then is gone.
                fn.fn = _unlocked
        for begin in (self.chatbot.edit, self.chatbot.example_select):
            begin(lambda: gr.Textbox(interactive=False, submit_btn=False, stop_btn=True), None, self.textbox, **quiet)
        self.textbox.stop(
            None,
            self.chatbot,
            self.chatbot,
            js=WITHOUT_WAITING,  # a reply stopped before it began leaves no "Waiting" behind
            cancels=[submits["edit"], submits["option_select"]],
            api_visibility="private",
        )

    def _append_message_to_history(
        self, message: Any, history: Any, role: Literal["user", "assistant"] = "user"
    ) -> Any:
        if isinstance(message, str):
            message = {"role": role, "content": _typed(message)}
        return super()._append_message_to_history(message, history, role)


def _event_name(root: BlocksConfig, fn: BlockFunction) -> str:
    """What set off the chain of events that a function belongs to: "submit", "retry", "edit", ..."""
    while fn.trigger_after is not None:
        fn = root.fns[fn.trigger_after]
    return str(fn.targets[0][1])


def _unlocked() -> gr.Textbox:
    return gr.Textbox(interactive=True, submit_btn=True, stop_btn=False, placeholder=MESSAGE_PLACEHOLDER)


def _typed(text: str) -> list[dict[str, str]]:
    """The content of a message. A plain string would lose its indentation, through inspect.cleandoc in Gradio."""
    return [{"type": "text", "text": text}]


def _reply(text: str) -> ChatMessage:
    return {"role": "assistant", "content": _typed(text)}


def _note(kind: str, text: str) -> ChatMessage:
    """A message of the page itself. By its `metadata.id` it is kept out of what the server gets."""
    return _reply(text) | {"metadata": {"id": kind}}


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
