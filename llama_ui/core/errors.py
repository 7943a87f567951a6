"""Every failure of a chat request that a person may read about, as one plain sentence and a fix."""

from llama_ui.core.events import Received


class ChatError(Exception):
    """A failure: one sentence in Markdown, and the fix, which may be blank."""

    refuses_message = False  # for what it contains, so that it would be refused again with each later message
    received: Received | None = None  # the response, where there was one

    def __init__(self, sentence: str, fix: str) -> None:
        super().__init__(f"{sentence} {fix}".strip())
        self.sentence = sentence
        self.fix = fix


class InputError(ChatError):
    """The input is blank, too long or out of range; nothing was sent."""


class Unsendable(InputError):
    """The app does not send the message, or the conversation with it."""

    refuses_message = True


class NoServer(ChatError):
    """No server is configured, none was found, and none can be started."""


class LocalStackError(ChatError):
    """The local stack cannot start."""


class RateLimited(ChatError):
    """A visitor has reached a limit."""


class Restarting(ChatError):
    """The app is shutting down and accepts no more messages."""


class InternalError(ChatError):
    """A defect of this app; the log has the details under an id."""


class ServerError(ChatError):
    """The Llama Stack server failed to reply."""


class Unreachable(ServerError):
    """No HTTP connection to the server."""


class Misconfigured(Unreachable):
    """A variable of the environment has a value that cannot be used."""


class NameNotFound(Unreachable):
    """The host name does not resolve."""


class NotListening(Unreachable):
    """Nothing accepts the connection, or not in time."""


class TLSMismatch(Unreachable):
    """Only one side uses TLS, or the certificate is not trusted."""


class NoAnswer(Unreachable):
    """The connection was closed before an HTTP response, or the response is not HTTP."""


class ConnectionLost(ServerError):
    """The connection was lost before the end of the reply."""


class TimedOut(ServerError):
    """No response, no first token, or no next token in time."""


class AuthFailed(ServerError):
    """401 or 403: the server requires a key, or another one."""


class Moved(ServerError):
    """The server has another address."""


class UnknownModel(ServerError):
    """The server does not have the model."""


class NotALlamaStack(ServerError):
    """Another kind of server is at the address, or the address has a path that is wrong."""


class Busy(ServerError):
    """408 or 429: the server is overloaded."""


class TooLong(ServerError):
    """The conversation has more tokens than the model takes."""

    refuses_message = True


class BadReply(ServerError):
    """Any other error of the server, or a reply that is unusable."""


class MessageRefused(BadReply):
    """The server refused the request for what is in it."""

    refuses_message = True


class FieldRefused(BadReply):
    """The server refused a field of the request, which may do without it."""

    def __init__(self, sentence: str, fix: str, field: str, instead: str | None) -> None:
        """`instead` is another name for the field, where the server asks for that."""
        super().__init__(sentence, fix)
        self.field, self.instead = field, instead


class ContentFiltered(MessageRefused):
    """A content filter of the server, or of the engine behind it, stopped the reply."""

    def __init__(self) -> None:
        super().__init__("A content filter stopped the reply.", "Put the message in other words.")
