"""One conversation in a terminal: the turns so far, and how each reply is requested and printed."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

from llama_ui.core.conversation import ChatSettings, Conversation, Reply, Turn
from llama_ui.core.messages import SamplingOptions, validate_text
from llama_ui.core.reply import TICK_SECONDS, respond
from llama_ui.llama_stack.connection import Connection
from llama_ui.llama_stack.models import same_model
from llama_ui.settings import Settings
from llama_ui.terminal.output import Output


class Session:
    """A conversation and the model of its next message. The methods raise `ChatError`."""

    def __init__(self, settings: Settings, connection: Connection, output: Output) -> None:
        self.settings = settings
        self.connection = connection
        self.output = output
        self.conversation = Conversation(settings.system_prompt)
        self.model = ""  # blank: the connection's choice
        self.options = SamplingOptions()
        self.models: list[str] = []  # the chat models that the server listed last
        self._printed_notices: set[str] = set()

    async def start(self) -> None:
        """Connects, and prints which server and model will answer."""
        connecting = asyncio.wrap_future(self.connection.start())
        try:
            while not (await asyncio.wait([connecting], timeout=TICK_SECONDS))[0]:
                self.output.show_progress(f"{self.connection.progress}…")
        finally:
            self.output.show_progress("")
        self.output.print_status(self.connection.summary())
        await self.list_models()
        self.output.print_status(f"Model: {await self.resolve_model()}. /help lists the commands, bye exits.")

    async def list_models(self) -> list[str]:
        """Asks the server for its chat models."""
        self.models = await (await self.connection.client()).chat_models()
        return self.models

    async def resolve_model(self) -> str:
        """The model of the next message, by the server's own ID where it lists one."""
        model = await self.connection.resolve_model(self.model)
        return same_model(model, self.models) or model

    async def send(self, text: str) -> Reply:
        """Sends a message and prints the reply as it arrives. Adds both to the conversation, also when cancelled."""
        before, request = self.conversation, ChatSettings(self.conversation.system_prompt, self.model, self.options)
        validate_text("message", text, self.settings.max_message_chars)
        validate_text("system prompt", request.system_prompt, self.settings.max_message_chars)
        messages = replace(before, turns=(*before.turns, Turn(text))).messages()
        reply = Reply()
        try:
            async with aclosing(respond(self.connection.stream, self.model, messages, request.options)) as snapshots:
                async for reply in snapshots:
                    self._print(reply)
            if self.options.response_format:
                from llama_ui.workbench.schema import with_verdict  # imports jsonschema, which takes 0.1 s

                reply = await with_verdict(reply, self.options)
        finally:
            self.output.finish_reply(reply)
            request = replace(request, model=reply.model or request.model)
            turn = Turn(text, replies=(replace(reply, request=request),), request=request)
            self.conversation = replace(before, turns=(*before.turns, turn))
        for number, sample in enumerate(reply.samples, start=2):
            self.output.print_status(f"Sample {number}:")
            self.output.finish_reply(sample)
        if reply.ending:
            self.output.print_status(reply.ending.replace("`", ""))
        if reply.error:
            raise reply.error
        return reply

    def _print(self, reply: Reply) -> None:
        for notice in reply.notices:
            if notice not in self._printed_notices:
                self.output.print_status(notice.replace("`", ""))
        self._printed_notices.update(reply.notices)
        if reply.waited is not None:
            seconds = int(reply.waited)
            waiting = f"Waiting for the first token… {seconds} s" if seconds else ""
            self.output.show_progress(waiting if self.connection.ready else f"{self.connection.progress}…")
        elif self.settings.no_stream and not reply.ended:
            self.output.show_progress("Receiving the reply…")
        else:
            self.output.print_reply(reply)
