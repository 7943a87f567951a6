"""A chat request as Python, as a curl command, and as its JSON.

All are made from the payload of the server's dialect, so each sends what the page itself sends. The facts about the
releases of the client hold for Python 3.12; `pytest --contract tests/workbench/test_snippet.py` checks them.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, Dialect, Payload

# A Llama Stack server refuses (426) a client of another series than its own. These are the last releases of each; some
# earlier ones lack packages that they import (0.2.12), lack the chat route (0.2.2), or name another series (0.2.0).
_CLIENTS = ("0.1.9", "0.2.23", "0.3.5", "0.4.7", "0.5.4", "0.6.1", "0.7.5")
_LATEST, _LATEST_AT_OLD_ROUTES = "0.7.5", "0.2.23"  # for OGX and plain engines, which accept every client
_WITHOUT_EFFORT = ("0.2.23", "0.3.5", "0.4.7")  # they have no argument `reasoning_effort`

_WIDTH = 88
# A file's name that stands in a payload for the data of an image. No text of a request has half a surrogate pair.
_IMAGE = re.compile("\ud800(.*?)\udfff")
# Characters that JSON need not escape, but that terminals and editors act on: commands, line breaks, text direction.
_CONTROLS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

_START = """\
# pip install llama-stack-client=={client}
{imports}

from llama_stack_client import LlamaStackClient
{helper}
client = LlamaStackClient(
    base_url={url},
    api_key=os.environ.get("LLAMA_STACK_CLIENT_API_KEY"),
)
"""
_BASE64_OF = """

def base64_of(name):
    return base64.b64encode(Path(name).read_bytes()).decode()

"""
_CHAT = """\
stream = client.chat.completions.create(
{arguments}
)
for chunk in stream:
{check}    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
print()
"""
# Clients before 0.7 give a failure as a chunk, and raise nothing.
_CHECK = """\
    if chunk.choices is None:
        raise RuntimeError(chunk.error)
"""
_LEGACY = """\
stream = client.inference.chat_completion(
{arguments}
)
for chunk in stream:
    if chunk.event is None:
        raise RuntimeError(chunk.error)
    if chunk.event.delta.type == "text":
        print(chunk.event.delta.text, end="", flush=True)
print()
"""


@dataclass(frozen=True)
class Code:
    """One request in three forms. `json` has "<image-1.jpg in base64>" in place of the data of an image.

    `images` are the names and contents of the files that `python` and `curl` read. None of the three has a key: both
    programs read it from the environment variable LLAMA_STACK_CLIENT_API_KEY.
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
    """The request for a server. `version` is the server's own; None for a plain engine.

    Each form sends `dialect.payload(model, messages, options)`, and prints the reply as it is streamed.
    """
    names: dict[Image, str] = {}
    named = [replace(message, images=tuple(_named(image, names) for image in message.images)) for message in messages]
    payload = dialect.payload(model, named, options)
    return Code(
        _python(base_url, _client(version, dialect), dialect, payload, bool(names)),
        _curl(base_url.rstrip("/") + dialect.route, payload, bool(names)),
        _IMAGE.sub(r"<\1 in base64>", _json(payload)),
        tuple((name, image) for image, name in names.items()),
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
    """The body is a here-document: as an argument, the shell would expand it and the system would limit its length.

    No line of JSON is the delimiter. The shell expands nothing where the delimiter is quoted; with images it is not, so
    that the shell inserts their data.
    """
    body, end = _json(payload), "'EOF'"
    if has_images:
        body, end = re.sub(r"[\\$`]", r"\\\g<0>", body), "EOF"
        body = _IMAGE.sub(r"$(base64 < \1 | tr -d '\\n')", body)
    globs = "-g " if "[" in url else ""  # curl reads brackets as a range of URLs
    return (
        f"curl -N {globs}--fail-with-body {shlex.quote(url)} \\\n"
        '  -H "Authorization: Bearer $LLAMA_STACK_CLIENT_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  --data-binary @- <<{end}\n{body}\nEOF\n"
    )


def _python(base_url: str, client: str, dialect: Dialect, payload: Payload, has_images: bool) -> str:
    arguments = dict(payload)
    if client in _WITHOUT_EFFORT and "reasoning_effort" in arguments:
        arguments["extra_body"] = {"reasoning_effort": arguments.pop("reasoning_effort")}
    start = _START.format(
        client=client,
        imports="import base64\nimport os\nfrom pathlib import Path" if has_images else "import os",
        helper=_BASE64_OF if has_images else "",
        url=_literal(base_url),
    )
    # One message per line is easier to read, and to add to.
    rows = [f"    {name}={_layout(value, 5 + len(name), 1, name == 'messages')}," for name, value in arguments.items()]
    call = _LEGACY if dialect == LEGACY else _CHAT
    return start + call.format(arguments="\n".join(rows), check="" if client == _LATEST else _CHECK)


def _layout(value: object, column: int, depth: int, split: bool = False) -> str:
    """A value as Python, on several lines where it does not fit on one.

    It starts at this column of a line that is indented by `depth` steps.
    """
    line = _line(value)
    if column + len(line) < _WIDTH and not split:
        return line
    inner = "    " * (depth + 1)
    match value:
        case dict():
            rows = [f"{_line(key)}: {_layout(item, len(inner + key) + 4, depth + 1)}," for key, item in value.items()]
        case list():
            rows = [f"{_layout(item, len(inner), depth + 1)}," for item in value]
        case str() if "\n" in value[:-1]:
            rows = [_literal(part) for part in value.splitlines(keepends=True)]
        case _:
            return line
    brackets = {dict: "{}", list: "[]", str: "()"}[type(value)]
    return "\n".join([brackets[0], *(inner + row for row in rows), "    " * depth + brackets[1]])


def _line(value: object) -> str:
    """A value as Python on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{_line(name)}: {_line(item)}" for name, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_line, value)) + "]"
        case str() if "\ud800" in value:
            before, _, name = value.partition("\ud800")
            return f"{_literal(before)} + " * bool(before) + f"base64_of({_literal(name[:-1])})"
        case str():
            return _literal(value)
    return repr(value)


def _literal(text: str) -> str:
    """A text as a Python literal, in double quotes unless single ones need fewer escapes."""
    # repr escapes what is not printable. In a text with both kinds of quotes it escapes the single ones.
    inside = repr(text + "\"'")[1:-4]
    if text.count('"') > text.count("'"):
        return f"'{inside}'"
    return '"' + inside.replace("\\'", "'").replace('"', '\\"') + '"'
