"""Every setting, once: its name, its variable, its default, its help.

The fields of `Settings` are the table. The command line, the environment, the `.env` file, `--help` and the table in
the README are all made from it. The command line wins over the environment, the environment over `.env`, `.env` over
the default; an empty variable counts as not set.
"""

import argparse
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import httpx
import platformdirs
from dotenv import dotenv_values

from llama_ui.local import parse_model

FRIENDLY_ASSISTANT = "You are a friendly assistant."


def _text(value: str) -> str:
    return value


def parse_url(value: str) -> str:
    """An `http(s)://host[:port][/path]` address, without a trailing slash.

    Raises ValueError where it is none, or where it carries a user name, a query or a fragment: the address is shown to
    everybody who opens the page, so a secret must not hide in it.
    """
    try:
        url = httpx.URL(value.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or not 0 < (80 if url.port is None else url.port) < 65536:
        raise ValueError("is not an address like http://localhost:8321")
    if url.userinfo or "?" in value or "#" in value:
        raise ValueError("must be a plain address; a key belongs into LLAMA_STACK_CLIENT_API_KEY")
    return str(url).rstrip("/")


def shown_url(value: str) -> str:
    """An address as it may be shown: without a password and a query."""
    return re.sub(r"\?.*", "?…", re.sub(r"(//)?[^/]*@", r"\1…@", value))


def _key(value: str) -> str:
    """A key without the line break that a file may end with. Raises ValueError where no header can carry it."""
    key = value.strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("has characters that a key cannot have")
    return key


def _host(value: str) -> str:
    """A name or address of this machine. Gradio would try a hundred ports on one that is not, an error line each."""
    try:
        family, kind, *_, address = socket.getaddrinfo(value.strip("[]"), 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise ValueError("is not an address of this machine") from error
    return value


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 65536):
        raise ValueError("is not a port number from 1 to 65535")
    return int(value)


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ValueError("is not a whole number above 0")
    return int(value)


def _side(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) <= 10_000 and len(value) < 6):
        raise ValueError("is not a number of pixels from 1 to 10000")
    return int(value)


def _visitors(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) <= 10_000 and len(value) < 6):
        raise ValueError("is not a whole number from 1 to 10000")
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError("is not a number of seconds above 0")
    return seconds


def _flag(value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if value.lower() not in words:
        raise ValueError("is neither true nor false")
    return words[value.lower()]


def _local_model(value: str) -> str:
    parse_model(value)
    return value


@dataclass(frozen=True)
class Option:
    """How one field of `Settings` is read: from which variable, and how its text becomes a value.

    `parse` raises ValueError with the second half of a sentence: "'abc' is not a port number".
    """

    variable: str
    parse: Callable[[str], object]
    metavar: str
    help: str
    secret: bool = False


def _option(default: object, option: Option) -> Any:
    return field(default=default, metadata={"option": option}, repr=not option.secret)


@dataclass(frozen=True)
class Settings:
    """The settings as read. A field's name with dashes is the command-line option."""

    base_url: str | None = _option(
        None,
        Option(
            "LLAMA_STACK_CLIENT_BASE_URL",
            parse_url,
            "URL",
            "the Llama Stack server; when not set, one at http://localhost:8321 or http://localhost:5000 is used, "
            "else the local stack is started",
        ),
    )
    api_key: str | None = _option(
        None,
        Option(
            "LLAMA_STACK_CLIENT_API_KEY",
            _key,
            "KEY",
            "the server's key, sent as a Bearer token; never on the command line, where others could read it",
            secret=True,
        ),
    )
    model: str | None = _option(
        None,
        Option(
            "LLAMA_UI_MODEL",
            _text,
            "ID",
            "the model chosen at first; when not set, Llama3.2-11B-Vision-Instruct where the server has it, "
            "else its first chat model",
        ),
    )
    timeout: float = _option(
        300.0,
        Option("LLAMA_UI_TIMEOUT", _seconds, "S", "the longest wait for the next piece of a reply, in seconds"),
    )
    max_visitors: int = _option(
        200,
        Option(
            "LLAMA_UI_MAX_VISITORS", _visitors, "N", "how many replies are given at once; who comes then waits in line"
        ),
    )
    system_prompt: str = _option(
        FRIENDLY_ASSISTANT,
        Option("LLAMA_UI_SYSTEM_PROMPT", _text, "TEXT", "the system prompt at first; every visitor can edit it"),
    )
    host: str = _option(
        "127.0.0.1",
        Option("GRADIO_SERVER_NAME", _host, "H", "the address to listen on; 0.0.0.0 lets other machines in"),
    )
    port: int | None = _option(
        None,
        Option("GRADIO_SERVER_PORT", _port, "P", "the port to listen on; when not set, 7860 or the next free one"),
    )
    share: bool = _option(
        False,
        Option("GRADIO_SHARE", _flag, "", "also open a public link through Gradio's share service"),
    )
    no_local: bool = _option(
        False,
        Option("LLAMA_UI_NO_LOCAL", _flag, "", "never start the local stack"),
    )
    local_model: str | None = _option(
        None,
        Option(
            "LLAMA_UI_LOCAL_MODEL",
            _local_model,
            "MODEL",
            "the local stack's model: a GGUF file, or hf://owner/repo/file.gguf; when not set, SmolLM2-135M-Instruct",
        ),
    )
    cache: Path = _option(
        platformdirs.user_cache_path("llama-ui"),
        Option("LLAMA_UI_CACHE", Path, "DIR", "where the local stack's model is kept"),
    )
    max_message_chars: int = _option(
        32_000,
        Option("LLAMA_UI_MAX_MESSAGE_CHARS", _count, "N", "the most characters in a message or a system prompt"),
    )
    max_image_side: int = _option(
        1568,
        Option("LLAMA_UI_MAX_IMAGE_SIDE", _side, "N", "pictures are made smaller until no side has more pixels"),
    )
    no_stream: bool = _option(
        False,
        Option("LLAMA_UI_NO_STREAM", _flag, "", "in the terminal: wait for the whole reply"),
    )
    check: bool = _option(
        False,
        Option("LLAMA_UI_CHECK", _flag, "", "look at the server step by step, say what is wrong with it, and end"),
    )
    json: bool = _option(
        False,
        Option("LLAMA_UI_JSON", _flag, "", "as --check, with one JSON object as the answer"),
    )


OPTIONS: dict[str, Option] = {item.name: item.metadata["option"] for item in fields(Settings)}
DEFAULTS: dict[str, Any] = {item.name: item.default for item in fields(Settings)}


def flag_name(name: str) -> str:
    """The command-line spelling of a field: `base_url` is `--base-url`."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see --help)\n")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description="A chat UI for every Llama Stack (OGX) server.",
        epilog="Each option is also the environment variable named beside it, or a line VARIABLE=value in a .env file. "
        "The server's key is read from LLAMA_STACK_CLIENT_API_KEY only.",
        allow_abbrev=False,
    )
    for name, option in OPTIONS.items():
        if option.secret:
            continue
        default = DEFAULTS[name]
        shown = "" if default is None or default is False else f" (default: {default})"
        extra: dict[str, Any] = {"metavar": option.metavar}
        if option.parse is _flag:
            extra = {"metavar": "true|false", "nargs": "?", "const": "true"}
        text = f"{option.help}{shown} [{option.variable}]".replace("%", "%%")
        parser.add_argument(flag_name(name), dest=name, help=text, **extra)
    return parser


def _read_env_file(path: Path) -> dict[str, str | None]:
    if not path.is_file():
        return {}
    # Without interpolation: a "$" in a key or a prompt stays what it is.
    return dotenv_values(path, interpolate=False, encoding="utf-8")


def load(
    argv: Sequence[str],
    environ: Mapping[str, str],
    env_file: Path = Path(".env"),
    prog: str = "app.py",
) -> Settings:
    """The settings from the command line, the environment and the `.env` file.

    Raises SystemExit(2), after one line on stderr that names the option and the value, where a value is bad.
    """
    parser = _parser(prog)
    known, unknown = parser.parse_known_args(argv)
    arguments = vars(known)
    if unknown:  # named without its value, which may be a key
        parser.error(f"there is no option {unknown[0].split('=')[0]!r}")
    try:
        from_file = _read_env_file(env_file)
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"{env_file} cannot be read: {error}")
    values: dict[str, Any] = {}
    for name, option in sorted(OPTIONS.items(), key=lambda item: item[0] == "base_url"):  # it last, for `check`
        raw = arguments.get(name)
        source = flag_name(name)
        if raw is None:
            raw = environ.get(option.variable) or from_file.get(option.variable) or None
            source = option.variable if option.secret else f"{flag_name(name)} ({option.variable})"
        if raw is None:
            continue
        try:
            values[name] = option.parse(raw)
        except ValueError as error:
            if name == "base_url" and (values.get("check") or values.get("json")):
                values[name] = raw  # the doctor says what is wrong with it
                continue
            shown = "the value" if option.secret else repr(shown_url(raw) if name == "base_url" else raw)
            parser.error(f"{source}: {shown} {error}")
    return Settings(**values)


def table() -> str:
    """The settings as a Markdown table, for the README."""
    rows = ["| Option | Variable, or line in `.env` | Default | Meaning |", "|---|---|---|---|"]
    for name, option in OPTIONS.items():
        value = f"{flag_name(name)} {option.metavar}".strip()
        default = DEFAULTS[name]
        if name == "cache":
            shown = "the user's cache folder"  # differs from machine to machine
        else:
            shown = "" if default is None else f"`{str(default).lower() if default is False else default}`"
        left = "" if option.secret else f"`{value}`"
        rows.append(f"| {left} | `{option.variable}` | {shown} | {option.help} |")
    return "\n".join(rows)
