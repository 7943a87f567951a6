"""A chat request as Python, as a curl command, and as its JSON; and a program that chats.

All are made from the payload that the page sends. `make contract` checks the facts about the client's releases.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pprint import pformat
from typing import Any

from llama_ui.core.conversation import Conversation
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.core.option_values import Example
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, Dialect, Payload
from llama_ui.workbench.templates import render

# A Llama Stack server refuses (426) a client of another series than its own. These are the last releases of each; some
# earlier ones lack packages that they import (0.2.12), lack the chat route (0.2.2), or name another series (0.2.0).
_CLIENTS = ("0.1.9", "0.2.23", "0.3.5", "0.4.7", "0.5.4", "0.6.1", "0.7.5")
_LATEST, _LATEST_AT_OLD_ROUTES = "0.7.5", "0.2.23"  # for OGX and plain engines, which accept every client
_WITHOUT_EFFORT = ("0.2.23", "0.3.5", "0.4.7")  # they have no argument `reasoning_effort`
# The fields that the others have arguments for. Any other field is in `extra_body`.
_ARGUMENTS = {"model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "seed"}
_ARGUMENTS |= {"response_format", "logprobs", "top_logprobs", "n", "stop", "frequency_penalty", "presence_penalty"}
_ARGUMENTS |= {"model_id", "sampling_params", "reasoning_effort"}

# A file's name that stands in a payload for the data of an image. No text of a request has half a surrogate pair.
_IMAGE = re.compile("\ud800(.*?)\udfff")
# Such a name in a Python literal, where the backslashes of a text are doubled.
_IMAGE_LITERAL = re.compile(r"'(data:image/\w+;base64,)?\\ud800(image-\d+\.\w+)\\udfff'")
# Characters that JSON need not escape, but that terminals and editors act on: commands, line breaks, text direction.
_CONTROLS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


# It stands in a payload for the place before and after the earlier messages; as JSON, and as a Python literal.
_FOLD = "\ud801"
_FOLD_LINE = re.compile("^ *(?:\"\ud801\"|'\\\\ud801'),\n", re.MULTILINE)
MIN_FOLDED = 2  # messages

type Parts = tuple[str, str, str]


@dataclass(frozen=True)
class Code:
    """One request in three forms. `json` has "<image-1.jpg in base64>" in place of the data of an image.

    Each form has three parts: what comes before the earlier messages, the lines of these, and what comes after them.
    The earlier messages are the `folded` ones between the system prompt and the last user message; if they are fewer
    than `MIN_FOLDED`, their part is blank and `folded` is 0.
    `images` are the names and contents of the files that `python` and `curl` read. None of the three has the key.
    """

    python_parts: Parts
    curl_parts: Parts
    json_parts: Parts
    folded: int
    images: tuple[tuple[str, Image], ...]

    @property
    def python(self) -> str:
        """The whole program."""
        return "".join(self.python_parts)

    @property
    def curl(self) -> str:
        """The whole command."""
        return "".join(self.curl_parts)

    @property
    def json(self) -> str:
        """The whole body of the request."""
        return "".join(self.json_parts)


def code(
    base_url: str,
    version: str | None,
    dialect: Dialect,
    model: str,
    messages: Sequence[Message],
    options: SamplingOptions,
) -> Code:
    """The request for a server of this `version`, which is None for a plain engine. A user message is the last one."""
    names: dict[Image, str] = {}
    named = [replace(message, images=tuple(_named(image, names) for image in message.images)) for message in messages]
    payload, folded = _marked(dialect.payload(model, named, options), has_system=messages[0].role == "system")
    return Code(
        _parts(_python("python.jinja", base_url, version, dialect, payload, bool(names))),
        _parts(_curl(base_url.rstrip("/") + dialect.route, payload, bool(names))),
        _parts(_IMAGE.sub(r"<\1 in base64>", _json(payload))),
        folded,
        tuple((name, image) for image, name in names.items()),
    )


def loop(
    base_url: str,
    version: str | None,
    dialect: Dialect,
    model: str,
    system_prompt: str,
    options: SamplingOptions,
    examples: tuple[Example, ...] = (),
) -> str:
    """A Python program that chats with a server of this `version`: the conversation loop of Llama Stack's guide."""
    payload = dialect.payload(model, Conversation(system_prompt, examples=examples).messages(), options)
    # The program shows no usage, asks for one reply, and goes on from no example.
    for name in ("stream_options", "n", "continue_final_message", "add_generation_prompt"):
        payload.pop(name, None)
    return _python("loop.jinja", base_url, version, dialect, payload, has_images=False)


def _marked(payload: Payload, has_system: bool) -> tuple[Payload, int]:
    """The payload with `_FOLD` before and after the earlier messages, and their number."""
    messages: Any = payload["messages"]
    start, end = int(has_system), len(messages) - 1
    if end - start < MIN_FOLDED:
        end = start
    marked = [*messages[:start], _FOLD, *messages[start:end], _FOLD, *messages[end:]]
    return payload | {"messages": marked}, end - start


def _parts(text: str) -> Parts:
    before, earlier, after = _FOLD_LINE.split(text)
    return before, earlier, after


def _python(
    template: str, base_url: str, version: str | None, dialect: Dialect, payload: Payload, has_images: bool
) -> str:
    client, arguments = _client(version, dialect), dict(payload)
    known = _ARGUMENTS - ({"reasoning_effort"} if client in _WITHOUT_EFFORT else set())
    if extra := {name: arguments.pop(name) for name in [*arguments] if name not in known}:
        arguments["extra_body"] = extra
    return render(
        template,
        literal=_literal,
        client=client,
        base_url=base_url,
        method="inference.chat_completion" if dialect == LEGACY else "chat.completions.create",
        arguments=arguments,
        streams=payload["stream"],
        count=payload.get("n", 1),
        has_images=has_images,
        is_legacy=dialect == LEGACY,
        has_error_chunks=client != _LATEST,  # the others give a failure as a chunk, and raise nothing
    )


def _named(image: Image, names: dict[Image, str]) -> Image:
    """The image with the name of its file in place of its data. Equal images share a file."""
    suffix = image.media_type.removeprefix("image/").replace("jpeg", "jpg")
    name = names.setdefault(image, f"image-{len(names) + 1}.{suffix}")
    return replace(image, data=f"\ud800{name}\udfff")


def _client(version: str | None, dialect: Dialect) -> str:
    """The release of the client that the server accepts."""
    series = ".".join((version or "").split(".")[:2])
    other = _LATEST if dialect == CHAT_COMPLETIONS else _LATEST_AT_OLD_ROUTES
    return next((client for client in _CLIENTS if client.rpartition(".")[0] == series), other)


def _json(payload: Payload) -> str:
    text = json.dumps(payload, indent=2, ensure_ascii=False)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _curl(url: str, payload: Payload, has_images: bool) -> str:
    body = _json(payload)
    if has_images:
        body = _IMAGE.sub(r"$(base64 < \1 | tr -d '\\n')", re.sub(r"[\\$`]", r"\\\g<0>", body))
    return render("curl.jinja", url=shlex.quote(url), body=body, has_images=has_images, streams=payload["stream"])


def _literal(value: object) -> str:
    """A value of a payload as Python, on several lines where it is long."""
    return _IMAGE_LITERAL.sub(
        lambda found: (f"'{found[1]}' + " if found[1] else "") + f"base64_of('{found[2]}')",
        pformat(value, sort_dicts=False),
    )
