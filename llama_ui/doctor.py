"""The doctor: looks at the server step by step, and says of each step whether it passed and what would mend it."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from llama_ui import errors, models
from llama_ui.connection import Connection
from llama_ui.errors import ChatError, as_code
from llama_ui.events import Done, Reasoning, Text
from llama_ui.messages import Message, Options
from llama_ui.settings import Settings
from llama_ui.values import parse_url, shown_url

if TYPE_CHECKING:
    from llama_ui.stack import Identity, LlamaStack

log = logging.getLogger(__name__)

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
        async for finding in _examine(settings, connection, model or settings.model or ""):
            yield finding
    except Exception:
        log.exception("Error while looking at the server")
        yield Finding("Check", False, "The check itself failed.", "The log says more.")


async def _examine(settings: Settings, connection: Connection, chosen: str) -> AsyncGenerator[Finding, None]:
    try:
        if settings.base_url:
            parse_url(settings.base_url)
        stack = await connection.stack()
    except ValueError as error:
        shown = as_code(shown_url(settings.base_url or ""))
        yield Finding("Address", False, f"{shown} {error}.", "Correct --base-url.")
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
    for finding in _way(stack.base_url, identity, failure):
        yield finding
        if not finding.passed:
            return
    yield (finding := _failed("Models", failure) if failure else _models(chosen, listed))
    if not (finding.passed or chosen):
        return
    reply = await _reply(stack, chosen or models.first_choice(listed))
    if reply.check != "Key":
        yield Finding("Key", True, "accepted" if settings.api_key else "none is set, and none is needed")
    yield reply


def _way(url: str, identity: "Identity | None", failure: ChatError | None) -> Iterator[Finding]:
    """What the first answers tell; up to the finding that did not pass, if one did not."""
    for check, kinds, message in WAY:
        if isinstance(failure, kinds):
            yield _failed(check, failure)
        elif check != "TLS" or url.startswith("https:"):
            yield Finding(check, True, message)
    known = identity and identity.version is not None
    if identity and (known or not failure):
        data = {"server": identity.name, "version": identity.version, "route": identity.dialect.route}
        yield Finding("Server", True, f"{identity.name}, asked at {as_code(identity.dialect.route)}", data=data)
    if isinstance(failure, errors.KeyRefused):
        yield _failed("Key", failure)
    elif failure and not known and (not identity or isinstance(failure, errors.NoSuchPath)):
        yield _failed("Server", failure)


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
    finish_reason = None
    try:
        async with aclosing(stack.stream(model, [Message("user", "Hi")], Options(max_tokens=1))) as events:
            async for event in events:
                match event:
                    case Text() | Reasoning():
                        seconds = time.monotonic() - started
                        told = f"the first token came after {seconds:.2f} s"
                        return Finding("Reply", True, told, data={"seconds": round(seconds, 3)})
                    case Done():
                        finish_reason = event.finish_reason
    except errors.KeyRefused as error:
        return _failed("Key", error)
    except ChatError as error:
        return _failed("Reply", error)
    if finish_reason == "length":  # a token that shows nothing
        return Finding("Reply", True, f"it came within {time.monotonic() - started:.2f} s")
    return Finding("Reply", False, f"The reply was empty; it ended with {as_code(finish_reason or '')}.", "Try again.")


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
