"""The environment variables that name proxies and certificates.

They are read here, and not by httpx: only those that a server needs, and so that no key reaches a proxy for an address
that is excepted from it, or that is this machine's.
"""

import ipaddress
import re
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from urllib.request import getproxies

import httpx

from llama_ui.core.errors import Misconfigured
from llama_ui.core.text import as_code
from llama_ui.parsers import redact_url

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
TLS_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the environment variable that has it."""

    variable: str
    url: str

    def __str__(self) -> str:
        """For example "in HTTPS_PROXY (`http://proxy:3128`)"."""
        return f"in {self.variable} ({as_code(redact_url(self.url))})"


def find_proxy(url: httpx.URL, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for a URL; None if there is none, or the host is excepted. Raises `Misconfigured`."""
    if sys.platform in ("darwin", "win32"):  # the system's settings, if no variable is set
        environ = {f"{scheme}_proxy": proxy for scheme, proxy in getproxies().items()} | dict(environ)
    names = [f"{url.scheme}_proxy", "all_proxy"]
    variable = next((name for lower in names for name in (lower, lower.upper()) if environ.get(name)), None)
    if variable is None or is_this_machine(url.host) or is_excepted(url, environ):
        return None
    proxy = proxy_url(environ[variable])
    if proxy is None:
        sentence = f"The environment variable {variable} has no usable proxy: {as_code(redact_url(environ[variable]))}."
        raise Misconfigured(sentence, "Write http://host:port or socks5://host:port, or unset it.")
    return Proxy(variable, proxy)


def proxy_url(text: str) -> str | None:
    """A proxy's URL as httpx takes it; None for one of another kind. GNOME writes `socks://` for SOCKS 5."""
    text = re.sub("(?i)^socks:", "socks5:", text.strip())
    text = text if ":/" in text else f"http://{text}"
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return None
    return text if url.scheme in PROXY_SCHEMES and url.host and 0 < (url.port or 1) < 65536 else None


def is_this_machine(host: str) -> bool:
    """Whether a host name or address, in any spelling, is this machine's own."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        found = {str(info[4][0]).split("%")[0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(address.is_loopback or address.is_unspecified for address in map(_address, found))


def is_excepted(url: httpx.URL, environ: Mapping[str, str]) -> bool:
    """Whether `no_proxy` or `NO_PROXY` has the URL's host: as name, domain, address or network, also with a port."""
    host, port = url.raw_host.decode().strip("[].").lower(), url.port or (443 if url.scheme == "https" else 80)
    entries = " ".join(environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    for entry in re.split(r"[\s,;]+", entries.lower()):
        scheme, _, rest = entry.rpartition("://")
        name, entry_port = rest, ""
        if with_port := re.fullmatch(r"\[([^]]+)\](?::(\d+))?/?|([^:]+):(\d+)/?", rest):
            name, entry_port = with_port[1] or with_port[3], with_port[2] or with_port[4] or ""
        if scheme not in ("", "all", url.scheme) or entry_port not in ("", str(port)):
            continue
        try:
            if _address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:  # one of them is a name
            domain = _punycode(name.removeprefix("*").strip("./"))
            if (name and fnmatch(host, name)) or (domain and f".{host}".endswith(f".{domain}")):
                return True
    return False


def _punycode(name: str) -> str:
    with suppress(UnicodeError):
        return name.encode("idna").decode()
    return name


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address in any spelling, such as 0x7f000001. Raises ValueError."""
    if re.fullmatch(r"(0x[\da-f]+|\d+)(\.(0x[\da-f]+|\d+)){0,3}", text):
        with suppress(OSError):
            text = socket.inet_ntoa(socket.inet_aton(text))
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def is_canonical(host: str) -> bool:
    """Whether a host is an IP address as it is usually written."""
    try:
        return str(ipaddress.ip_address(host)) == host
    except ValueError:
        return False


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The trusted certificates: those that `SSL_CERT_FILE` or `SSL_CERT_DIR` names, or else certifi's.

    Raises:
        Misconfigured: A variable names a file that cannot be read.
    """
    file, folder = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    try:
        if folder and not file:
            list(Path(folder).iterdir())
        if file or folder:
            return ssl.create_default_context(cafile=file or None, capath=folder or None)
        return httpx.create_ssl_context(trust_env=False)
    except OSError as error:
        variable = next(filter(environ.get, TLS_FILES), TLS_FILES[0])
        path = as_code(environ.get(variable, ""))
        sentence = f"The environment variable {variable} names {path}, which cannot be used."
        raise Misconfigured(sentence, "Correct it, or unset it.") from error


def unusable_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """The variables that make other libraries fail, each with a value that they take, or None if there is none."""
    for name, value in environ.items():
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy") and proxy_url(value) != value:
            yield name, proxy_url(value)
        elif name.lower() == "no_proxy":  # httpx takes no network and no brackets
            entries = (entry.strip(" []") for entry in value.replace(" ", ",").split(","))
            yield name, ",".join(entry for entry in entries if "/" not in entry)
        elif name in TLS_FILES:
            try:
                tls_context({name: value})
            except Misconfigured:
                yield name, None
