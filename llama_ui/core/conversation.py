"""A conversation as both front ends hold it: a system prompt, and turns of one user message and the replies to it."""

from collections.abc import Iterator
from dataclasses import dataclass

from llama_ui.core.errors import ChatError
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.core.stats import Stats


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The settings that a reply was requested with. A blank model is the server's first choice."""

    system_prompt: str = ""
    model: str = ""
    options: SamplingOptions = SamplingOptions()


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, or the part of it that has arrived.

    `text` is the answer. `reasoning` is what the model thought before it, for `reasoning_seconds` so far; `thinking`
    is true until the answer begins. `waited` is the time in seconds since the request, and None once something has
    arrived. `position` is the place in the queue, from 1, while the request waits there; else 0. `model` is the
    server's name for the model, blank until the request is sent. `notices` are sentences in Markdown about how the
    request was sent, `ending` is one about how the reply ended unless that was as usual. `ended` is true once nothing
    more will arrive. `request` has the settings that it was requested with; None where they are not known.
    """

    text: str = ""
    reasoning: str = ""
    thinking: bool = False
    reasoning_seconds: float = 0.0
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
    """A user message and the replies to it, in the order in which they were generated; the last one is shown.

    `request` has the settings that were sent for the message, also where the reply was stopped before it began.
    """

    text: str
    images: tuple[Image, ...] = ()
    replies: tuple[Reply, ...] = ()
    request: ChatSettings | None = None

    @property
    def reply(self) -> Reply | None:
        """The reply that is shown."""
        return self.replies[-1] if self.replies else None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A system prompt and the turns so far. It never changes; a front end replaces it by one with another turn."""

    system_prompt: str = ""
    turns: tuple[Turn, ...] = ()

    def messages(self) -> list[Message]:
        """The messages to send: the system prompt unless it is blank, then user and assistant in strict alternation.

        A user message without an answer (stopped, or failed) is joined with the next one by a blank line: nothing that
        the person wrote is lost, and no two user messages follow each other. An answer to no message is left out.
        """
        messages = [Message("system", self.system_prompt)] if self.system_prompt.strip() else []
        start = len(messages)
        for message in self._alternating():
            if len(messages) == start and message.role == "assistant":
                continue
            if len(messages) > start and messages[-1].role == message.role:
                messages[-1] = _joined(messages[-1], message)
            else:
                messages.append(message)
        return messages

    def _alternating(self) -> Iterator[Message]:
        """The user messages and the answers shown, without blank ones."""
        for turn in self.turns:
            if turn.text.strip() or turn.images:
                yield Message("user", turn.text, turn.images)
            if turn.reply and turn.reply.text.strip():
                yield Message("assistant", turn.reply.text)


def _joined(first: Message, second: Message) -> Message:
    text = "\n\n".join(text for text in (first.content, second.content) if text.strip())
    return Message(first.role, text, first.images + second.images)
