"""The settings, each defined once: its name, environment variable, default and help.

The fields of `Settings` are the table. The command line, the environment, the `.env` file, `--help` and the table in
docs/settings.md are all made from it. The command line wins over the environment, the environment over `.env`, `.env`
over the default; an empty variable counts as unset.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import platformdirs
from dotenv import dotenv_values

from llama_ui import parsers

FRIENDLY_ASSISTANT = "You are a friendly assistant."


@dataclass(frozen=True)
class Option:
    """How one field of `Settings` is read."""

    default: Any
    parse: Callable[[str], object]  # raises ValueError with the second half of a sentence
    metavar: str  # the placeholder for the value in --help
    help: str
    variable: str = ""  # in the environment; when empty, LLAMA_UI_ and the field's name
    env_only: bool = False  # not a command-line option: other users can read command lines
    sensitive: bool = False  # left out of error messages and repr()


def _option(default: Any, parse: Callable[[str], object], metavar: str, help: str, **details: Any) -> Any:
    """A field of `Settings` with its `Option`."""
    option = Option(default, parse, metavar, help, **details)
    return field(default=default, metadata={"option": option}, repr=not option.sensitive)


@dataclass(frozen=True)
class Settings:
    """The parsed settings. A field's name with dashes is the command-line option."""

    base_url: str | None = _option(
        None,
        parsers.parse_url,
        "URL",
        "URL of the Llama Stack server; if unset, a server at http://localhost:8321 or http://localhost:5000, "
        "else the local stack",
        variable="LLAMA_STACK_CLIENT_BASE_URL",
    )
    api_key: str | None = _option(
        None,
        parsers.api_key,
        "KEY",
        "API key of the server, sent as a Bearer token; not on the command line, where other users could read it",
        variable="LLAMA_STACK_CLIENT_API_KEY",
        env_only=True,
        sensitive=True,
    )
    model: str | None = _option(
        None, str, "ID", "initial model; if unset, Llama3.2-11B-Vision-Instruct if listed, else the first chat model"
    )
    timeout: float = _option(300.0, parsers.seconds, "S", "maximum wait for the next chunk of a reply, in seconds")
    max_visitors: int = _option(200, parsers.whole_number(10_000), "N", "maximum concurrent replies; others queue")
    system_prompt: str = _option(FRIENDLY_ASSISTANT, str, "TEXT", "initial system prompt; every visitor can edit it")
    host: str = _option(
        "127.0.0.1", parsers.host, "H", "listen address; 0.0.0.0 accepts other machines", variable="GRADIO_SERVER_NAME"
    )
    port: int | None = _option(
        None, parsers.port, "P", "listen port; if unset, 7860 or the next free port", variable="GRADIO_SERVER_PORT"
    )
    share: bool = _option(
        False, parsers.flag, "", "also open a public link through Gradio's share service", variable="GRADIO_SHARE"
    )
    auth: parsers.Logins = _option(
        (),
        parsers.logins_file,
        "FILE",
        "require login; file with one user:password per line",
        variable="LLAMA_UI_AUTH_FILE",
        sensitive=True,
    )
    auth_pairs: parsers.Logins = _option(
        (),
        parsers.logins,
        "",
        "content of the --auth file, in place of its name",
        variable="LLAMA_UI_AUTH",
        env_only=True,
        sensitive=True,
    )
    trusted_proxies: str = _option(
        "",
        parsers.networks,
        "ADDRESSES",
        "proxies trusted to report client addresses: comma-separated addresses or networks",
        variable="FORWARDED_ALLOW_IPS",
    )
    messages_per_minute: int = _option(
        20, parsers.count, "N", "when public: maximum messages per minute from one visitor"
    )
    replies_at_once: int = _option(3, parsers.count, "N", "when public: maximum concurrent replies to one visitor")
    visitors_per_address: int = _option(50, parsers.count, "N", "when public: visitors who may share one IP address")
    max_tokens: int = _option(4096, parsers.count, "N", "when public: maximum tokens in a reply")
    max_history_chars: int = _option(400_000, parsers.count, "N", "maximum characters in a conversation")
    log_format: str = _option("logfmt", parsers.log_format, "FORMAT", "log format on stderr: logfmt or json")
    log_content: bool = _option(False, parsers.flag, "", "also log message text")
    no_local: bool = _option(False, parsers.flag, "", "never start the local stack")
    local_model: str | None = _option(
        None,
        parsers.local_model,
        "MODEL",
        "model of the local stack: a GGUF file or hf://owner/repo/file.gguf; if unset, SmolLM2-135M-Instruct",
    )
    cache: Path = _option(platformdirs.user_cache_path("llama-ui"), Path, "DIR", "folder for the local stack's model")
    max_message_chars: int = _option(32_000, parsers.count, "N", "maximum characters in a message or a system prompt")
    max_image_side: int = _option(
        1568, parsers.whole_number(10_000), "N", "maximum picture width and height in pixels; larger ones are resized"
    )
    no_stream: bool = _option(False, parsers.flag, "", "in the terminal: wait for whole replies")
    check: bool = _option(False, parsers.flag, "", "check the connection and exit")
    json: bool = _option(False, parsers.flag, "", "like --check, with one JSON object as output")
    space: bool = False  # whether this runs as a Hugging Face Space, which sets a variable of its own

    @property
    def public(self) -> bool:
        """Whether other machines can reach the app."""
        return self.share or self.space or bool(self.trusted_proxies) or not parsers.is_loopback(self.host)

    @property
    def logins(self) -> parsers.Logins:
        """User names and passwords; when empty, no login is required."""
        return self.auth + self.auth_pairs


OPTIONS: dict[str, Option] = {
    item.name: replace(option, variable=option.variable or f"LLAMA_UI_{item.name.upper()}")
    for item in fields(Settings)
    if (option := item.metadata.get("option"))
}


def flag_name(name: str) -> str:
    """The command-line option of a field: `base_url` is `--base-url`."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see --help)\n")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description="A chat UI for every Llama Stack (OGX) server.",
        epilog="Each option can also be set by the environment variable in brackets, or by a line VARIABLE=value in a "
        "file .env. The server's API key is read from LLAMA_STACK_CLIENT_API_KEY only.",
        allow_abbrev=False,
    )
    for name, option in OPTIONS.items():
        if option.env_only:
            continue
        default = f" (default: {option.default})" if option.default else ""
        value: dict[str, Any] = {"metavar": option.metavar}
        if option.parse is parsers.flag:
            value = {"metavar": "true|false", "nargs": "?", "const": "true"}
        text = f"{option.help}{default} [{option.variable}]".replace("%", "%%")
        parser.add_argument(flag_name(name), dest=name, help=text, **value)
    return parser


def load(
    argv: Sequence[str], environ: Mapping[str, str], env_file: Path = Path(".env"), prog: str = "app.py"
) -> Settings:
    """Read the settings from the command line, the environment and the `.env` file.

    Raises SystemExit(2) for a bad value, after one line on stderr that names the option and the value.
    """
    parser = _parser(prog)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:  # without the value, which may be a key
        parser.error(f"there is no option {unknown[0].split('=')[0]!r}")
    try:
        # Without interpolation, so that a "$" in a key or a prompt stays.
        from_file = dotenv_values(env_file, interpolate=False, encoding="utf-8") if env_file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"{env_file} cannot be read: {error}")
    variables = {name: value for source in (from_file, environ) for name, value in source.items() if value}
    values: dict[str, Any] = {}
    if environ.get("SYSTEM") == "spaces":
        values = {"space": True, "host": "0.0.0.0"}  # nobody could reach a Space's loopback address
    for name in sorted(OPTIONS, key=lambda name: name == "base_url"):  # last, because --check changes its meaning
        option, source = OPTIONS[name], flag_name(name)
        text = getattr(arguments, name, None)
        if text is None and (text := variables.get(option.variable)):
            source = option.variable if option.env_only else f"{source} ({option.variable})"
        if text is None:
            continue
        try:
            values[name] = option.parse(text)
        except ValueError as error:
            if name == "base_url" and (values.get("check") or values.get("json")):
                values[name] = text  # --check itself reports what is wrong with it
                continue
            quoted = "the value" if option.sensitive else repr(parsers.redact_url(text) if name == "base_url" else text)
            parser.error(f"{source}: {quoted} {error}")
    return Settings(**values)


def table() -> str:
    """The settings as a Markdown table, for docs/settings.md."""
    rows = ["| Option | Variable, or line in `.env` | Default | Meaning |", "|---|---|---|---|"]
    for name, option in OPTIONS.items():
        default = "" if option.default in (None, "", ()) else f"`{option.default}`".replace("False", "false")
        if name == "cache":
            default = "the user's cache folder"  # a different path on each machine
        left = "" if option.env_only else f"`{f'{flag_name(name)} {option.metavar}'.strip()}`"
        rows.append(f"| {left} | `{option.variable}` | {default} | {option.help} |")
    return "\n".join(rows)
