"""The connection check: tests the way to a first token step by step, and says what to do where it fails."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field

from llama_ui.core import errors
from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError
from llama_ui.core.logs import log_unexpected
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import Stream, respond
from llama_ui.core.text import as_code
from llama_ui.llama_stack.connection import Connection
from llama_ui.llama_stack.models import first_choice, same_model, unknown_model
from llama_ui.settings import Settings

# The steps to a first response: the errors that end the way there, and the message otherwise.
STEPS = [
    ("Name", (errors.NameNotFound,), "host resolves"),
    ("Connection", (errors.NotListening,), "port open"),
    ("TLS", (errors.TLSMismatch,), "connection encrypted"),
    ("HTTP", (errors.NoAnswer, errors.ConnectionLost, errors.TimedOut), "HTTP response received"),
]


@dataclass(frozen=True)
class CheckResult:
    """The result of one step: a sentence in Markdown, the fix where it failed, and facts for scripts."""

    check: str
    passed: bool
    message: str
    fix: str = ""
    data: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        """As a line on a console."""
        text = f"{self.message} {self.fix}".replace("`", "").rstrip()
        return f"{'ok' if self.passed else 'FAILED':8}{self.check:12}{text}"


async def check_connection(
    settings: Settings, connection: Connection, model: str = ""
) -> AsyncGenerator[CheckResult, None]:
    """Yields the results in order, up to the first that rules out the rest. Requests one token."""
    model = model or settings.model or ""  # if it is blank, the first choice
    check = "Address"
    try:
        client = await connection.client()
        yield CheckResult(check, True, client.base_url, data={"base_url": client.base_url})
        identity, models, error = None, list[str](), None
        try:
            identity = await client.discovery.identity()
            models = await client.chat_models()
        except ChatError as failure:
            error = failure
        for check, kinds, message in STEPS:
            if isinstance(error, kinds):
                raise error
            if check != "TLS" or client.base_url.startswith("https:"):
                yield CheckResult(check, True, message)
        check = "Server"
        if identity and (identity.version or not error):
            data = {"server": identity.name, "version": identity.version, "route": identity.dialect.route}
            yield CheckResult(check, True, f"{identity.name}, asked at {as_code(identity.dialect.route)}", data=data)
        elif isinstance(error, errors.NotALlamaStack) and not model:
            raise error
        if isinstance(error, errors.AuthFailed):
            raise error
        yield (result := _failure("Models", error) if error else _check_models(model, models))
        if result.passed or model:
            result = await _check_reply(client.stream, model or first_choice(models))
            needed = ", and none is needed" if result.passed else ""
            yield CheckResult("Key", True, "accepted" if client.has_key else f"none is set{needed}")
            yield result
    except ChatError as failure:
        yield _failure("Key" if isinstance(failure, errors.AuthFailed) else check, failure)
    except Exception:
        yield _failure("Check", log_unexpected("checking the connection"))


def _failure(check: str, error: ChatError) -> CheckResult:
    return CheckResult(check, False, error.sentence, error.fix)


def _check_models(model: str, models: list[str]) -> CheckResult:
    data = {"models": models}
    if model and not models:
        return CheckResult("Models", True, f"none is listed; {as_code(model)} is chosen", data=data | {"model": model})
    if not models:
        fix = "Register one there; if its engine was down when the server started, restart the server."
        return CheckResult("Models", False, "The server lists no chat model.", fix, data)
    if not (name := same_model(model or first_choice(models), models)):
        error = unknown_model(model, models)
        return CheckResult("Models", False, error.sentence, error.fix, data)
    count = f"{len(models)} chat model{'s' * (len(models) > 1)}"
    return CheckResult("Models", True, f"{count}; {as_code(name)} is chosen", data=data | {"model": name})


async def _check_reply(stream: Stream, model: str) -> CheckResult:
    """Requests one token. Raises `AuthFailed`."""
    reply, messages = Reply(), [Message("user", "Hi")]
    async with aclosing(respond(stream, model, messages, SamplingOptions(max_tokens=1))) as replies:
        async for reply in replies:
            if (seconds := reply.stats.first) is not None:
                message = f"the first token came after {seconds:.2f} s"
                return CheckResult("Reply", True, message, data={"seconds": round(seconds, 3)})
    if isinstance(reply.error, errors.AuthFailed):
        raise reply.error
    if reply.error:
        return _failure("Reply", reply.error)
    return CheckResult("Reply", True, "it came without text, at the limit of one token")


async def main(settings: Settings) -> int:
    """Prints the results: a line each, or one JSON object. Returns the exit status, 0 if all passed."""
    results = []
    with closing(Connection(settings)) as connection:
        async for result in check_connection(settings, connection):
            results.append(result)
            if not settings.json:
                print(result, flush=True)
        await connection.disconnect()
    passed = all(result.passed for result in results)
    if settings.json:
        facts = {name: value for result in results for name, value in result.data.items()}
        checks = [{name: value for name, value in vars(result).items() if name != "data"} for result in results]
        print(json.dumps({"passed": passed, **facts, "checks": checks}, indent=2))
    return 0 if passed else 1
