"""Parsers of settings: from text to value, or ValueError with the second half of a sentence ("is not a URL")."""

import ipaddress
import json
import re
import socket
from pathlib import Path
from tempfile import gettempdir
from typing import Literal

import httpx
import platformdirs

Logins = tuple[tuple[str, str], ...]
NAMED_LOCAL_MODELS = ("smollm2-360m", "smollm2-1.7b")  # the keys of local_stack.catalog.BETTER_MODELS


def parse_url(value: str) -> str:
    """An `http(s)://[user:password@]host[:port][/path]` URL without a trailing slash."""
    try:
        url = httpx.URL(value.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or not 0 < (80 if url.port is None else url.port) < 65536:
        raise ValueError("is not a URL like http://localhost:8321")
    if "?" in value or "#" in value:
        raise ValueError("must not contain a query or a fragment; set a key in LLAMA_STACK_CLIENT_API_KEY")
    return str(url).rstrip("/")


def redact_url(value: str) -> str:
    """The text of a URL without its credentials and query, safe to print."""
    return re.sub(r"\?.*", "?…", re.sub(r"^([\w+.-]*://)?.*@", r"\1…@", value))


def api_key(value: str) -> str:
    """An API key, also with the line break of a file, in quotes, or as the header that carries it."""
    key = re.sub(r"(?i)^[\s'\"]*(authorization['\"]?\s*[:=]\s*['\"]?)?(bearer(:|\s|$)\s*)*", "", value).strip(
        "'\" \t\r\n"
    )
    if not (key.isascii() and key.isprintable()):
        raise ValueError("contains characters that an HTTP header cannot carry")
    return key


def provider_data(value: str) -> dict[str, object]:
    """The keys that a server's providers take from the client, as a JSON object."""
    try:
        data = json.loads(value.strip().strip("'"))
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ValueError('is not a JSON object like {"openai_api_key": "KEY"}')
    return data


def host(value: str) -> str:
    """A host name or address of this machine, checked by binding a socket to it."""
    try:
        family, kind, *_, address = socket.getaddrinfo(value.strip("[]"), 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise ValueError("is not an address of this machine") from error
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to the host."""
    name = host.strip("[]")
    try:
        return ipaddress.ip_address(name if ":" in name else socket.gethostbyname(name)).is_loopback
    except (OSError, ValueError):
        return False


def networks(value: str) -> str:
    """Comma-separated IP addresses and networks, in the form that uvicorn reads."""
    try:
        for network in value.split(","):
            ipaddress.ip_network(network.strip())
    except ValueError as error:
        raise ValueError("is not a list of addresses like 10.0.0.5 or 10.0.0.0/8") from error
    return value


def logins(value: str) -> Logins:
    """Pairs of user and password from `user:password` lines; blank lines and `#` comments are skipped."""
    lines = [line for line in map(str.strip, value.splitlines()) if line and not line.startswith("#")]
    pairs = [(user.strip(), password) for user, _, password in (line.partition(":") for line in lines)]
    if not pairs or not all(user and password for user, password in pairs):
        raise ValueError("must have one user:password per line")
    if len(dict(pairs)) < len(pairs):
        raise ValueError("has the same user twice")
    return tuple(pairs)


def logins_file(value: str) -> Logins:
    """The pairs in a file, read by `logins`."""
    try:
        text = Path(value).read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise ValueError("is a file, but not UTF-8 text") from error
    except (OSError, ValueError) as error:
        raise ValueError("is not a readable file; a password passed here could be read by others") from error
    return logins(text)


def user_folder(kind: Literal["cache", "state"]) -> Path:
    """The user's folder for this app; a temporary one for a user who has no home, as in some containers."""
    try:
        return Path(getattr(platformdirs, f"user_{kind}_dir")("llama-ui"))
    except RuntimeError:
        return Path(gettempdir(), f"llama-ui {kind}")


def local_model(value: str) -> str:
    """The local stack's model: a name, `hf://owner/repo/[folder/]file.gguf`, or the absolute path of a GGUF file."""
    if (name := value.strip().lower()) in NAMED_LOCAL_MODELS:
        return name
    if value.startswith("hf://"):
        valid = re.fullmatch(r"hf://[\w.-]+/[\w.-]+/[^?#\\]+\.gguf", value)
        if not valid or {"", ".", ".."} & set(value.removeprefix("hf://").split("/")):
            raise ValueError("is not like hf://owner/repo/file.gguf")
        return value
    try:
        path = Path(value).expanduser().absolute()
        with path.open("rb") as file:
            magic = file.read(4)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "unknown reason"
        raise ValueError(f"cannot be read ({reason.lower()})") from error
    if magic != b"GGUF":
        raise ValueError("is not a GGUF file")
    return str(path)
