"""A conversation as both front ends hold it: a system prompt, and turns of one user message and the replies to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from llama_ui.core.errors import ChatError
from llama_ui.core.messages import Image, Message, SamplingOptions, parse_sampling_options
from llama_ui.core.stats import Stats

# The names of the settings in a form, a file or a link, in the order in which the page shows them.
SAMPLING = ("temperature", "top_p", "max_tokens", "seed", "reasoning_effort")
SETTINGS = ("system_prompt", "model", *SAMPLING)


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The settings that a reply was requested with. A blank model is the server's first choice."""

    system_prompt: str = ""
    model: str = ""
    options: SamplingOptions = SamplingOptions()

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Self:
        """Reads settings from the texts of a form, by the names in `SETTINGS`. A missing one is blank.

        Raises:
            InputError: A sampling option is out of range.
        """
        options = parse_sampling_options(*(texts.get(name) for name in SAMPLING))
        return cls(texts.get("system_prompt", ""), texts.get("model", ""), options)

    def texts(self) -> dict[str, str]:
        """The settings as texts of a form, by the names in `SETTINGS`. An option that is not set is blank."""
        options = {name: _as_text(getattr(self.options, name)) for name in SAMPLING}
        return {"system_prompt": self.system_prompt, "model": self.model, **options}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, or the part of it that has arrived.

    Attributes:
        text: The answer.
        reasoning: What the model thought before it answered.
        thinking: True until the answer begins.
        reasoning_seconds: The time that the reasoning took so far; None where it is not known.
        waited: The seconds since the request; None once something has arrived.
        position: The place in the queue, from 1, while the request waits there; else 0.
        model: The server's name for the model; blank until the request is sent.
        stats: Token counts and times.
        notices: Sentences in Markdown about how the request was sent.
        ended: True once nothing more will arrive.
        ending: A sentence about how the reply ended; blank where it ended as usual.
        error: Why the reply failed, or None.
        request: The settings that the reply was requested with; None where they are not known.
    """

    text: str = ""
    reasoning: str = ""
    thinking: bool = False
    reasoning_seconds: float | None = None
    waited: float | None = None
    position: int = 0
    model: str = ""
    stats: Stats = Stats()
    notices: tuple[str, ...] = ()
    ended: bool = False
    ending: str = ""
    error: ChatError | None = None
    request: ChatSettings | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A user message and the replies to it.

    Attributes:
        text: The text of the user message. Where it is blank and there are no images, there is no user message: an
            imported conversation may begin with an assistant message.
        images: The images of the user message.
        replies: The versions of the reply, in the order in which they were generated. The last one is current.
        request: The settings that were sent for the message, also where the reply was stopped before it began.
    """

    text: str = ""
    images: tuple[Image, ...] = ()
    replies: tuple[Reply, ...] = ()
    request: ChatSettings | None = None

    @property
    def reply(self) -> Reply | None:
        """The current version of the reply."""
        return self.replies[-1] if self.replies else None

    @property
    def has_message(self) -> bool:
        """Whether there is a user message."""
        return bool(self.text.strip() or self.images)

    @property
    def has_answer(self) -> bool:
        """Whether the reply has an answer: reasoning or an error alone is none."""
        return self.reply is not None and bool(self.reply.text.strip())


@dataclass(frozen=True, slots=True)
class Conversation:
    """A system prompt and the turns so far. It never changes; a front end replaces it by one with another turn."""

    system_prompt: str = ""
    turns: tuple[Turn, ...] = ()

    def until_last_message(self) -> Self | None:
        """The conversation as it was when the last user message was sent; None where there is no user message."""
        for count in range(len(self.turns), 0, -1):
            if self.turns[count - 1].has_message:
                last = replace(self.turns[count - 1], replies=())
                return replace(self, turns=(*self.turns[: count - 1], last))
        return None

    def exchanges(self) -> list[Turn]:
        """The turns in the form in which they are sent: each has a user message and, except for the last, an answer.

        A user message without an answer (stopped, or failed) is joined with the next one by a blank line: nothing that
        the user wrote is lost, and no two user messages follow each other. Answers that follow each other are joined
        likewise, and an answer to no message is left out.
        """
        exchanges: list[Turn] = []
        for turn in self.turns:
            last = exchanges[-1] if exchanges else None
            if turn.has_message and (last is None or last.has_answer):
                exchanges.append(turn)
            elif last and turn.has_message:
                exchanges[-1] = replace(turn, text=_join(last.text, turn.text), images=last.images + turn.images)
            elif last and turn.reply and turn.has_answer:
                before = last.reply.text if last.reply else ""
                exchanges[-1] = replace(last, replies=(replace(turn.reply, text=_join(before, turn.reply.text)),))
        return exchanges

    def messages(self) -> list[Message]:
        """The messages to send: the system prompt unless it is blank, then user and assistant in strict alternation."""
        messages = [Message("system", self.system_prompt)] if self.system_prompt.strip() else []
        for turn in self.exchanges():
            messages.append(Message("user", turn.text, turn.images))
            if turn.reply and turn.has_answer:
                messages.append(Message("assistant", turn.reply.text))
        return messages


def add_reply(turns: list[Turn], reply: Reply) -> None:
    """Adds a reply to the last turn; as a turn without a user message where that one is missing or has a reply."""
    if turns and not turns[-1].replies:
        turns[-1] = replace(turns[-1], replies=(reply,))
    else:
        turns.append(Turn(replies=(reply,)))


def _as_text(value: object) -> str:
    return "" if value is None else str(value).removesuffix(".0")


def _join(first: str, second: str) -> str:
    return "\n\n".join(text for text in (first, second) if text.strip())
