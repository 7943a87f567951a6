"""What a page or a program sends, read and checked before anything else looks at it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_ui.core.conversation import SETTINGS, ChatSettings, Conversation, Turn
from llama_ui.core.errors import InputError
from llama_ui.core.images import MAX_IMAGES, is_clean_form
from llama_ui.core.messages import Image, validate_text
from llama_ui.settings import Settings
from llama_ui.web.attachments import read_attachment
from llama_ui.web.history import ChatMessage, parse
from llama_ui.web.html import from_markdown

MAX_MODEL_CHARS = 300
MAX_CONVERSATION_IMAGES = 20


def form_texts(values: Sequence[object]) -> dict[str, str]:
    """The values of the page's settings, in the order of `SETTINGS`, as texts by their names."""
    return {name: "" if value is None else str(value) for name, value in zip(SETTINGS, values, strict=True)}


class InputReader:
    """Reads and checks messages, files and settings. Raises `InputError` for what cannot be sent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def settings(self, values: Sequence[object]) -> ChatSettings:
        """Reads the page's settings, in the order of `SETTINGS`."""
        system_prompt, model, *_ = values
        validate_text("system prompt", system_prompt or "", self._settings.max_message_chars)
        self.check_model(model or "")
        return ChatSettings.from_texts(form_texts(values))

    def turn(self, message: object) -> Turn:
        """Reads a message with files, `{"text", "files"}`. Text files become part of its text."""
        text, files = (message.get("text") or "", message.get("files") or []) if isinstance(message, dict) else ("", [])
        contents = [self._read(file) for file in files]
        blocks = [content for content in contents if isinstance(content, str)]
        images = tuple(content for content in contents if isinstance(content, Image))
        turn = Turn("\n\n".join(filter(None, [*blocks, text])), images)
        self.check_message(turn)
        return turn

    def attach(self, message: dict[str, Any] | None) -> list[dict[str, str]]:
        """Reads the files that were added to the message box: for each its `path`, and `image`, `text` or `error`.

        An image is a `data:` URL, and an error is HTML.
        """
        results = []
        for file in (message or {}).get("files", []):
            try:
                content = self._read(file)
                result = {"image": content.data_url} if isinstance(content, Image) else {"text": content}
            except InputError as error:
                result = {"error": from_markdown(error)}
            results.append({"path": str(file["path"]), **result})
        return results

    def _read(self, file: dict[str, Any]) -> Image | str:
        path = Path(file["path"])  # Gradio refuses every path but those of its uploads
        limits = self._settings.max_image_side, self._settings.max_message_chars
        try:
            return read_attachment(file.get("orig_name") or path.name, path.read_bytes(), *limits)
        except OSError as error:
            raise InputError("A file of the message is no longer there.", "Add it again.") from error

    async def conversation(self, history: Sequence[ChatMessage], system_prompt: str) -> Conversation:
        """Reads a conversation that ends with the user message to reply to."""
        conversation = parse(history, system_prompt)
        self.check_message(conversation.turns[-1])
        await self.check_images(conversation)
        return conversation

    def check_message(self, turn: Turn) -> None:
        """Checks the user message that a reply is requested for."""
        validate_text("message", turn.text, self._settings.max_message_chars)
        if (count := len(turn.images)) > MAX_IMAGES:
            raise InputError(f"The message has {count} pictures; at most {MAX_IMAGES} are sent.", "Remove some.")
        if turn.replies or not turn.has_message:
            raise InputError("The message is blank.", "Type something to send.")

    def check_model(self, model: object) -> None:
        """Checks the name of a model."""
        validate_text("model's name", model, MAX_MODEL_CHARS)

    async def check_images(self, conversation: Conversation) -> None:
        """Checks the images of a conversation: a page, or a program, may send back what no attachment became."""
        images = [image for turn in conversation.turns for image in turn.images]
        if len(images) > MAX_CONVERSATION_IMAGES:
            raise InputError(
                f"The conversation has {len(images)} pictures; at most {MAX_CONVERSATION_IMAGES} are sent.",
                "Start a new chat.",
            )
        for image in images:
            if not await asyncio.to_thread(is_clean_form, image, self._settings.max_image_side):
                raise InputError("A picture in the conversation cannot be sent.", "Start a new chat, and add it again.")
