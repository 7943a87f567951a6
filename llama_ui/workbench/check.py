"""The connection check: tests the way to a first token step by step, and says what to do where it fails."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field

from llama_ui.core import errors
from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError
from llama_ui.core.logs import log_unexpected
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import Stream, respond
from llama_ui.core.text import as_code
from llama_ui.llama_stack.connection import Connection
from llama_ui.llama_stack.discovery import ServerIdentity
from llama_ui.llama_stack.models import first_choice, same_model, unknown_model
from llama_ui.parsers import parse_url, redact_url
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
    """Yields the results in order, up to the first that rules out the rest. Requests one token.

    `model` is the one to use; if it is blank, the configured one or else the first choice.
    """
    model = model or settings.model or ""
    try:
        try:
            if settings.base_url:
                parse_url(settings.base_url)
            client = await connection.client()
        except ChatError as failure:
            yield _failure("Address", failure)
            return
        except ValueError as failure:
            address = as_code(redact_url(settings.base_url or ""))
            yield CheckResult("Address", False, f"{address} {failure}.", "Correct --base-url.")
            return
        yield CheckResult("Address", True, client.base_url, data={"base_url": client.base_url})
        identity, models, error = None, list[str](), None
        try:
            identity = await client.discovery.identity()
            models = await client.chat_models()
        except ChatError as failure:
            error = failure
        for result in _steps(client.base_url, identity, error):
            yield result
            if not result.passed:
                return
        yield (result := _failure("Models", error) if error else _check_models(model, models))
        if not (result.passed or model):
            return
        result = await _check_reply(client.stream, model or first_choice(models))
        if result.check != "Key":
            yield CheckResult("Key", True, "accepted" if settings.api_key else "none is set, and none is needed")
        yield result
    except Exception:
        yield _failure("Check", log_unexpected("checking the connection"))


def _failure(check: str, error: ChatError) -> CheckResult:
    return CheckResult(check, False, error.sentence, error.fix)


def _steps(url: str, identity: ServerIdentity | None, error: ChatError | None) -> Iterator[CheckResult]:
    """The results of the lookup, up to the one that failed if there is one."""
    for check, kinds, message in STEPS:
        if isinstance(error, kinds):
            yield _failure(check, error)
        elif check != "TLS" or url.startswith("https:"):
            yield CheckResult(check, True, message)
    has_version = identity is not None and identity.version is not None
    if identity and (has_version or not error):
        data = {"server": identity.name, "version": identity.version, "route": identity.dialect.route}
        yield CheckResult("Server", True, f"{identity.name}, asked at {as_code(identity.dialect.route)}", data=data)
    if isinstance(error, errors.AuthFailed):
        yield _failure("Key", error)
    elif error and not has_version and (not identity or isinstance(error, errors.NotALlamaStack)):
        yield _failure("Server", error)


def _check_models(model: str, models: list[str]) -> CheckResult:
    data = {"models": models}
    if not models:
        fix = "Register one there; if its engine was down when the server started, restart the server."
        return CheckResult("Models", False, "The server lists no chat model.", fix, data)
    name = same_model(model or first_choice(models), models)
    if not name:
        error = unknown_model(model, models)
        return CheckResult("Models", False, error.sentence, error.fix, data)
    count = f"{len(models)} chat model{'s' * (len(models) > 1)}"
    return CheckResult("Models", True, f"{count}; {as_code(name)} is chosen", data=data | {"model": name})


async def _check_reply(stream: Stream, model: str) -> CheckResult:
    """Requests one token. The result is about the key if that is what failed."""
    reply, messages = Reply(), [Message("user", "Hi")]
    async with aclosing(respond(stream, model, messages, SamplingOptions(max_tokens=1))) as replies:
        async for reply in replies:
            if (seconds := reply.stats.first) is not None:
                message = f"the first token came after {seconds:.2f} s"
                return CheckResult("Reply", True, message, data={"seconds": round(seconds, 3)})
    if reply.error:
        return _failure("Key" if isinstance(reply.error, errors.AuthFailed) else "Reply", reply.error)
    return CheckResult("Reply", True, "it came without text, at the limit of one token")


def main(settings: Settings) -> int:
    """Prints the results: a line each, or one JSON object. Returns the exit status, 0 if all passed."""
    connection = Connection(settings)
    try:
        return asyncio.run(_print_results(settings, connection))
    finally:
        connection.close()


async def _print_results(settings: Settings, connection: Connection) -> int:
    results = []
    async for result in check_connection(settings, connection):
        results.append(result)
        if not settings.json:
            print(result, flush=True)
    passed = all(result.passed for result in results)
    if settings.json:
        facts = {name: value for result in results for name, value in result.data.items()}
        checks = [{name: value for name, value in asdict(result).items() if name != "data"} for result in results]
        print(json.dumps({"passed": passed, **facts, "checks": checks}, indent=2))
    return 0 if passed else 1
