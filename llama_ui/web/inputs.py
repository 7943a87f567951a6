"""What a page or a program sends, read and checked before anything else looks at it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llama_ui.core.conversation import SETTINGS, ChatSettings, Turn
from llama_ui.core.errors import InputError
from llama_ui.core.images import MAX_IMAGES, is_clean_form
from llama_ui.core.messages import Image, validate_text
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web.attachments import read_attachment

MAX_MODEL_CHARS = 300
MAX_CONVERSATION_IMAGES = 20


def form_texts(values: Sequence[object]) -> dict[str, str]:
    """The values of the page's settings, in the order of `SETTINGS`, as texts by their names."""
    return {name: "" if value is None else str(value) for name, value in zip(SETTINGS, values, strict=True)}


class BaseHandlers:
    """What all event handlers share: they read and check inputs, and raise `InputError` for what cannot be sent."""

    def __init__(self, settings: Settings, connection: Connection, turns: Turns) -> None:
        self._settings = settings
        self._connection = connection
        self._turns = turns

    def read_settings(self, values: Sequence[object]) -> ChatSettings:
        """Reads the page's settings, in the order of `SETTINGS`, and applies the app's limits to them."""
        system_prompt, model, *_ = values
        validate_text("system prompt", system_prompt or "", self._settings.max_message_chars)
        validate_text("model's name", model or "", MAX_MODEL_CHARS)
        settings = ChatSettings.from_texts(form_texts(values))
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
        """Checks the images of a conversation: a page, or a program, may send back what no attachment became."""
        images = [image for turn in turns for image in turn.images]
        if (count := len(images)) > MAX_CONVERSATION_IMAGES:
            sentence = f"The conversation has {count} pictures; at most {MAX_CONVERSATION_IMAGES} are sent."
            raise InputError(sentence, "Start a new chat.")
        for image in images:
            if not await asyncio.to_thread(is_clean_form, image, self._settings.max_image_side):
                raise InputError("A picture in the conversation cannot be sent.", "Start a new chat, and add it again.")
