"""How the text of each setting becomes a value.

Each function raises ValueError with the second half of a sentence: "'abc' is not a port number".
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import httpx

GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True)
class HubFile:
    """A file on the Hugging Face Hub."""

    repo: str
    file: str


def text(value: str) -> str:
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


def key(value: str) -> str:
    """A key without the line break that a file may end with. Raises ValueError where no header can carry it."""
    key = value.strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("has characters that a key cannot have")
    return key


def host(value: str) -> str:
    """A name or address of this machine. Gradio would try a hundred ports on one that is not, an error line each."""
    try:
        family, kind, *_, address = socket.getaddrinfo(value.strip("[]"), 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise ValueError("is not an address of this machine") from error
    return value


def logins(value: str) -> tuple[tuple[str, str], ...]:
    """`user:password`, one pair a line; blank lines and those that begin with # are left out."""
    lines = [line for line in map(str.strip, value.splitlines()) if line and not line.startswith("#")]
    pairs = [(user.strip(), password) for user, _, password in (line.partition(":") for line in lines)]
    if not pairs or not all(user and password for user, password in pairs):
        raise ValueError("must be pairs of user:password, one a line")
    if len(dict(pairs)) < len(pairs):
        raise ValueError("has a user twice")
    return tuple(pairs)


def logins_file(value: str) -> tuple[tuple[str, str], ...]:
    try:
        text = Path(value).read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise ValueError("is a file, but no text in UTF-8") from error
    except (OSError, ValueError) as error:
        raise ValueError("is no file that can be read; a password given here could be read by others") from error
    return logins(text)


def networks(value: str) -> str:
    """Addresses and networks with commas between them, as uvicorn reads them."""
    for network in value.split(","):
        try:
            ipaddress.ip_network(network.strip())
        except ValueError as error:
            raise ValueError("is not a list of addresses like 10.0.0.5 or 10.0.0.0/8") from error
    return value


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(
            socket.gethostbyname(host.strip("[]")) if ":" not in host else host.strip("[]")
        ).is_loopback
    except (OSError, ValueError):
        return False


def port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 65536):
        raise ValueError("is not a port number from 1 to 65535")
    return int(value)


def count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ValueError("is not a whole number above 0")
    return int(value)


def side(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) <= 10_000 and len(value) < 6):
        raise ValueError("is not a number of pixels from 1 to 10000")
    return int(value)


def visitors(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) <= 10_000 and len(value) < 6):
        raise ValueError("is not a whole number from 1 to 10000")
    return int(value)


def seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError("is not a number of seconds above 0")
    return seconds


def flag(value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if value.lower() not in words:
        raise ValueError("is neither true nor false")
    return words[value.lower()]


def log_format(value: str) -> str:
    if value not in ("logfmt", "json"):
        raise ValueError("is neither logfmt nor json")
    return value


def local_model(value: str) -> str:
    parse_model(value)
    return value


def parse_model(text: str) -> Path | HubFile:
    """What a value of `--local-model` names: a GGUF file, or `hf://owner/repo/file.gguf` with folders before the file.

    Raises ValueError with the second half of a sentence ("is not a GGUF file") where it is neither. A file is opened.
    """
    if not text.startswith("hf://"):
        path = Path(text).expanduser().absolute()
        check_gguf(path)
        return path
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)/([^?#\\]+\.gguf)", text)
    if not found or {"", ".", ".."} & set(text.removeprefix("hf://").split("/")):
        raise ValueError("is not like hf://owner/repo/file.gguf")
    return HubFile(found[1], found[2])


def check_gguf(path: Path) -> None:
    """Raises ValueError with the second half of a sentence unless a GGUF file can be read at the path."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise ValueError(f"cannot be read ({(error.strerror or 'unknown reason').lower()})") from error
    if magic != GGUF_MAGIC:
        raise ValueError("is not a GGUF file")
