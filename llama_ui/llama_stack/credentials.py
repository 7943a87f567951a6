"""The secrets that go with every request to the server."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx

MIN_SECRET = 4  # characters; shorter values of provider data are no keys
PROVIDER_DATA_HEADERS = ("X-LlamaStack-Provider-Data", "X-OGX-Provider-Data")


@dataclass(frozen=True)
class Credentials:
    """The user name and the password in the server's URL, or else a key, and keys for the providers behind it."""

    url: httpx.URL = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    provider_data: Mapping[str, object] | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """The headers that carry them."""
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        if self.url.userinfo:
            pair = f"{self.url.username}:{self.url.password}".encode()
            headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        if self.provider_data:
            headers |= dict.fromkeys(PROVIDER_DATA_HEADERS, json.dumps(self.provider_data))
        return headers

    def secrets(self) -> list[str]:
        """What no error may show."""
        encoded = self.url.userinfo.decode().partition(":")[2]
        return [secret for secret in (self.api_key, self.url.password, encoded, *_texts(self.provider_data)) if secret]


def _texts(data: object) -> Iterator[str]:
    """The values in provider data that are long enough to be keys."""
    if isinstance(data, Mapping):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)
    elif isinstance(data, str) and len(data) >= MIN_SECRET:
        yield data
