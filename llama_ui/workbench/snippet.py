"""A chat request as somebody would send it without this app: as Python, as a curl command, and as its JSON.  Pure.

All are made from the payload of the server's dialect, so each asks for what the page itself asked for. What the client
releases are like was found by installing them on Python 3.12; `pytest --contract tests/test_snippet.py` runs them.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, Dialect, Payload

# A Llama Stack server turns away (426) a client of another series than its own. These are the last releases of each:
# some before them lack packages that they import (0.2.12), the chat route (0.2.2), or name another series (0.2.0).
_CLIENTS = ("0.1.9", "0.2.23", "0.3.5", "0.4.7", "0.5.4", "0.6.1", "0.7.5")
# For other servers, such as OGX and plain engines, which do not look at that: the last releases that ask at the route.
_LATEST, _LATEST_AT_OLD_ROUTES = "0.7.5", "0.2.23"
_WITHOUT_EFFORT = ("0.2.23", "0.3.5", "0.4.7")  # they have no argument for it

_WIDTH = 88  # of a line of Python, as ruff and black have it
# Stands for a picture's data in a payload, around the file's name. No text holds half a surrogate pair.
_PICTURE = re.compile("\ud800(.*?)\udfff")
# What JSON may hold as it is, and a terminal or an editor obeys: as a command, a line break, a turn of direction.
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
{told}    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
print()
"""
# The clients before 0.7 make a chunk of a failure, and raise nothing.
_TOLD = """\
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
    """One request in three forms. `json` has "<image-1.jpg in base64>" where the data of a picture would be.

    `pictures`: the names of the files that `python` and `curl` read, and what is to be in them. None of the three holds
    a key: both programs take it from the variable LLAMA_STACK_CLIENT_API_KEY.
    """

    python: str
    curl: str
    json: str
    pictures: tuple[tuple[str, Image], ...]


def code(
    base_url: str,
    version: str | None,
    dialect: Dialect,
    model: str,
    messages: Sequence[Message],
    options: SamplingOptions,
) -> Code:
    """The request for the server at this address. `version`: what it says it is; None for a plain engine.

    Each form sends what `dialect.payload(model, messages, options)` is, and reads the reply as it is streamed.
    """
    names: dict[Image, str] = {}
    marked = [replace(message, images=tuple(_marked(image, names) for image in message.images)) for message in messages]
    payload = dialect.payload(model, marked, options)
    return Code(
        _python(base_url, _client(version, dialect), dialect, payload, bool(names)),
        _curl(base_url.rstrip("/") + dialect.route, payload, bool(names)),
        _PICTURE.sub(r"<\1 in base64>", _json(payload)),
        tuple((name, image) for image, name in names.items()),
    )


def _marked(image: Image, names: dict[Image, str]) -> Image:
    """The picture with its file's name in place of its data. The same picture twice is one file."""
    suffix = re.sub("[^a-z]", "", image.media_type.partition("/")[2]).replace("jpeg", "jpg")
    name = names.setdefault(image, f"image-{len(names) + 1}.{suffix}")
    return replace(image, data=f"\ud800{name}\udfff")


def _client(version: str | None, dialect: Dialect) -> str:
    """The release of the client that the server takes; also for a server whose own number was never one of a client."""
    series = ".".join((version or "").split(".")[:2])
    other = _LATEST if dialect == CHAT_COMPLETIONS else _LATEST_AT_OLD_ROUTES
    return next((client for client in _CLIENTS if client.rpartition(".")[0] == series), other)


def _json(payload: Payload) -> str:
    text = json.dumps(payload, indent=2, ensure_ascii=False)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _curl(url: str, payload: Payload, pictures: bool) -> str:
    """The body is on standard input: so no text is an argument, which the shell would read and the system would limit.

    No line of JSON is the word that ends it. A shell leaves all of it alone where that word is quoted; with pictures it
    is not, so that their data can be put in.
    """
    body, end = _json(payload), "'EOF'"
    if pictures:
        body, end = re.sub(r"[\\$`]", r"\\\g<0>", body), "EOF"
        body = _PICTURE.sub(r"$(base64 < \1 | tr -d '\\n')", body)
    globs = "-g " if "[" in url else ""  # curl takes brackets for a range of addresses
    return (
        f"curl -N {globs}--fail-with-body {shlex.quote(url)} \\\n"
        '  -H "Authorization: Bearer $LLAMA_STACK_CLIENT_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  --data-binary @- <<{end}\n{body}\nEOF\n"
    )


def _python(base_url: str, client: str, dialect: Dialect, payload: Payload, pictures: bool) -> str:
    arguments = dict(payload)
    if client in _WITHOUT_EFFORT and "reasoning_effort" in arguments:
        arguments["extra_body"] = {"reasoning_effort": arguments.pop("reasoning_effort")}
    start = _START.format(
        client=client,
        imports="import base64\nimport os\nfrom pathlib import Path" if pictures else "import os",
        helper=_BASE64_OF if pictures else "",
        url=_literal(base_url),
    )
    # The conversation is easier to read, and to add to, with a message to a line.
    rows = [
        f"    {name}={_laid_out(value, 5 + len(name), 1, name == 'messages')}," for name, value in arguments.items()
    ]
    rest = _LEGACY if dialect == LEGACY else _CHAT
    return start + rest.format(arguments="\n".join(rows), told="" if client == _LATEST else _TOLD)


def _laid_out(value: object, taken: int, depth: int, spread: bool = False) -> str:
    """A value as Python, over several lines where one is not enough, as ruff and black lay it out.

    `taken`: what its first line holds before it, in characters. `depth`: how far that line is indented, in steps.
    """
    line = _line(value)
    if taken + len(line) < _WIDTH and not spread:
        return line
    inner = "    " * (depth + 1)
    match value:
        case dict():
            rows = [f"{_line(key)}: {_laid_out(item, len(inner + key) + 4, depth + 1)}," for key, item in value.items()]
        case list():
            rows = [f"{_laid_out(item, len(inner), depth + 1)}," for item in value]
        case str() if "\n" in value[:-1]:
            alone = len(inner + line) <= _WIDTH
            rows = [line] if alone else [_literal(part) for part in re.split(r"(?<=\n)(?!\Z)", value)]
        case _:
            return line
    brackets = {dict: "{}", list: "[]", str: "()"}[type(value)]
    return "\n".join([brackets[0], *(inner + row for row in rows), "    " * depth + brackets[1]])


def _line(value: object) -> str:
    """A value as Python, in one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{_line(name)}: {_line(item)}" for name, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_line, value)) + "]"
        case str():
            before, mark, name = value.partition("\ud800")
            if mark:
                return f"{_literal(before)} + " * bool(before) + f"base64_of({_literal(name[:-1])})"
            return _literal(value)
    return repr(value)


def _literal(text: str) -> str:
    """A text as a Python literal in the quotes that need fewer escapes, and double ones where it is all the same."""
    # repr shows what can be seen and escapes the rest. Of a text with both quotes it escapes the single ones.
    inside = repr(text + "\"'")[1:-4]
    if text.count('"') > text.count("'"):
        return f"'{inside}'"
    return '"' + inside.replace("\\'", "'").replace('"', '\\"') + '"'
