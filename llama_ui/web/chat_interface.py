"""Gradio's ChatInterface with events of its own: a message costs one request, and chat.js does the rest in the page."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import gradio as gr
from gradio.components.multimodal_textbox import MultimodalData
from gradio.data_classes import GradioRootModel
from pydantic import BeforeValidator, ConfigDict, model_validator

from llama_ui.core.conversation import SETTINGS, Reply, Turn
from llama_ui.core.errors import InputError
from llama_ui.web.handlers import Handlers
from llama_ui.web.history import (
    ChatMessage,
    error_note,
    render_for_programs,
    render_samples,
    render_user,
    sanitize_history,
    text_of,
)
from llama_ui.workbench.details import Details

# For values as they are sent, without the thread and the checks that Gradio spends on each, in every frame of a reply.
RAW: dict[str, Any] = {"preprocess": False, "postprocess": False}
# The most bytes of a program's conversation, which the app keeps between two of its messages.
MAX_PROGRAM_BYTES = 10_000_000


class MessageInput(MultimodalData):
    """A message: `{"text", "files"}`, or from other programs a plain text."""

    model_config = ConfigDict(hide_input_in_errors=True)  # errors are logged
    text: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"text": value} if isinstance(value, str) else value


class ChatHistory(GradioRootModel):
    """The history of the chatbot. A program may send any other, so it is cleaned before Gradio looks at it."""

    model_config = ConfigDict(hide_input_in_errors=True)
    root: Annotated[list[ChatMessage], BeforeValidator(sanitize_history)]


class LlamaChatInterface(gr.ChatInterface):
    """The conversation and the message box, with events of its own.

    Those of Gradio 6.31 cost six requests for a message, keep the conversation on the server too, leave the box locked
    after some failures, and have no Stop for the reply to an edited message. So chat.js shows the message and locks the
    box, and one request streams the reply. `_api_wrapper` gives `/chat` the parameters of `Handlers.reply`.
    """

    def __init__(self, page: Handlers, fields: list[Any]) -> None:
        self._page = page
        chatbot = make_chatbot("Conversation", buttons=["copy"], placeholder=" ", elem_id="conversation")
        # Why a message is not sent, or a file not accepted.
        self.message_error = gr.HTML("", elem_id="message-error", render=False)
        # What comes with a reply, which is no part of the history (`workbench.details`), and the replies if several.
        self.details = gr.Radio([], visible="hidden")  # which draws nothing of its value
        self.samples = make_chatbot("Samples", elem_id="samples", buttons=["copy"], render=False)
        super().__init__(
            page.reply,
            multimodal=True,
            chatbot=chatbot,
            textbox=_make_box(),
            additional_inputs=fields,
            editable=True,
            analytics_enabled=False,
        )
        self.message_error.render()
        gr.HTML('<div id="variables"></div>', apply_default_css=False)

    @property
    def conversation(self) -> list[Any]:
        """The components with the history and the settings."""
        return [self.chatbot, *self.additional_inputs]

    def _setup_events(self) -> None:
        box, chat = self.textbox, [self.textbox, self.chatbot]
        conversation = self.conversation
        self._setup_files()
        self.details.change(None, self.details, None, js="tokens.onArrival")
        message = [box, *conversation]
        # It has no outputs: Gradio would cover them with the word "Error" when the message is refused.
        checked = box.submit(None, message, None, js="chat.validate")
        checked.failure(None, message, self.message_error, js="chat.showProblem")
        submitted = checked.success(None, [box, *conversation], [*chat, self.message_error], js="chat.addMessage")
        again = gr.Button(visible="hidden", elem_id="retry")
        retried = gr.on([self.chatbot.retry, again.click], None, conversation, [self.chatbot, box], js="chat.retry")
        edited = self.chatbot.edit(_apply_edit, self.chatbot, self.chatbot, queue=False, **RAW)
        prepared = gr.Button(visible="hidden", elem_id="send-prepared").click(
            None, conversation, [*chat, *self.additional_inputs], js="chat.sendPrepared"
        )
        replies = []
        for event in (submitted, retried, edited, prepared):
            outputs = [self.chatbot, self.details, self.samples]
            fill = "variables.fillEdited" if event is edited else "variables.fillSettings"
            reply = event.success(self._reply_to_page, conversation, outputs, js=fill, **RAW)
            if event is edited:
                event.success(None, conversation, box, js="chat.lockForEdit")  # until the reply begins
            reply.then(None, [*outputs, *self.additional_inputs], chat, js="chat.onReplyEnd")
            reply.failure(None, conversation, chat, js="chat.onReplyLost")
            replies.append(reply)
        box.stop(None, conversation, self.chatbot, js="chat.onStop", cancels=replies)
        self.chatbot.undo(None, message, chat, js="chat.undo")
        self.fake_api_btn.click(  # the endpoint that other programs call
            gr.ChatInterface._api_wrapper(self, self.fn, self._reply_to_program),
            [self.textbox, self.chatbot_state, *self.additional_inputs],
            [self.api_response, self.chatbot_state],
            api_name="chat",
            api_description="Streams a reply. The message is a text, or a text with files: images and text files. "
            "Omitted options are not sent to the server.",
            **RAW,
        )

    def _setup_files(self) -> None:
        """Reads files as soon as they are added: what is in the box can be sent, and no file stays in the app."""
        box, contents = self.textbox, gr.JSON(visible=False)
        add = gr.Button(visible="hidden", elem_id="attach")
        box.change(None, box, None, js="chat.onBoxChange")
        # Two at once: a large image takes 200 MB of memory while it is decoded.
        added = add.click(self._page.attach, box, contents, js="chat.unreadFiles", concurrency_limit=2, **RAW)
        added.success(None, [box, contents], [box, self.message_error], js="chat.insertFiles")
        added.failure(None, [box, contents], [box, self.message_error], js="chat.removeUnreadFiles")

    async def _reply_to_page(
        self, history: list[ChatMessage], request: gr.Request, *settings: Any
    ) -> AsyncGenerator[tuple[list[ChatMessage], Any, Any], None]:
        """Yields the conversation, which ends with a user message, with the reply, its details, and its samples."""
        if not history:
            return  # a program's doing: the page adds a message first
        *before, message = history
        prefix = ""
        if before and message["role"] == "assistant":  # the reply is to go on from it
            prefix = text_of(message)
            *before, message = before
        details, conversation, reply = Details(), history, Reply()
        async with aclosing(self._page.answer(message, before, settings, request, prefix)) as updates:
            async for messages, reply in updates:
                conversation = [*before, *messages]
                yield conversation, details.text(reply, prefix), render_samples(reply)
        if reply.tokens:
            yield conversation, gr.skip(), gr.skip()  # Gradio sends the last values once more, as a whole

    async def reply_again(self, form: object, request: gr.Request) -> AsyncGenerator[list[ChatMessage], None]:
        """Yields the last message of a history with another reply to it.

        `form` has the `history`, which ends with that message, and the `settings` as texts by their names.
        """
        if not isinstance(form, dict) or not isinstance(settings := form.get("settings"), dict):
            return  # a program's doing
        history = sanitize_history(form.get("history"))
        values = map((settings | {"n": ""}).get, SETTINGS)
        async with aclosing(self._reply_to_page(history, request, *values)) as updates:
            async for conversation, *_ in updates:
                yield conversation[len(history) - 1 :]

    async def _reply_to_program(
        self, message: object, history: list[ChatMessage], *settings_and_request: Any
    ) -> AsyncGenerator[tuple[list[ChatMessage], list[ChatMessage]], None]:
        """Yields the reply to a program, and the conversation to keep for its next message."""
        *settings, request = settings_and_request  # in the order of `Handlers.reply`
        try:
            turn = await asyncio.to_thread(self._page.read_message, message)
            sent = [*history, render_user(turn)]
            if len(json.dumps(sent)) > MAX_PROGRAM_BYTES:
                raise InputError("This conversation is too large.", "Start a new chat.")
        except InputError as error:
            yield [error_note(error)], history
            return
        async with aclosing(self._page.answer(sent[-1], history, settings, request)) as updates:
            async for (message, *messages), reply in updates:
                yield render_for_programs(messages, reply), [*history, message, *messages]


def _apply_edit(history: list[ChatMessage], edit: gr.EditData) -> list[ChatMessage]:
    index = edit.index[0] if isinstance(edit.index, (list, tuple)) else edit.index
    return [*history[:index], render_user(Turn(edit.value))]


def make_chatbot(label: str, **options: Any) -> gr.Chatbot:
    """A conversation, which shows messages as they are sanitized."""
    chatbot = gr.Chatbot(
        label=label,
        show_label=False,
        height="100%",
        layout="panel",
        autoscroll=False,  # page.js follows a reply, unless the reader has scrolled up
        group_consecutive_messages=False,  # so that Copy takes the answer alone
        **options,
    )
    # Not a subclass: for each one, Gradio writes a .pyi file beside this one (gradio/component_meta.py).
    chatbot.data_model = ChatHistory  # type: ignore[assignment] # another model, of the same JSON
    return chatbot


def _make_box() -> gr.MultimodalTextbox:
    box = gr.MultimodalTextbox(
        placeholder="Message…",
        label="Message",
        show_label=False,
        file_count="multiple",
        max_lines=8,
        max_plain_text_length=10**9,  # Gradio would turn a long pasted text into a file
        elem_id="message",
    )
    box.data_model = MessageInput
    return box
