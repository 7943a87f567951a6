"""What becomes of the files that visitors upload."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from limits import RateLimitItemPerMinute

from llama_ui.hosting import security, uploads
from tests.support.fake_stack import FakeStack
from tests.support.page import served

pytestmark = pytest.mark.loopback
SECONDS = 20.0
PART = 'Content-Disposition: form-data; name="files"; filename="a.txt"'


@pytest.fixture
def url(stack: FakeStack) -> Iterator[str]:
    with served(base_url=stack.url) as url:
        yield url.rstrip("/")


def kept(place: str | Path) -> list[str]:
    return [name for _, _, names in os.walk(place) for name in names]


def upload(url: str, field: str = "files") -> httpx.Response:
    return httpx.post(f"{url}/gradio_api/upload", files={field: ("a.txt", b"x" * 100_000)}, timeout=SECONDS)


def break_off(url: str) -> None:
    there = httpx.URL(url)
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    body = f"--b\r\n{PART}\r\n\r\n{'x' * 3_000_000}"
    with socket.create_connection((there.host, there.port or 80), SECONDS) as connection:
        connection.sendall(f"{head}Content-Length: 9000000\r\n\r\n{body}".encode())


def test_nothing_that_was_uploaded_stays_for_long_whatever_became_of_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(uploads.folder().name)
    assert upload(url).is_success and upload(url, "other").is_success
    break_off(url)
    assert upload(url).is_success  # by now the one before is known to be broken off
    before = kept(place)
    assert len(before) >= 3
    uploads.sweep(place)
    assert kept(place) == before, "a file may still be read"
    monkeypatch.setattr(uploads, "SWEPT", -1.0)
    uploads.sweep(place)
    uploads.sweep(place)
    assert list(place.iterdir()) == []
    monkeypatch.undo()
    (path,) = upload(url).json()
    assert Path(path).read_bytes() == b"x" * 100_000


def test_no_more_is_taken_than_there_is_room_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "UPLOAD_RATE", RateLimitItemPerMinute(10 * security.MIN_FILE, 6))
    assert upload(url).is_success
    for _ in range(2):  # many small files take as much room as a few large ones
        refused = httpx.post(f"{url}/gradio_api/upload", files=[("files", ("a.txt", b"x"))] * 10, timeout=SECONDS)
        assert refused.status_code == 503 and "Add yours in a few minutes." in refused.json()["detail"]
