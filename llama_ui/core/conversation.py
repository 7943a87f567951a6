"""A conversation as both front ends hold it: a system prompt, and turns of one user message and the replies to it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

from llama_ui.core.errors import ChatError
from llama_ui.core.events import Received, Token
from llama_ui.core.messages import Image, Message, SamplingOptions, parse_sampling_options
from llama_ui.core.option_values import Example, as_text, examples
from llama_ui.core.stats import Stats

# The names of the settings in a form, a file or a link, in the order in which the page shows them.
SAMPLING = tuple(field.name for field in fields(SamplingOptions) if field.name != "app_limit")
SETTINGS = ("system_prompt", "model", *SAMPLING, "examples")


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The settings that a reply was requested with. A blank model is the server's first choice."""

    system_prompt: str = ""
    model: str = ""
    options: SamplingOptions = SamplingOptions()
    examples: tuple[Example, ...] = ()

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Self:
        """Reads settings from the texts of a form, by the names in `SETTINGS`. A missing one is blank.

        Raises:
            InputError: A sampling option is out of range, or the examples have not their form.
        """
        options = parse_sampling_options(*(texts.get(name, "") for name in SAMPLING))
        return cls(texts.get("system_prompt", ""), texts.get("model", ""), options, examples(texts.get("examples", "")))

    def texts(self) -> dict[str, str]:
        """The settings as texts of a form, by the names in `SETTINGS`. An option that is not set is blank."""
        options = {name: getattr(self.options, name) for name in SAMPLING}
        options["streaming"] = None if self.options.streaming else "off"
        texts = {name: as_text(value) for name, value in options.items()}
        return {"system_prompt": self.system_prompt, "model": self.model, **texts, "examples": as_text(self.examples)}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, or the part of it that has arrived."""

    text: str = ""
    reasoning: str = ""  # what the model thought before it answered
    reasoning_seconds: float | None = None  # so far; None where it is not known
    waited: float | None = None  # the seconds since the request; None once something has arrived
    position: int = 0  # in the queue, from 1, while the request waits there
    model: str = ""  # the server's name for it; blank until the request is sent
    stats: Stats = Stats()
    notices: tuple[str, ...] = ()  # sentences in Markdown about how the request was sent
    ended: bool = False  # nothing more will arrive
    ending: str = ""  # a sentence about how the reply ended; blank where it ended as usual
    error: ChatError | None = None  # why the reply failed
    refused: bool = False  # the message was refused for what it contains, and is not sent again with later ones
    request: ChatSettings | None = None  # the settings that it was requested with, where they are known
    tokens: tuple[Token, ...] = ()  # of the answer, where the server told their probabilities
    received: Received | None = None  # the response that it came with
    samples: tuple["Reply", ...] = ()  # the other replies, where several were asked for

    @property
    def has_answer(self) -> bool:
        """Whether there is an answer: reasoning or an error alone is none."""
        return bool(self.text.strip())

    @property
    def thinking(self) -> bool:
        """Whether reasoning arrives, and the answer has not begun."""
        return bool(self.reasoning.strip()) and not self.has_answer and not self.ended


@dataclass(frozen=True, slots=True)
class Turn:
    """A user message and the replies to it. An imported conversation may begin with a turn without a user message."""

    text: str = ""
    images: tuple[Image, ...] = ()
    replies: tuple[Reply, ...] = ()  # versions, in the order in which they were generated; the last one is current
    request: ChatSettings | None = None  # the settings that were sent, also where no reply began

    @property
    def reply(self) -> Reply | None:
        """The current version of the reply."""
        return self.replies[-1] if self.replies else None

    @property
    def has_message(self) -> bool:
        """Whether there is a user message."""
        return bool(self.text.strip() or self.images)

    @property
    def answer(self) -> str:
        """The text of the current reply; blank where there is none, or only reasoning or an error."""
        return self.reply.text if self.reply and self.reply.has_answer else ""


REFUSED = "Later messages are sent without this one."  # the ending of a reply to a message that was refused


@dataclass(frozen=True, slots=True)
class Conversation:
    """A system prompt, examples, and the turns so far. A front end replaces it by one with another turn."""

    system_prompt: str = ""
    turns: tuple[Turn, ...] = ()
    examples: tuple[Example, ...] = ()

    def until_last_message(self) -> Self | None:
        """The conversation as it was when the last user message was sent; None where there is no user message."""
        for count in range(len(self.turns), 0, -1):
            if self.turns[count - 1].has_message:
                last = replace(self.turns[count - 1], replies=())
                return replace(self, turns=(*self.turns[: count - 1], last))
        return None

    def continued(self, prefix: str) -> Self:
        """The conversation with the beginning of an answer to its last message, from which a reply goes on."""
        last = replace(self.turns[-1], replies=(Reply(prefix),))
        return replace(self, turns=(*self.turns[:-1], last))

    def exchanges(self) -> list[Turn]:
        """The turns in the form in which they are sent: each has a user message and, except for the last, an answer.

        A user message without an answer (stopped, or failed) is joined with the next one by a blank line, and so are
        answers that follow each other. An answer to no message is left out, and so is a message that was refused.
        """
        exchanges: list[Turn] = []
        for turn in self.turns:
            last = exchanges[-1] if exchanges else None
            if turn.reply and turn.reply.refused:
                if last and not last.answer:
                    exchanges.pop()  # it was part of what was refused
                continue
            if turn.has_message and (last is None or last.answer):
                exchanges.append(turn)
            elif last and turn.has_message:
                exchanges[-1] = replace(turn, text=_join(last.text, turn.text), images=last.images + turn.images)
            elif last and turn.reply and turn.answer:
                exchanges[-1] = replace(last, replies=(replace(turn.reply, text=_join(last.answer, turn.answer)),))
        return exchanges

    def messages(self) -> list[Message]:
        """The messages to send: the system prompt unless it is blank, then user and assistant in strict alternation.

        The examples come before the conversation.
        """
        messages = [Message("system", self.system_prompt)] if self.system_prompt.strip() else []
        for example in self.examples:
            messages += [Message("user", example.user), Message("assistant", example.assistant)]
        for turn in self.exchanges():
            messages.append(Message("user", turn.text, turn.images))
            if turn.answer:
                messages.append(Message("assistant", turn.answer))
        return messages


def add_reply(turns: list[Turn], reply: Reply) -> None:
    """Adds a reply to the last turn, or starts a turn without a user message if there is none, or it has a reply."""
    if turns and not turns[-1].replies:
        turns[-1] = replace(turns[-1], replies=(reply,))
    else:
        turns.append(Turn(replies=(reply,)))


def _join(first: str, second: str) -> str:
    return "\n\n".join(text for text in (first, second) if text.strip())
