"""JSON schemas: whether a text is one, and whether a reply matches it.

A visitor's schema is not trusted: a pattern in it may take for ever to match, so a process of its own checks replies.
"""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from pydantic_core import from_json
from referencing import Registry

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import InputError
from llama_ui.core.messages import SamplingOptions
from llama_ui.core.option_values import schema_of
from llama_ui.core.text import as_code

ROOT = Path(__file__).parents[2]
SECONDS = 5.0  # that the check of a reply may take
_checks = asyncio.Semaphore(2)  # each takes a process


def check_schema(options: SamplingOptions) -> None:
    """Raises InputError if the options have a JSON schema that is none."""
    try:
        Draft202012Validator.check_schema(schema_of(options.response_format) or {})
    except SchemaError as error:
        place = _place(error)
        raise InputError(f"JSON schema is not valid{place}: {as_code(error.message, 150)}.", "") from None
    except Exception as error:  # whatever else hostile schemas raise
        raise InputError(f"JSON schema cannot be checked: {as_code(type(error).__name__)}.", "") from None


async def with_verdict(reply: Reply, options: SamplingOptions) -> Reply:
    """A reply that has ended, with a sentence about whether it matches the schema that was asked for, if any."""
    samples = [await with_verdict(sample, options) for sample in reply.samples]
    reply = replace(reply, samples=tuple(samples))
    schema = schema_of(options.response_format)
    if schema is None or reply.error or not reply.has_answer:
        return reply
    return replace(reply, ending=f"{reply.ending} {await verdict(schema, reply.text)}".strip())


async def verdict(schema: dict[str, Any], text: str) -> str:
    """A sentence about whether a text is JSON that matches a schema."""
    command, job = [sys.executable, "-m", "llama_ui.workbench.schema"], json.dumps([schema, text])
    run = partial(subprocess.run, command, cwd=ROOT, input=job, capture_output=True, text=True, timeout=SECONDS)
    try:
        async with _checks:
            done = await asyncio.to_thread(run)
        return done.stdout or "The reply could not be checked against the schema."
    except subprocess.TimeoutExpired:
        return "It took too long to check the reply against the schema."


def _verdict(schema: dict[str, Any], text: str) -> str:
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        return "The reply is not JSON."
    # An empty registry: a reference to another address is not followed.
    errors = Draft202012Validator(schema, registry=Registry()).iter_errors(value)
    error: ValidationError | None = best_match(errors)
    if error is None:
        return "The reply matches the schema."
    return f"The reply does not match the schema{_place(error)}: {as_code(error.message, 150)}."


def _place(error: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    return f" at {as_code(path, 100)}" if path else ""


if __name__ == "__main__":
    sys.stdout.write(_verdict(*json.load(sys.stdin)))
