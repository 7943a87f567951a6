"""The chat page: layout and wiring, nothing else."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.multimodal_textbox import MultimodalData
from gradio.tunneling import CURRENT_TUNNELS
from pydantic import model_validator

from llama_ui import mended, view
from llama_ui.attachments import MAX_IMAGES
from llama_ui.connection import Connection
from llama_ui.errors import InputError
from llama_ui.messages import EFFORTS
from llama_ui.page import Page
from llama_ui.settings import Settings
from llama_ui.view import ChatMessage

# What may be uploaded at all. More than an attachment may have, so that one that is too large is told of in the page.
MAX_UPLOAD = "25mb"
# Seconds: how often uploads are deleted, and how old they are then. Pictures are in the conversation by that time.
UPLOADS_KEPT = (300, 600)
# Pictures that are made ready at once: a large one takes 200 MB of memory meanwhile.
ATTACHING = 2
LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
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


def build(settings: Settings, connection: Connection) -> gr.Blocks:
    """The page. What it shows of the server comes from `connection`, for every visitor anew."""
    page = Page(settings, connection)
    demo = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=UPLOADS_KEPT)
    with demo:
        gr.Markdown(f"# 🦙 {TITLE}", elem_id="title")
        status = gr.HTML(view.status_line("wait", "Connecting…"), elem_id="status")
        with gr.Accordion("Check the connection", open=False, elem_id="details") as details:
            findings = gr.HTML("", elem_id="findings")
        with gr.Row(elem_id="main"):  # laid out by page.css: on a narrow page the chat comes right after the prompt
            with gr.Column(elem_id="prompt"):
                system_prompt = _render_system_prompt(settings)
            with gr.Column(elem_id="settings"):
                model, refresh, options = _render_model(settings)
            with gr.Column(elem_id="chat"):
                complaint = gr.HTML("", elem_id="complaint", render=False)
                _Chat(
                    page,
                    additional_inputs=[system_prompt, model, *options],
                    examples=[[{"text": text}] for text in EXAMPLES],
                    cache_examples=False,  # a Space would ask the model while it is built
                    chatbot=_chatbot(),
                    textbox=_message_box(),
                    editable=True,
                    complaint=complaint,
                    api_name="chat",
                    api_description="Streams a reply. The message is a text, or one with files: pictures and text "
                    "files. Options that are left out are not sent to the server.",
                    analytics_enabled=False,
                )
                complaint.render()
        quiet = PRIVATE | {"concurrency_limit": None}
        details.expand(page.examine, [model], [findings], **quiet)
        demo.load(page.watch, [model], [status, model], **quiet)
        refresh.click(page.watch, [model], [status, model], **quiet)
        demo.load(None, js="chat.begin", **PRIVATE)
    mended.remember_signatures(demo)
    mended.fill_in_arguments(demo)
    return demo


def launch(demo: gr.Blocks, settings: Settings) -> str:
    """Serves the page in the background. Returns its address. Raises OSError with a sentence where it cannot listen."""
    try:
        app, url, _ = demo.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=settings.share,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=MAX_UPLOAD,
            max_threads=EVENTS_PER_VISITOR * settings.max_visitors + 100,
            show_error=False,
            run_history=False,  # it would list what visitors sent
            ssr_mode=False,
            footer_links=["api", "settings"],
            theme=_theme(),
            head=_head(settings),
            css=(Path(__file__).with_name("page.css")).read_text(),
        )
    except OSError as error:
        if settings.port is None:
            raise OSError("no free port was found from 7860 on; choose one with --port.") from error
        raise OSError(
            f"port {settings.port} on {settings.host} is in use or cannot be listened on; "
            "choose another with --port (GRADIO_SERVER_PORT)."
        ) from error
    mended.after_launch(demo, app)
    return url


def _head(settings: Settings) -> str:
    limits = json.dumps({"chars": settings.max_message_chars, "images": MAX_IMAGES})
    return f"<script>const LIMITS = {limits};\n{Path(__file__).with_name('page.js').read_text()}</script>"


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


def _render_model(settings: Settings) -> tuple[gr.Dropdown, gr.Button, list[gr.Textbox | gr.Dropdown]]:
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
    effort = gr.Dropdown(
        [("default", ""), *EFFORTS],
        value="",
        label="Reasoning effort",
        info="For models that think before they answer.",
        interactive=True,
    )
    return model, refresh, [*sampling, effort]


def _chatbot() -> gr.Chatbot:
    return gr.Chatbot(
        label="Conversation",
        show_label=False,
        height="var(--conversation-height)",
        buttons=["copy", "copy_all"],
        latex_delimiters=LATEX,
        placeholder="**Say something, or begin with an example.**",
        elem_id="conversation",
    )


def _message_box() -> gr.MultimodalTextbox:
    box = gr.MultimodalTextbox(
        placeholder=MESSAGE_PLACEHOLDER,
        label="Message",
        file_count="multiple",
        lines=1,
        max_lines=8,
        max_plain_text_length=10**9,  # a long text that is pasted stays one
        submit_btn=True,
        stop_btn=True,
        autofocus=False,  # it would scroll a narrow page; FOCUS does not
        scale=7,
        elem_id="message",
    )
    box.data_model = _Said
    return box


class _Said(MultimodalData):
    """What is said: `{"text", "files"}`, or from other programs a plain text."""

    text: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"text": value} if isinstance(value, str) else value


class _Chat(gr.ChatInterface):
    """ChatInterface, wired so that a message costs one request to the app; what a page can do alone, page.js does.

    The original's events send six, keep the conversation on the server, too, leave the box locked for good after some
    failures, and have no Stop for the reply to an edited message (Gradio 6.31).
    """

    def __init__(self, page: Page, complaint: gr.HTML, **kwargs: Any) -> None:
        """`complaint`: where it is said why a message is not sent, or a file not taken."""
        self._behind = page
        self._complaint = complaint
        super().__init__(page.reply, multimodal=True, **kwargs)

    def _setup_events(self) -> None:
        box, shown = self.textbox, [self.textbox, self.chatbot]
        self._setup_files()
        sent = [box, self.chatbot, self.additional_inputs[1]]
        # Nothing is among its outputs, which would be covered with the word "Error" when it refuses.
        checked = box.submit(None, sent, None, js="chat.check", **PRIVATE)
        checked.failure(None, sent, self._complaint, js="chat.complain", **PRIVATE)
        asked = checked.success(None, shown, [*shown, self._complaint], js="chat.ask", **PRIVATE)
        retried = self.chatbot.retry(None, self.chatbot, [self.chatbot, box], js="chat.retry", **PRIVATE)
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
            if begun in (edited, example):
                begun.success(None, None, box, js="chat.lock", **PRIVATE)  # while the request is on its way
            for ended in (reply.then, reply.failure):
                ended(None, self.chatbot, box, js="chat.ended", **PRIVATE)
            replies.append(reply)
        box.stop(None, self.chatbot, self.chatbot, js="chat.stopped", cancels=replies, **PRIVATE)
        self.chatbot.undo(None, self.chatbot, shown, js="chat.undo", **PRIVATE)
        self.fake_api_btn.click(
            gr.ChatInterface._api_wrapper(self, self.fn, self._called),
            [box, self.chatbot_state, *self.additional_inputs],
            [self.api_response, self.chatbot_state],
            api_name=self.api_name,
            api_description=self.api_description,
            concurrency_limit=None,
            preprocess=False,
            postprocess=False,
        )

    def _setup_files(self) -> None:
        """Files that are added are read at once: what is in the box can be sent, and nothing of it stays in the app."""
        box = self.textbox
        read = gr.JSON(visible=False)
        add = gr.Button(visible="hidden", elem_id="attach")
        box.change(None, box, None, js="chat.changed", **PRIVATE)
        added = add.click(self._behind.attach, box, read, js="chat.added", concurrency_limit=ATTACHING, **RAW)
        added.success(None, [box, read], [box, self._complaint], js="chat.attached", **PRIVATE)
        added.failure(None, [box, read], [box, self._complaint], js="chat.notAttached", **PRIVATE)

    async def _answer(self, history: list[ChatMessage], *settings: Any) -> AsyncGenerator[list[ChatMessage], None]:
        """Yields the conversation, which ends with a message of the user, with the reply to it."""
        if not history:
            return  # a program's doing; the page has shown a message by then
        async with aclosing(self.fn(history[-1]["content"], history[:-1], *settings)) as replies:
            async for reply in replies:
                yield [*history, *reply]

    async def _called(
        self, message: object, history: list[ChatMessage], *settings: Any
    ) -> AsyncGenerator[tuple[list[ChatMessage], list[ChatMessage]], None]:
        """Yields the reply, and the conversation with it, to another program."""
        try:
            content = await asyncio.to_thread(self._behind.content, message)
        except InputError as error:
            yield [view.error_note(error)], history
            return
        asked = [*history, view.message("user", "") | {"content": content}]
        async with aclosing(self._answer(asked, *settings)) as conversations:
            async for conversation in conversations:
                yield conversation[len(asked) :], conversation


def _edited(history: list[ChatMessage], edit: gr.EditData) -> list[ChatMessage]:
    index = edit.index[0] if isinstance(edit.index, (list, tuple)) else edit.index
    return [*history[:index], view.message("user", edit.value)]


def _asked(example: gr.SelectData) -> list[ChatMessage]:
    return [view.message("user", example.value["text"])]
