"""The settings, each defined once: its name, environment variable, default and help.

`--help` and the table in docs/settings.md are made from the fields of `Settings`. The command line wins over the
environment, that over `.env`, and that over the default; an empty variable counts as unset.
"""

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_type_hints

import httpx
from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from llama_ui import parsers

SPACE_PORTS = (80, 443, 8080)  # the only ones that a Hugging Face Space can connect to: its documentation
FRIENDLY_ASSISTANT = "You are a friendly assistant."
Count = Annotated[int, Field(ge=1, le=10**9)]
UpTo10000 = Annotated[int, Field(ge=1, le=10_000)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=1e6)]
Host = Annotated[str, AfterValidator(parsers.host)]
BaseUrl = Annotated[str, AfterValidator(parsers.parse_url)]
ProviderData = Annotated[dict[str, object], BeforeValidator(parsers.provider_data)]
ApiKey = Annotated[str, AfterValidator(parsers.api_key)]
Networks = Annotated[str, AfterValidator(parsers.networks)]
LocalModel = Annotated[str, AfterValidator(parsers.local_model)]
Logins = Annotated[parsers.Logins, BeforeValidator(parsers.logins)]
LoginsFile = Annotated[parsers.Logins, BeforeValidator(parsers.logins_file)]


@dataclass(frozen=True)
class Option:
    """How one field of `Settings` is read. Its text is parsed as pydantic parses the field's type."""

    default: Any
    metavar: str  # the placeholder for the value in --help
    help: str
    variable: str = ""  # in the environment; when empty, LLAMA_UI_ and the field's name
    alias: str = ""  # another variable, read after that
    env_only: bool = False  # not a command-line option: other users can read command lines
    sensitive: bool = False  # left out of error messages and repr()


def _option(default: Any, metavar: str, help: str, variable: str = "", alias: str = "", **details: bool) -> Any:
    """A field of `Settings` with its `Option`."""
    option = Option(default, metavar, help, variable, alias, **details)
    return field(default=default, metadata={"option": option}, repr=not option.sensitive)


@dataclass(frozen=True)
class Settings:
    """The parsed settings. A field's name with dashes is the command-line option."""

    base_url: BaseUrl | None = _option(
        None,
        "URL",
        "URL of the Llama Stack server; if unset, a server at http://localhost:8321 or http://localhost:5000, "
        "else the local stack",
        "LLAMA_STACK_CLIENT_BASE_URL",
        "OGX_CLIENT_BASE_URL",
        sensitive=True,  # it may have a password
    )
    api_key: ApiKey | None = _option(
        None,
        "KEY",
        "API key of the server, sent as a Bearer token; not on the command line, where other users could read it",
        "LLAMA_STACK_CLIENT_API_KEY",
        "OGX_CLIENT_API_KEY",
        env_only=True,
        sensitive=True,
    )
    provider_data: ProviderData | None = _option(
        None,
        "JSON",
        'keys for the providers behind the server, as a JSON object such as {"openai_api_key": "KEY"}',
        "LLAMA_STACK_CLIENT_PROVIDER_DATA",
        env_only=True,
        sensitive=True,
    )
    model: str | None = _option(
        None, "ID", "initial model; if unset, Llama3.2-11B-Vision-Instruct if listed, else the first chat model"
    )
    timeout: Seconds = _option(300.0, "S", "maximum wait for the next chunk of a reply, in seconds")
    max_visitors: UpTo10000 = _option(200, "N", "maximum concurrent replies; others queue")
    system_prompt: str = _option(FRIENDLY_ASSISTANT, "TEXT", "initial system prompt; every visitor can edit it")
    host: Host = _option("127.0.0.1", "H", "listen address; 0.0.0.0 accepts other machines", "GRADIO_SERVER_NAME")
    port: Port | None = _option(None, "P", "listen port; if unset, 7860 or the next free port", "GRADIO_SERVER_PORT")
    share: bool = _option(False, "", "also open a public link through Gradio's share service", "GRADIO_SHARE")
    auth: LoginsFile = _option(
        (), "FILE", "require login; file with one user:password per line", "LLAMA_UI_AUTH_FILE", sensitive=True
    )
    auth_pairs: Logins = _option(
        (), "", "content of the --auth file, in place of its name", "LLAMA_UI_AUTH", env_only=True, sensitive=True
    )
    trusted_proxies: Networks = _option(
        "",
        "ADDRESSES",
        "proxies trusted to report client addresses: comma-separated addresses or networks",
        "FORWARDED_ALLOW_IPS",
    )
    messages_per_minute: Count = _option(20, "N", "when public: maximum messages per minute from one visitor")
    replies_at_once: Count = _option(3, "N", "when public: maximum concurrent replies to one visitor")
    visitors_per_address: Count = _option(50, "N", "when public: visitors who may share one IP address")
    max_tokens: Count = _option(4096, "N", "when public: maximum tokens in a reply")
    max_history_chars: Count = _option(400_000, "N", "maximum characters in a conversation")
    log_format: Literal["logfmt", "json"] = _option("logfmt", "FORMAT", "log format on stderr: logfmt or json")
    log_content: bool = _option(False, "", "also log message text")
    no_local: bool = _option(False, "", "never start the local stack")
    local_model: LocalModel | None = _option(
        None,
        "MODEL",
        "model of the local stack: smollm2-360m, smollm2-1.7b, a GGUF file or hf://owner/repo/file.gguf; "
        "if unset, the one chosen in the page, else SmolLM2-135M-Instruct",
    )
    cache: Path = _option(parsers.user_folder("cache"), "DIR", "folder for the local stack's models")
    max_message_chars: Count = _option(32_000, "N", "maximum characters in a message or a system prompt")
    max_image_side: UpTo10000 = _option(
        1568, "N", "maximum picture width and height in pixels; larger ones are resized"
    )
    no_stream: bool = _option(False, "", "in the terminal: wait for whole replies")
    check: bool = _option(False, "", "check the connection and exit")
    json: bool = _option(False, "", "like --check, with one JSON object as output")
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)  # for proxies and certificates
    space: bool = False  # whether this runs as a Hugging Face Space, which sets a variable of its own
    hf_oauth: bool = False  # whether visitors can sign in with Hugging Face: the Space's README has `hf_oauth: true`

    @cached_property
    def public(self) -> bool:
        """Whether other machines can reach the app."""
        return self.share or self.space or bool(self.trusted_proxies) or not parsers.is_loopback(self.host)

    @property
    def unreachable(self) -> str:
        """What is wrong with the server's address on a Space; blank if nothing is."""
        url = httpx.URL(self.base_url or "")
        port = url.port or (443 if url.scheme == "https" else 80)
        if not (self.space and self.base_url) or port in SPACE_PORTS or parsers.is_loopback(url.host):
            return ""
        return f"A Space cannot reach port {port} of {url.host}. Serve Llama Stack at port 443, 80 or 8080."

    @property
    def logins(self) -> parsers.Logins:
        """User names and passwords; when empty, no login is required."""
        return self.auth + self.auth_pairs


OPTIONS: dict[str, Option] = {
    item.name: replace(option, variable=option.variable or f"LLAMA_UI_{item.name.upper()}")
    for item in fields(Settings)
    if (option := item.metadata.get("option"))
}
TYPES = get_type_hints(Settings, include_extras=True)


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
        if TYPES[name] is bool:
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
    values: dict[str, Any] = {"environ": dict(environ)}
    if environ.get("SYSTEM") == "spaces":
        values |= {"space": True, "host": "0.0.0.0"}  # nobody could reach a Space's loopback address
        values["hf_oauth"] = bool(environ.get("OAUTH_CLIENT_ID")) and importlib.util.find_spec("authlib") is not None
    for name, option in OPTIONS.items():
        source = flag_name(name)
        text = getattr(arguments, name, None)
        variable = option.variable if option.variable in variables else option.alias
        if text is None and (text := variables.get(variable)):
            source = variable if option.env_only else f"{source} ({variable})"
        if text is None:
            continue
        try:
            values[name] = TypeAdapter(TYPES[name]).validate_python(text)
        except ValidationError as error:
            quoted = "the value" if option.sensitive else repr(text)
            if name == "base_url":
                quoted = repr(parsers.redact_url(text))
            reason = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("Input ")
            parser.error(f"{source}: {quoted} {reason}")
    settings = Settings(**values)
    return replace(settings, hf_oauth=settings.hf_oauth and not settings.logins)  # Gradio can end only one of the two


def table() -> str:
    """The settings as a Markdown table, for docs/settings.md."""
    rows = ["| Option | Variable, or line in `.env` | Default | Meaning |", "|---|---|---|---|"]
    for name, option in OPTIONS.items():
        default = "" if option.default in (None, "", ()) else f"`{option.default}`".replace("False", "false")
        if name == "cache":
            default = "the user's cache folder"  # a different path on each machine
        left = "" if option.env_only else f"`{f'{flag_name(name)} {option.metavar}'.strip()}`"
        variables = " or ".join(f"`{variable}`" for variable in (option.variable, option.alias) if variable)
        rows.append(f"| {left} | {variables} | {default} | {option.help} |")
    return "\n".join(rows)
