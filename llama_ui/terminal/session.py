"""One conversation in a terminal: its messages, its commands, and what is shown of its replies."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llama_ui.core.conversation import ChatSettings, Conversation, Reply, Turn
from llama_ui.core.errors import InputError
from llama_ui.core.events import Event, RequestSent
from llama_ui.core.messages import Message, SamplingOptions, validate_text
from llama_ui.core.reply import respond
from llama_ui.core.stats import format_stats
from llama_ui.core.text import as_code
from llama_ui.llama_stack.connection import Connection
from llama_ui.llama_stack.models import same_model, unknown_model
from llama_ui.settings import Settings
from llama_ui.terminal.output import Output

if TYPE_CHECKING:
    from llama_ui.llama_stack.client import LlamaStackClient

HELP = """\
/system [TEXT]  show the system prompt, or set it; "/system -" takes it away
/model [ID]     show the model, or choose another
/models         list the models
/clear          forget the conversation
/save FILE      write the conversation: as JSON to a .json file, else as Markdown
/code           show the last request as Python
/help           show this
exit, quit, bye or Ctrl-D ends; Ctrl-C stops a reply and keeps what came.
A message of one line that begins with a slash: begin it with two."""
COMMANDS = [row.split()[0] for row in HELP.splitlines() if row.startswith("/")]


class Session:
    """What was said by now, with which model and system prompt. All methods raise `ChatError`."""

    def __init__(self, settings: Settings, connection: Connection, screen: Output) -> None:
        self._settings = settings
        self._connection = connection
        self._screen = screen
        self._system_prompt = settings.system_prompt
        self._model = ""  # blank: the connection's choice
        self._turns: list[Turn] = []
        self._sent: tuple[str, Sequence[Message]] | None = None  # the last request: the model and the messages
        self._told: set[str] = set()  # notices
        self.models: list[str] = []

    async def begin(self) -> None:
        """Says who will answer."""
        stack = await self._ready()
        self._screen.say(self._connection.summary())
        self.models = await stack.chat_models()
        self._screen.say(f"Model: {await self._current()}. /help lists the commands; bye ends.")

    async def take(self, entered: str) -> None:
        """Does a command, or sends a message."""
        name, argument = (*entered.split(maxsplit=1), "", "")[:2]
        argument = argument.strip()
        one_line = "\n" not in entered.strip()  # a paste is text, whatever it begins with
        match name:
            case "":
                pass
            case _ if not one_line:
                await self._send(entered)
            case "/models" | "/clear" | "/code" | "/help" if argument:
                raise InputError(
                    f"{name} takes nothing after it.", "A message that begins so: begin it with two slashes."
                )
            case "/system":
                self._set_system_prompt(argument)
            case "/model":
                await self._set_model(argument)
            case "/models":
                await self._list_models()
            case "/clear":
                self._turns, self._sent = [], None
                self._screen.say("The conversation is forgotten.")
            case "/save":
                self._save(argument.strip("\"'"))
            case "/code":
                await self._show_code()
            case "/help":
                self._screen.say(HELP)
            case _ if name.startswith("//"):
                await self._send(entered.strip()[1:])
            case _ if name.startswith("/"):
                raise InputError(f"There is no command {as_code(name, 40)}.", "/help lists them.")
            case _:
                await self._send(entered)

    async def _send(self, text: str) -> None:
        turn = await self.reply(text)
        self._screen.say(format_stats(turn.stats))

    async def reply(self, text: str) -> Reply:
        """Sends a message, shows the reply, and keeps what came of it, also where it was stopped."""
        self._check("message", text)
        self._check("system prompt", self._system_prompt)
        self._turns.append(Turn(text))
        messages = self._conversation().messages()
        turn = Reply()
        try:
            async with aclosing(respond(self.stream, self._model, messages, SamplingOptions())) as turns:
                async for turn in turns:
                    self._show(turn)
        finally:
            self._screen.end(turn)
            if turn.text.strip():
                request = ChatSettings(self._system_prompt, turn.model)
                self._turns[-1] = Turn(text, replies=(replace(turn, request=request),))
        if turn.ending:
            self._screen.sentence(turn.ending)
        if turn.error:
            raise turn.error
        return turn

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        """As `Connection.stream`. What was sent is known at once, also where the reply is stopped a moment later."""
        async with aclosing(self._connection.stream(model, messages, options)) as events:
            async for event in events:
                if isinstance(event, RequestSent):
                    self._sent = event.model, messages
                yield event

    def _show(self, turn: Reply) -> None:
        for notice in turn.notices:
            if notice not in self._told:
                self._told.add(notice)
                self._screen.sentence(notice)
        if turn.waited is not None:
            seconds = int(turn.waited)
            waiting = f"Waiting for the first token… {seconds} s" if seconds else ""
            self._screen.status(waiting if self._connection.ready else f"{self._connection.progress}…")
        elif self._settings.no_stream and not turn.ended:
            self._screen.status("The reply is coming…")
        else:
            self._screen.show(turn)

    async def _ready(self) -> "LlamaStackClient":
        """The server; shows meanwhile how it gets ready."""
        return await self._screen.watch(self._connection.client(), lambda: f"{self._connection.progress}…")

    def _set_system_prompt(self, text: str) -> None:
        if text:
            self._check("system prompt", text)
            self._system_prompt = "" if text == "-" else text
        shown = self._system_prompt
        self._screen.say(f"System prompt: {shown}" if shown.strip() else "There is no system prompt.")

    async def _set_model(self, model: str) -> None:
        self.models = await (await self._ready()).chat_models()
        if model:
            listed = same_model(model, self.models)
            if not listed and self.models:
                raise unknown_model(model, self.models)
            self._model = listed or model
        self._screen.say(f"Model: {await self._current()}")

    async def _list_models(self) -> None:
        self.models = await (await self._ready()).chat_models()
        current = await self._current()
        listed = "\n".join(f"{'*' if model == current else ' '} {model}" for model in self.models)
        self._screen.say(listed or "The server lists no chat model.")

    async def _current(self) -> str:
        """The model that is asked next, by the server's own name for it where it has one."""
        chosen = await self._connection.resolve_model(self._model)
        return same_model(chosen, self.models) or chosen

    def _save(self, name: str) -> None:
        from llama_ui.workbench import export

        if not name:
            raise InputError("The file's name is missing.", "Say it after /save.")
        if not self._turns:
            raise InputError("There is no conversation yet.", "Say something first.")
        written = export.to_json if name.lower().endswith(".json") else export.to_markdown
        text = written(self._conversation(), self._entered())
        try:
            with Path(name).expanduser().open("x", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except FileExistsError as error:
            raise InputError(f"The file {as_code(name)} exists already.", "Choose another name.") from error
        except (OSError, ValueError, RuntimeError) as error:  # the last for "~" of somebody unknown
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(f"{as_code(name)} cannot be written: {why}.", "Choose another place.") from error
        self._screen.say(f"Saved as {name}")

    async def _show_code(self) -> None:
        from llama_ui.workbench import snippet

        if not self._sent:
            raise InputError("Nothing was sent yet.", "Say something first.")
        stack = await self._ready()
        identity = await stack.last_identity()
        code = snippet.code(stack.base_url, identity.version, identity.dialect, *self._sent, SamplingOptions())
        self._screen.output(code.python)

    def _conversation(self) -> Conversation:
        return Conversation(self._system_prompt, tuple(self._turns))

    def _entered(self) -> Mapping[str, str]:
        """The settings as a transcript has them: texts, blank where not set."""
        model = self._model or (self._sent[0] if self._sent else self._settings.model or "")
        unset = dict.fromkeys(("temperature", "top_p", "max_tokens", "seed", "reasoning_effort"), "")
        return {"system_prompt": self._system_prompt, "model": model, **unset}

    def _check(self, label: str, text: str) -> None:
        validate_text(label, text, self._settings.max_message_chars)
