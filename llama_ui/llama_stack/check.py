"""The doctor: looks at the server step by step, and says of each step whether it passed and what would mend it."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from llama_ui.core import errors
from llama_ui.core.errors import ChatError
from llama_ui.core.events import Finished, Reasoning, Text
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.text import as_code
from llama_ui.llama_stack import models
from llama_ui.llama_stack.connection import Connection
from llama_ui.parsers import parse_url, redact_url
from llama_ui.settings import Settings

if TYPE_CHECKING:
    from llama_ui.llama_stack.client import LlamaStackClient, ServerIdentity

log = logging.getLogger(__name__)

# What happens on the way to a first answer: the failures that end the way there, and what to say where none did.
STEPS = [
    ("Name", (errors.NameNotFound,), "the host is known"),
    ("Connection", (errors.NotListening,), "something listens there"),
    ("TLS", (errors.TLSMismatch,), "the connection is encrypted"),
    ("HTTP", (errors.NoAnswer, errors.ConnectionLost, errors.TimedOut), "it answers"),
]


@dataclass(frozen=True)
class CheckResult:
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


def _failed(check: str, error: ChatError) -> CheckResult:
    return CheckResult(check, False, error.sentence, error.fix)


async def check_connection(
    settings: Settings, connection: Connection, model: str = ""
) -> AsyncGenerator[CheckResult, None]:
    """The findings, in order; the first step that keeps the next ones from being looked at is the last. Costs a token.

    `model`: the one to look for and to ask, else the one of the settings, else the one to begin with.
    """
    try:
        async for finding in _examine(settings, connection, model or settings.model or ""):
            yield finding
    except Exception:
        log.exception("Error while looking at the server")
        yield CheckResult("Check", False, "The check itself failed.", "The log says more.")


async def _examine(settings: Settings, connection: Connection, chosen: str) -> AsyncGenerator[CheckResult, None]:
    try:
        if settings.base_url:
            parse_url(settings.base_url)
        stack = await connection.client()
    except ValueError as error:
        shown = as_code(redact_url(settings.base_url or ""))
        yield CheckResult("Address", False, f"{shown} {error}.", "Correct --base-url.")
        return
    except ChatError as error:
        yield _failed("Address", error)
        return
    yield CheckResult("Address", True, stack.base_url, data={"base_url": stack.base_url})
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
        yield CheckResult("Key", True, "accepted" if settings.api_key else "none is set, and none is needed")
    yield reply


def _way(url: str, identity: "ServerIdentity | None", failure: ChatError | None) -> Iterator[CheckResult]:
    """What the first answers tell; up to the finding that did not pass, if one did not."""
    for check, kinds, message in STEPS:
        if isinstance(failure, kinds):
            yield _failed(check, failure)
        elif check != "TLS" or url.startswith("https:"):
            yield CheckResult(check, True, message)
    known = identity and identity.version is not None
    if identity and (known or not failure):
        data = {"server": identity.name, "version": identity.version, "route": identity.dialect.route}
        yield CheckResult("Server", True, f"{identity.name}, asked at {as_code(identity.dialect.route)}", data=data)
    if isinstance(failure, errors.AuthFailed):
        yield _failed("Key", failure)
    elif failure and not known and (not identity or isinstance(failure, errors.NotALlamaStack)):
        yield _failed("Server", failure)


def _models(chosen: str, listed: list[str]) -> CheckResult:
    data = {"models": listed}
    if not listed:
        fix = "Register one there; if its engine was down when the server started, restart the server."
        return CheckResult("Models", False, "The server lists no chat model.", fix, data)
    model = chosen or models.first_choice(listed)
    if model not in listed:
        model = models.same_model(model, listed) or ""
    if not model:
        error = models.unknown_model(chosen, listed)
        return CheckResult("Models", False, error.sentence, error.fix, data)
    count = f"{len(listed)} chat model{'s' * (len(listed) > 1)}"
    return CheckResult("Models", True, f"{count}; {as_code(model)} is chosen", data=data | {"model": model})


async def _reply(stack: "LlamaStackClient", model: str) -> CheckResult:
    started = time.monotonic()
    finish_reason = None
    try:
        async with aclosing(stack.stream(model, [Message("user", "Hi")], SamplingOptions(max_tokens=1))) as events:
            async for event in events:
                match event:
                    case Text() | Reasoning():
                        seconds = time.monotonic() - started
                        told = f"the first token came after {seconds:.2f} s"
                        return CheckResult("Reply", True, told, data={"seconds": round(seconds, 3)})
                    case Finished():
                        finish_reason = event.finish_reason
    except errors.AuthFailed as error:
        return _failed("Key", error)
    except ChatError as error:
        return _failed("Reply", error)
    if finish_reason == "length":  # a token that shows nothing
        return CheckResult("Reply", True, f"it came within {time.monotonic() - started:.2f} s")
    return CheckResult(
        "Reply", False, f"The reply was empty; it ended with {as_code(finish_reason or '')}.", "Try again."
    )


def main(settings: Settings) -> int:
    """Prints the findings: a line each, or one JSON object. Returns the exit status, 0 if all passed."""
    connection = Connection(settings)
    try:
        return asyncio.run(_report(settings, connection))
    finally:
        connection.close()


async def _report(settings: Settings, connection: Connection) -> int:
    findings = []
    async for finding in check_connection(settings, connection):
        findings.append(finding)
        if not settings.json:
            print(finding, flush=True)
    passed = all(finding.passed for finding in findings)
    if settings.json:
        facts = {name: value for finding in findings for name, value in finding.data.items()}
        checks = [{name: value for name, value in asdict(finding).items() if name != "data"} for finding in findings]
        print(json.dumps({"passed": passed, **facts, "checks": checks}, indent=2))
    return 0 if passed else 1
