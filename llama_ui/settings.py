"""Every setting, once: its name, its variable, its default, its help.

The fields of `Settings` are the table. The command line, the environment, the `.env` file, `--help` and the table in
the README are all made from it. The command line wins over the environment, the environment over `.env`, `.env` over
the default; an empty variable counts as not set.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import platformdirs
from dotenv import dotenv_values

from llama_ui import parsers

FRIENDLY_ASSISTANT = "You are a friendly assistant."


@dataclass(frozen=True)
class Option:
    """How one field of `Settings` is read: from which variable, and how its text becomes a value.

    `parse` raises ValueError with the second half of a sentence: "'abc' is not a port number".
    """

    variable: str
    parse: Callable[[str], object]
    metavar: str
    help: str
    secret: bool = False  # not on the command line
    private: bool = False  # never shown


def _option(
    default: object, variable: str, parse: Callable[[str], object], metavar: str, help: str, **marks: bool
) -> Any:
    """A field of `Settings`, with its `Option`."""
    option = Option(variable, parse, metavar, help, **marks)
    return field(default=default, metadata={"option": option}, repr=not option.private)


@dataclass(frozen=True)
class Settings:
    """The settings as read. A field's name with dashes is the command-line option."""

    base_url: str | None = _option(
        None,
        "LLAMA_STACK_CLIENT_BASE_URL",
        parsers.parse_url,
        "URL",
        "the Llama Stack server; when not set, one at http://localhost:8321 or http://localhost:5000 is used, "
        "else the local stack is started",
    )
    api_key: str | None = _option(
        None,
        "LLAMA_STACK_CLIENT_API_KEY",
        parsers.key,
        "KEY",
        "the server's key, sent as a Bearer token; never on the command line, where others could read it",
        secret=True,
        private=True,
    )
    model: str | None = _option(
        None,
        "LLAMA_UI_MODEL",
        parsers.text,
        "ID",
        "the model chosen at first; when not set, Llama3.2-11B-Vision-Instruct where the server has it, "
        "else its first chat model",
    )
    timeout: float = _option(
        300.0, "LLAMA_UI_TIMEOUT", parsers.seconds, "S", "the longest wait for the next piece of a reply, in seconds"
    )
    max_visitors: int = _option(
        200,
        "LLAMA_UI_MAX_VISITORS",
        parsers.visitors,
        "N",
        "how many replies are given at once; who comes then waits in line",
    )
    system_prompt: str = _option(
        FRIENDLY_ASSISTANT,
        "LLAMA_UI_SYSTEM_PROMPT",
        parsers.text,
        "TEXT",
        "the system prompt at first; every visitor can edit it",
    )
    host: str = _option(
        "127.0.0.1", "GRADIO_SERVER_NAME", parsers.host, "H", "the address to listen on; 0.0.0.0 lets other machines in"
    )
    port: int | None = _option(
        None, "GRADIO_SERVER_PORT", parsers.port, "P", "the port to listen on; when not set, 7860 or the next free one"
    )
    share: bool = _option(
        False, "GRADIO_SHARE", parsers.flag, "", "also open a public link through Gradio's share service"
    )
    auth: tuple[tuple[str, str], ...] = _option(
        (),
        "LLAMA_UI_AUTH_FILE",
        parsers.logins_file,
        "FILE",
        "who may come in: a file with a user:password a line",
        private=True,
    )
    auth_pairs: tuple[tuple[str, str], ...] = _option(
        (), "LLAMA_UI_AUTH", parsers.logins, "", "the same, as the text of such a file", secret=True, private=True
    )
    trusted_proxies: str = _option(
        "",
        "FORWARDED_ALLOW_IPS",
        parsers.networks,
        "ADDRESSES",
        "the proxies in front of the app, which are believed where a visitor comes from: addresses or networks, "
        "with commas",
    )
    messages_per_minute: int = _option(
        20, "LLAMA_UI_MESSAGES_PER_MINUTE", parsers.count, "N", "the most messages of one visitor, when public"
    )
    replies_at_once: int = _option(
        3,
        "LLAMA_UI_REPLIES_AT_ONCE",
        parsers.count,
        "N",
        "the most replies to one visitor at the same time, when public",
    )
    visitors_per_address: int = _option(
        50,
        "LLAMA_UI_VISITORS_PER_ADDRESS",
        parsers.count,
        "N",
        "one network address, such as a room's, may have what this many visitors may, when public",
    )
    max_tokens: int = _option(
        4096, "LLAMA_UI_MAX_TOKENS", parsers.count, "N", "the most tokens in a reply, when public"
    )
    max_history_chars: int = _option(
        400_000, "LLAMA_UI_MAX_HISTORY_CHARS", parsers.count, "N", "the most characters in a conversation"
    )
    log_format: str = _option(
        "logfmt", "LLAMA_UI_LOG_FORMAT", parsers.log_format, "FORMAT", "how turns are logged, on stderr: logfmt or json"
    )
    log_content: bool = _option(False, "LLAMA_UI_LOG_CONTENT", parsers.flag, "", "log what is said, too")
    no_local: bool = _option(False, "LLAMA_UI_NO_LOCAL", parsers.flag, "", "never start the local stack")
    local_model: str | None = _option(
        None,
        "LLAMA_UI_LOCAL_MODEL",
        parsers.local_model,
        "MODEL",
        "the local stack's model: a GGUF file, or hf://owner/repo/file.gguf; when not set, SmolLM2-135M-Instruct",
    )
    cache: Path = _option(
        platformdirs.user_cache_path("llama-ui"), "LLAMA_UI_CACHE", Path, "DIR", "where the local stack's model is kept"
    )
    max_message_chars: int = _option(
        32_000, "LLAMA_UI_MAX_MESSAGE_CHARS", parsers.count, "N", "the most characters in a message or a system prompt"
    )
    max_image_side: int = _option(
        1568, "LLAMA_UI_MAX_IMAGE_SIDE", parsers.side, "N", "pictures are made smaller until no side has more pixels"
    )
    no_stream: bool = _option(
        False, "LLAMA_UI_NO_STREAM", parsers.flag, "", "in the terminal: wait for the whole reply"
    )
    check: bool = _option(
        False, "LLAMA_UI_CHECK", parsers.flag, "", "look at the server step by step, say what is wrong with it, and end"
    )
    json: bool = _option(False, "LLAMA_UI_JSON", parsers.flag, "", "as --check, with one JSON object as the answer")
    space: bool = False  # whether this is a Hugging Face Space, which says so itself

    @property
    def public(self) -> bool:
        """Whether strangers may come: there is another way in than from this machine."""
        return self.share or self.space or bool(self.trusted_proxies) or not parsers.is_loopback(self.host)

    @property
    def logins(self) -> tuple[tuple[str, str], ...]:
        """User names and passwords; empty: whoever has the address may come in."""
        return self.auth + self.auth_pairs


_OPTIONAL = [item for item in fields(Settings) if "option" in item.metadata]
OPTIONS: dict[str, Option] = {item.name: item.metadata["option"] for item in _OPTIONAL}
DEFAULTS: dict[str, Any] = {item.name: item.default for item in _OPTIONAL}


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
        shown = f" (default: {default})" if default else ""
        extra: dict[str, Any] = {"metavar": option.metavar}
        if option.parse is parsers.flag:
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
    read: dict[str, Any] = {"space": environ.get("SYSTEM") == "spaces"}
    if read["space"]:
        read["host"] = "0.0.0.0"  # where it cannot be reached otherwise
    for name, option in sorted(OPTIONS.items(), key=lambda item: item[0] == "base_url"):  # it last, for `check`
        raw = arguments.get(name)
        source = flag_name(name)
        if raw is None:
            raw = environ.get(option.variable) or from_file.get(option.variable) or None
            source = option.variable if option.secret else f"{flag_name(name)} ({option.variable})"
        if raw is None:
            continue
        try:
            read[name] = option.parse(raw)
        except ValueError as error:
            if name == "base_url" and (read.get("check") or read.get("json")):
                read[name] = raw  # the doctor says what is wrong with it
                continue
            shown = "the value" if option.private else repr(parsers.shown_url(raw) if name == "base_url" else raw)
            parser.error(f"{source}: {shown} {error}")
    return Settings(**read)


def table() -> str:
    """The settings as a Markdown table, for the README."""
    rows = ["| Option | Variable, or line in `.env` | Default | Meaning |", "|---|---|---|---|"]
    for name, option in OPTIONS.items():
        value = f"{flag_name(name)} {option.metavar}".strip()
        default = DEFAULTS[name]
        if name == "cache":
            shown = "the user's cache folder"  # differs from machine to machine
        else:
            shown = "" if default in (None, "", ()) else f"`{str(default).lower() if default is False else default}`"
        left = "" if option.secret else f"`{value}`"
        rows.append(f"| {left} | `{option.variable}` | {shown} | {option.help} |")
    return "\n".join(rows)
