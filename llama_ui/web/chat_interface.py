"""Gradio's ChatInterface, wired so that a message costs one request to the app; chat.js does what a page can alone."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr
from gradio.components.multimodal_textbox import MultimodalData
from gradio.data_classes import GradioRootModel
from pydantic import ConfigDict, model_validator

from llama_ui.core.errors import InputError
from llama_ui.web import view
from llama_ui.web.handlers import Handlers
from llama_ui.web.view import ChatMessage

# Events of the page, which are nothing for other programs to call.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# Values as they are sent, without the thread and the checks that Gradio spends on each, a reply's every frame included.
RAW = PRIVATE | {"preprocess": False, "postprocess": False}
# Bytes of a program's conversation, which is kept between two of its messages.
MOST_KEPT = 10_000_000
# Pictures that are made ready at once: a large one takes 200 MB of memory meanwhile.
ATTACHING = 2


class MessageInput(MultimodalData):
    """What is said: `{"text", "files"}`, or from other programs a plain text."""

    model_config = ConfigDict(hide_input_in_errors=True)  # which are logged
    text: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"text": value} if isinstance(value, str) else value


class Conversation(GradioRootModel):
    """A conversation as the page has it. A program may make one up: what no page could have is left out."""

    model_config = ConfigDict(hide_input_in_errors=True)
    root: list[ChatMessage]

    @model_validator(mode="before")
    @classmethod
    def _cleaned(cls, value: object) -> object:
        return view.cleaned(value)


class LlamaChatInterface(gr.ChatInterface):
    """The conversation and the box below it.

    The original's events send six requests for a message, keep the conversation on the server, too, leave the box
    locked for good after some failures, and have no Stop for the reply to an edited message (Gradio 6.31).
    """

    def __init__(self, page: Handlers, complaint: gr.HTML, **kwargs: Any) -> None:
        """`complaint`: where it is said why a message is not sent, or a file not taken."""
        self._behind = page
        self._complaint = complaint
        super().__init__(page.reply, multimodal=True, **kwargs)

    def _setup_events(self) -> None:
        box, shown = self.textbox, [self.textbox, self.chatbot]
        conversation = [self.chatbot, *self.additional_inputs]
        self._setup_files()
        sent = [box, self.chatbot, self.additional_inputs[1]]
        # Nothing is among its outputs, which would be covered with the word "Error" when it refuses.
        checked = box.submit(None, sent, None, js="chat.check", **PRIVATE)
        checked.failure(None, sent, self._complaint, js="chat.complain", **PRIVATE)
        asked = checked.success(
            None, [*shown, *self.additional_inputs], [*shown, self._complaint], js="chat.ask", **PRIVATE
        )
        retried = self.chatbot.retry(None, self.chatbot, [self.chatbot, box], js="chat.retry", **PRIVATE)
        edited = self.chatbot.edit(_edited, self.chatbot, self.chatbot, queue=False, **RAW)
        example = self.chatbot.example_select(_asked, None, self.chatbot, queue=False, **RAW)
        replies = []
        for begun in (asked, retried, edited, example):
            reply = begun.success(
                self._answer,
                conversation,
                self.chatbot,
                concurrency_limit=None,  # by default one visitor waits for the other
                **RAW,
            )
            if begun in (edited, example):
                begun.success(None, self.chatbot, box, js="chat.lock", **PRIVATE)  # while the request is on its way
            for ended in (reply.then, reply.failure):
                ended(None, conversation, shown, js="chat.ended", **PRIVATE)
            replies.append(reply)
        box.stop(None, conversation, self.chatbot, js="chat.stopped", cancels=replies, **PRIVATE)
        self.chatbot.undo(None, conversation, shown, js="chat.undo", **PRIVATE)
        self.chatbot.clear(None, None, None, js="chat.cleared", cancels=replies, **PRIVATE)
        self._setup_api()

    def _setup_api(self) -> None:
        """What other programs call."""
        self.fake_api_btn.click(
            gr.ChatInterface._api_wrapper(self, self.fn, self._called),
            [self.textbox, self.chatbot_state, *self.additional_inputs],
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

    async def _answer(
        self, history: list[ChatMessage], request: gr.Request, *settings: Any
    ) -> AsyncGenerator[list[ChatMessage], None]:
        """Yields the conversation, which ends with a message of the user, with the reply to it."""
        if not history:
            return  # a program's doing; the page has shown a message by then
        async with aclosing(self.fn(history[-1]["content"], history[:-1], *settings, request)) as replies:
            async for receipt, reply in replies:
                asked = history[-1] | {"metadata": {"log": receipt}} if receipt else history[-1]
                yield [*history[:-1], asked, *reply]

    async def _called(
        self, message: object, history: list[ChatMessage], *settings_and_request: Any
    ) -> AsyncGenerator[tuple[list[ChatMessage], list[ChatMessage]], None]:
        """Yields the reply, and the conversation with it, to another program."""
        *settings, request = settings_and_request  # in the order of `Page.reply`
        try:
            content = await asyncio.to_thread(self._behind.content, message)
        except InputError as error:
            yield [view.error_note(error)], history
            return
        asked = [*history, view.message("user", "") | {"content": content}]
        if len(json.dumps(asked)) > MOST_KEPT:
            yield [view.error_note(InputError("This conversation is too large to be kept.", "Begin anew."))], history
            return
        async with aclosing(self._answer(asked, request, *settings)) as conversations:
            async for conversation in conversations:
                yield conversation[len(asked) :], conversation


def _edited(history: list[ChatMessage], edit: gr.EditData) -> list[ChatMessage]:
    index = edit.index[0] if isinstance(edit.index, (list, tuple)) else edit.index
    return [*history[:index], view.message("user", edit.value)]


def _asked(example: gr.SelectData) -> list[ChatMessage]:
    return [view.message("user", example.value["text"])]
