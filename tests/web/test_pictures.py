"""Images and text files over HTTP: what of a file reaches the server."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import PIL.Image
import pytest
from gradio_client import Client, handle_file

from llama_ui.core.conversation import Turn
from llama_ui.core.messages import Image
from llama_ui.web.history import render_user
from tests.support.fake_stack import FakeStack
from tests.support.page import ask, reply_event, said, served
from tests.support.servers.recorded import RecordedServer
from tests.web.test_attachments import HOSTILE, PNG, corners, is_upright, oriented, saved

pytestmark = pytest.mark.loopback
SECONDS = 30.0
ROUTES = ["/v1/chat/completions", "/v1/openai/v1/chat/completions", "/v1/inference/chat-completion"]


@pytest.fixture
def client(stack: FakeStack) -> Iterator[Client]:
    with served(base_url=stack.url, system_prompt="") as url:
        yield Client(url, verbose=False)


@pytest.fixture
def phone_picture(tmp_path: Path) -> Path:
    """A photo as a phone writes it: on its side, too large, and with the place where it was taken."""
    exif = oriented(6)
    exif[0x010F] = "Secret Maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    photo = corners(3024, 4032).transpose(PIL.Image.Transpose.ROTATE_90)
    path = tmp_path / "IMG_0001.JPG"
    path.write_bytes(saved(photo, "JPEG", exif=exif))
    return path


def asked(client: Client, text: str, *files: Path) -> str:
    message = {"text": text, "files": [handle_file(str(file)) for file in files]}
    return said(client.predict(message, system_prompt="", api_name="/chat"))


def check_phone_picture(data: str) -> None:
    content = base64.b64decode(data, validate=True)
    picture = PIL.Image.open(io.BytesIO(content))
    assert (picture.format, picture.size) == ("JPEG", (1176, 1568))
    assert is_upright(picture)
    assert not picture.getexif()
    assert b"Exif" not in content
    assert b"Secret" not in content


@pytest.mark.parametrize("route", ROUTES)
def test_a_phone_picture_is_sent_upright_resized_and_without_metadata_in_each_turn(
    route: str, phone_picture: Path
) -> None:
    with ExitStack() as stay:
        legacy = "inference" in route
        server: Any = stay.enter_context(RecordedServer() if legacy else FakeStack())
        if not legacy:
            server.routes = [route]
        client = Client(stay.enter_context(served(base_url=server.url, system_prompt="")), verbose=False)
        answer = asked(client, "What is it?", phone_picture)
        client.predict("And now?", system_prompt="", api_name="/chat")
        first, second = (server.bodies if legacy else server.requests)[-2:]
    text, picture = first["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    if legacy:
        assert picture == {"type": "image", "image": {"data": picture["image"]["data"]}}
        check_phone_picture(picture["image"]["data"])
    else:
        url = picture["image_url"]["url"]
        assert picture == {"type": "image_url", "image_url": {"url": url}}
        check_phone_picture(url.removeprefix("data:image/jpeg;base64,"))
    assert second["messages"][0] == first["messages"][0]
    assert second["messages"][1]["content"] == answer
    assert second["messages"][2]["content"] == "And now?"


def test_the_longest_side_is_a_setting(stack: FakeStack, phone_picture: Path) -> None:
    with served(base_url=stack.url, max_image_side=100) as url:
        asked(Client(url, verbose=False), "What is it?", phone_picture)
    (part,) = [part for part in stack.requests[0]["messages"][0]["content"] if part["type"] == "image_url"]
    content = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    assert PIL.Image.open(io.BytesIO(content)).size == (75, 100)


def test_an_image_alone_is_a_message(client: Client, stack: FakeStack, phone_picture: Path) -> None:
    assert asked(client, "", phone_picture) == "Hello there."
    (part,) = stack.requests[0]["messages"][0]["content"]
    assert part["type"] == "image_url"


def test_a_text_file_is_sent_as_text_with_its_name(client: Client, stack: FakeStack, tmp_path: Path) -> None:
    notes = tmp_path / "notes.py"
    notes.write_text("if a:\n    b()\n")
    asked(client, "What is it?", notes)
    content = "`notes.py`:\n\n```py\nif a:\n    b()\n```\n\nWhat is it?"
    assert stack.requests[0]["messages"] == [{"role": "user", "content": content}]


def test_a_text_file_counts_towards_the_limit_of_the_message(stack: FakeStack, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("a" * 90)
    with served(base_url=stack.url, max_message_chars=100) as url:
        told = asked(Client(url, verbose=False), "What is it?", notes)
    assert "The message has" in told
    assert stack.requests == []


def test_a_message_with_too_many_images_is_not_sent(client: Client, stack: FakeStack, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    assert "The message has 5 pictures; at most 4 are sent." in asked(client, "Look.", *[picture] * 5)
    assert stack.requests == []
    asked(client, "Look.", *[picture] * 4)
    assert len(stack.requests[0]["messages"][0]["content"]) == 5


SAMPLE = ["bomb in the header", "jpeg of many scans", "svg with a script", "png as jpeg", "moving gif", "11 MB"]


@pytest.mark.parametrize("key", SAMPLE)
def test_a_hostile_file_gets_a_sentence_and_is_not_sent(hostile: tuple[str, FakeStack], key: str) -> None:
    (url, stack), (name, content, sentence) = hostile, HOSTILE[key]
    with httpx.Client(base_url=f"{url}gradio_api/", timeout=SECONDS, trust_env=False) as http:
        (path,) = http.post("upload", files={"files": ("a.bin", content)}).json()
        file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        event = http.post("call/v2/chat", json={"message": {"text": "Look.", "files": [file]}}).json()["event_id"]
        with http.stream("GET", f"call/chat/{event}") as answer:
            data = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    (note,) = json.loads(data[-1])[0]
    assert note["metadata"] == {"id": "error"}
    assert sentence in said([note])
    assert stack.requests == []


@pytest.fixture(scope="module")
def hostile() -> Iterator[tuple[str, FakeStack]]:
    with FakeStack() as stack, served(base_url=stack.url) as url:
        yield url, stack
        client = Client(url, verbose=False)
        assert said(client.predict("Still there?", api_name="/chat")) == "Hello there."


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "http://127.0.0.1:9/a.png", "data:image/png,x"])
def test_a_path_that_was_not_uploaded_is_not_read(client: Client, stack: FakeStack, path: str) -> None:
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert "root:" not in ask(client.src, {"text": "Look.", "files": [file]})
    assert stack.requests == []


def test_an_image_that_no_attachment_became_is_not_sent(stack: FakeStack) -> None:
    large = base64.b64encode(saved(corners(2000, 20), "PNG")).decode()
    for data in (large, "aaaa"):
        message = render_user(Turn(images=(Image("image/png", data),)))
        with served(base_url=stack.url) as page, httpx.Client(base_url=page, timeout=SECONDS, trust_env=False) as http:
            config = http.get("config").json()
            call = {"fn_index": reply_event(config), "session_hash": "x", "data": [[message]]}
            http.post("gradio_api/queue/join", json=call)
            with http.stream("GET", "gradio_api/queue/data", params={"session_hash": "x"}) as answer:
                lines = answer.iter_lines()
                assert any("A picture in the conversation cannot be sent." in line for line in lines)
    assert stack.requests == []
