"""A chat request as Python, as a curl command, and as its JSON.

All are made from the payload that the page sends. `make contract` checks the facts about the client's releases.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pprint import pformat

from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, Dialect, Payload
from llama_ui.workbench.templates import render

# A Llama Stack server refuses (426) a client of another series than its own. These are the last releases of each; some
# earlier ones lack packages that they import (0.2.12), lack the chat route (0.2.2), or name another series (0.2.0).
_CLIENTS = ("0.1.9", "0.2.23", "0.3.5", "0.4.7", "0.5.4", "0.6.1", "0.7.5")
_LATEST, _LATEST_AT_OLD_ROUTES = "0.7.5", "0.2.23"  # for OGX and plain engines, which accept every client
_WITHOUT_EFFORT = ("0.2.23", "0.3.5", "0.4.7")  # they have no argument `reasoning_effort`

# A file's name that stands in a payload for the data of an image. No text of a request has half a surrogate pair.
_IMAGE = re.compile("\ud800(.*?)\udfff")
# Such a name in a Python literal, where the backslashes of a text are doubled.
_IMAGE_LITERAL = re.compile(r"'(data:image/\w+;base64,)?\\ud800(image-\d+\.\w+)\\udfff'")
# Characters that JSON need not escape, but that terminals and editors act on: commands, line breaks, text direction.
_CONTROLS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Code:
    """One request in three forms. `json` has "<image-1.jpg in base64>" in place of the data of an image.

    `images` are the names and contents of the files that `python` and `curl` read. None of the three has the key.
    """

    python: str
    curl: str
    json: str
    images: tuple[tuple[str, Image], ...]


def code(
    base_url: str,
    version: str | None,
    dialect: Dialect,
    model: str,
    messages: Sequence[Message],
    options: SamplingOptions,
) -> Code:
    """The request for a server of this `version`, which is None for a plain engine."""
    names: dict[Image, str] = {}
    named = [replace(message, images=tuple(_named(image, names) for image in message.images)) for message in messages]
    payload = dialect.payload(model, named, options)
    client = _client(version, dialect)
    arguments = dict(payload)
    if client in _WITHOUT_EFFORT and "reasoning_effort" in arguments:
        arguments["extra_body"] = {"reasoning_effort": arguments.pop("reasoning_effort")}
    python = render(
        "python.jinja",
        literal=_literal,
        client=client,
        base_url=base_url,
        arguments=arguments,
        has_images=bool(names),
        is_legacy=dialect == LEGACY,
        has_error_chunks=client != _LATEST,  # the others give a failure as a chunk, and raise nothing
    )
    curl = _curl(base_url.rstrip("/") + dialect.route, payload, bool(names))
    json_text = _IMAGE.sub(r"<\1 in base64>", _json(payload))
    return Code(python, curl, json_text, tuple((name, image) for image, name in names.items()))


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
    return render("curl.jinja", url=shlex.quote(url), body=body, has_images=has_images)


def _literal(value: object) -> str:
    """A value of a payload as Python, on several lines where it is long."""
    return _IMAGE_LITERAL.sub(
        lambda found: (f"'{found[1]}' + " if found[1] else "") + f"base64_of('{found[2]}')",
        pformat(value, sort_dicts=False),
    )
