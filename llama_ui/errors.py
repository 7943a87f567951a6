"""What can go wrong, each as one plain sentence and one fix.

ChatError
├── InputError          what a person entered is blank, too long or out of range; nothing was sent
├── NoServer            none is configured, found or to be started
├── LocalStackError     the local demonstration stack cannot be made ready
└── ServerError
    ├── Unreachable     no answer: nothing listens there, a wrong name, a wrong scheme, a lost connection
    ├── TimedOut        no answer in time
    ├── KeyRefused      401, 403
    ├── UnknownModel    404 that names a model
    ├── NoSuchPath      any other 404
    └── Refused         every other answer that is no reply

`stack.py` catches what the client library raises and asks `from_status` and `from_transport` for the error to tell.
"""

import httpx


class ChatError(Exception):
    """A failure that a person is told about: what happened, and what to do about it."""

    def __init__(self, sentence: str, fix: str) -> None:
        super().__init__(f"{sentence} {fix}".strip())
        self.sentence = sentence
        self.fix = fix


class InputError(ChatError):
    """What a person entered cannot be sent."""


class NoServer(ChatError):
    """There is no server to talk to."""


class LocalStackError(ChatError):
    """The local stack cannot be made ready."""


class ServerError(ChatError):
    """The Llama Stack server did not answer as it should."""


class Unreachable(ServerError):
    """No connection to the server, or it was lost."""


class TimedOut(ServerError):
    """The server took too long."""


class KeyRefused(ServerError):
    """The server wants another key."""


class UnknownModel(ServerError):
    """The server does not have the model."""


class NoSuchPath(ServerError):
    """Something answers at the address, but has no such route."""


class Refused(ServerError):
    """Any other answer that is no reply."""


def quoted(text: str, limit: int = 300) -> str:
    """A server's own words as Markdown code, so that nothing in them is rendered: one line, at most `limit` long."""
    line = " ".join(text.replace("`", "'").split())
    return f"`{line[:limit]}…`" if len(line) > limit else f"`{line or '(no text)'}`"


def from_status(status: int, detail: str, model: str, base_url: str) -> ServerError:
    """The error for an HTTP status that is no success. `detail` is the server's own text."""
    match status:
        case 401 | 403:
            return KeyRefused(
                "The server refused the key.", "Set LLAMA_STACK_CLIENT_API_KEY to a valid one and start the app again."
            )
        case 404 if "model" in detail.lower():
            return UnknownModel(f"The server has no model {quoted(model)}.", "Choose one from the Model list.")
        case 404:
            return NoSuchPath(
                f"There is no Llama Stack chat route at {base_url}.",
                "Check the address; leave /v1 off its end.",
            )
        case 408 | 429:
            return Refused(f"The server is busy: {quoted(detail)}.", "Try again in a moment.")
        case _:
            return Refused(f"The server answered with an error ({status}): {quoted(detail)}.", "Try again.")


def from_transport(error: BaseException | None, base_url: str) -> ServerError:
    """The error for a connection that failed before or while the server answered."""
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"The server at {base_url} took too long to answer.", "Try again, or look at its log.")
    if isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        return Unreachable(f"The connection to {base_url} was lost.", "Check that the server still runs; try again.")
    return Unreachable(f"No server answers at {base_url}.", "Check that it runs and that the address is right.")
