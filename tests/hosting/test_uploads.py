"""Uploaded files are deleted: old ones while the app runs, all of them at exit."""

import os
import socket
from pathlib import Path

import httpx
import pytest
from limits import RateLimitItemPerMinute

from llama_ui.hosting import security, uploads
from tests.support import SECONDS

pytestmark = pytest.mark.loopback
PART = 'Content-Disposition: form-data; name="files"; filename="a.txt"'


def files_in(folder: str | Path) -> list[str]:
    return [name for _, _, names in os.walk(folder) for name in names]


def upload(url: str, field: str = "files") -> httpx.Response:
    return httpx.post(f"{url}/gradio_api/upload", files={field: ("a.txt", b"x" * 100_000)}, timeout=SECONDS)


def break_off_an_upload(url: str) -> None:
    address = httpx.URL(url)
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    body = f"--b\r\n{PART}\r\n\r\n{'x' * 3_000_000}"
    with socket.create_connection((address.host, address.port or 80), SECONDS) as connection:
        connection.sendall(f"{head}Content-Length: 9000000\r\n\r\n{body}".encode())


def test_old_files_are_deleted_also_those_of_broken_off_uploads(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = uploads.folder().files
    assert upload(url).is_success and upload(url, "other").is_success
    break_off_an_upload(url)
    assert upload(url).is_success  # the server has closed the one before by now
    before = files_in(folder)
    assert len(before) >= 3
    uploads.sweep(folder)
    assert files_in(folder) == before, "new files may still be read"
    monkeypatch.setattr(uploads, "SWEEP_AGE", -1.0)
    uploads.sweep(folder)
    uploads.sweep(folder)
    assert list(folder.iterdir()) == []
    monkeypatch.undo()
    (path,) = upload(url).json()
    assert Path(path).read_bytes() == b"x" * 100_000


def test_the_bytes_of_all_uploads_are_limited(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "UPLOAD_RATE", RateLimitItemPerMinute(10 * security.MIN_FILE, 6))
    assert upload(url).is_success
    for _ in range(2):  # many small files take as much room as a few large ones
        refused = httpx.post(f"{url}/gradio_api/upload", files=[("files", ("a.txt", b"x"))] * 10, timeout=SECONDS)
        assert refused.status_code == 503 and "Add yours in a few minutes." in refused.json()["detail"]
