"""The doctor: looks at the server step by step, and says of each step whether it passed and what would mend it."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from llama_ui import errors, models
from llama_ui.connection import Connection
from llama_ui.errors import ChatError, as_code
from llama_ui.events import Reasoning, Text
from llama_ui.messages import Message, Options
from llama_ui.settings import Settings, parse_url, shown_url

if TYPE_CHECKING:
    from llama_ui.stack import Identity, LlamaStack

# What happens on the way to a first answer: the failures that end the way there, and what to say where none did.
WAY = [
    ("Name", (errors.NameNotFound,), "the host is known"),
    ("Connection", (errors.NotListening,), "something listens there"),
    ("TLS", (errors.TLSMismatch,), "the connection is encrypted"),
    ("HTTP", (errors.NoAnswer, errors.ConnectionLost, errors.TimedOut), "it answers"),
]


@dataclass(frozen=True)
class Finding:
    """One step: passed or not, one sentence in Markdown, and the fix where it did not pass. `data` is for scripts."""

    check: str
    passed: bool
    message: str
    fix: str = ""
    data: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        """As a line on a console."""
        text = f"{self.message} {self.fix}".replace("`", "").rstrip()
        return f"{'ok' if self.passed else 'FAILED':8}{self.check:12}{text}"


def _failed(check: str, error: ChatError) -> Finding:
    return Finding(check, False, error.sentence, error.fix)


async def examine(settings: Settings, connection: Connection, model: str = "") -> AsyncGenerator[Finding, None]:
    """The findings, in order; the first step that keeps the next ones from being looked at is the last. Costs a token.

    `model`: the one to look for and to ask, else the one of the settings, else the one to begin with.
    """
    try:
        if settings.base_url:
            parse_url(settings.base_url)
        stack = await connection.stack()
    except ValueError as error:
        yield Finding(
            "Address", False, f"{as_code(shown_url(settings.base_url or ''))} {error}.", "Correct --base-url."
        )
        return
    except ChatError as error:
        yield _failed("Address", error)
        return
    yield Finding("Address", True, stack.base_url, data={"base_url": stack.base_url})
    identity, listed, failure = None, list[str](), None
    try:
        identity = await stack.identity()
        listed = await stack.chat_models()
    except ChatError as error:
        failure = error
    for finding in _findings(stack.base_url, identity, failure, bool(settings.api_key)):
        yield finding
        if not finding.passed:
            return
    chosen = model or settings.model or ""
    yield (finding := _models(chosen, listed))
    if chosen or finding.passed:
        yield await _reply(stack, chosen or models.first_choice(listed))


def _findings(url: str, identity: "Identity | None", failure: ChatError | None, has_key: bool) -> Iterator[Finding]:
    """What the first answers tell; up to the finding that did not pass, if one did not."""
    for check, kinds, message in WAY:
        if isinstance(failure, kinds):
            yield _failed(check, failure)
        elif check != "TLS" or url.startswith("https:"):
            yield Finding(check, True, message)
    no_server = isinstance(failure, errors.NoSuchPath) and identity and identity.version is None
    if identity and not no_server:
        data = {"server": identity.name, "version": identity.version, "route": identity.dialect.route}
        yield Finding("Server", True, f"{identity.name}, asked at {as_code(identity.dialect.route)}", data=data)
    elif failure and not isinstance(failure, errors.KeyRefused):
        yield _failed("Server", failure)
    if isinstance(failure, errors.KeyRefused):
        yield _failed("Key", failure)
    elif failure:
        yield _failed("Models", failure)
    yield Finding("Key", True, "accepted" if has_key else "none is set, and none is needed")


def _models(chosen: str, listed: list[str]) -> Finding:
    data = {"models": listed}
    if not listed:
        fix = "Register one there; if its engine was down when the server started, restart the server."
        return Finding("Models", False, "The server lists no chat model.", fix, data)
    model = chosen or models.first_choice(listed)
    if model not in listed:
        model = models.same_model(model, listed) or ""
    if not model:
        error = models.unknown(chosen, listed)
        return Finding("Models", False, error.sentence, error.fix, data)
    count = f"{len(listed)} chat model{'s' * (len(listed) > 1)}"
    return Finding("Models", True, f"{count}; {as_code(model)} is chosen", data=data | {"model": model})


async def _reply(stack: "LlamaStack", model: str) -> Finding:
    started = time.monotonic()
    try:
        async with aclosing(stack.stream(model, [Message("user", "Hi")], Options(max_tokens=1))) as events:
            async for event in events:
                if isinstance(event, (Text, Reasoning)):
                    break
    except ChatError as error:
        return _failed("Reply", error)
    seconds = time.monotonic() - started
    return Finding("Reply", True, f"the first token came after {seconds:.2f} s", data={"seconds": round(seconds, 3)})


def main(settings: Settings) -> int:
    """Prints the findings: a line each, or one JSON object. Returns the exit status, 0 if all passed."""
    connection = Connection(settings)
    try:
        return asyncio.run(_report(settings, connection))
    finally:
        connection.close()


async def _report(settings: Settings, connection: Connection) -> int:
    findings = []
    async for finding in examine(settings, connection):
        findings.append(finding)
        if not settings.json:
            print(finding, flush=True)
    passed = all(finding.passed for finding in findings)
    if settings.json:
        facts = {name: value for finding in findings for name, value in finding.data.items()}
        checks = [{name: value for name, value in asdict(finding).items() if name != "data"} for finding in findings]
        print(json.dumps({"passed": passed, **facts, "checks": checks}, indent=2))
    return 0 if passed else 1
