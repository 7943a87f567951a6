"""Images and text files over HTTP: what of a file reaches the server."""

import base64
import io
from pathlib import Path

import httpx
import PIL.Image
import pytest
from gradio_client import Client, handle_file

from llama_ui.core.conversation import Turn
from llama_ui.core.messages import Image
from llama_ui.web.history import render_user
from tests.support import SECONDS
from tests.support.fake_stack import FakeStack
from tests.support.page import ask as ask_as_program
from tests.support.page import reply_event, reply_text
from tests.web.test_attachments import HOSTILE, PNG, corners, is_upright, oriented, saved

pytestmark = pytest.mark.loopback
PAGE = {"max_image_side": 100, "max_message_chars": 200}


def ask(client: Client, text: str, *files: Path) -> str:
    message = {"text": text, "files": [handle_file(str(file)) for file in files]}
    return reply_text(client.predict(message, system_prompt="", api_name="/chat"))


def test_an_image_is_sent_upright_and_resized_in_each_turn(client: Client, stack: FakeStack, tmp_path: Path) -> None:
    photo = tmp_path / "IMG_0001.JPG"
    photo.write_bytes(saved(corners(1512, 2016).transpose(PIL.Image.Transpose.ROTATE_90), "JPEG", exif=oriented(6)))
    answer = ask(client, "What is it?", photo)
    ask(client, "And now?")
    first, second = (request["messages"] for request in stack.requests)
    text, image = first[0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    media_type, _, data = image["image_url"]["url"].partition(",")
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert (media_type, picture.size, is_upright(picture)) == ("data:image/jpeg;base64", (75, 100), True)
    assert second[0] == first[0]
    assert [message["content"] for message in second[1:]] == [answer, "And now?"]


@pytest.mark.parametrize("name", ["photo.jfif", "photo.png", "photo"])
def test_a_photo_is_sent_whatever_its_name_ends_with(
    client: Client, stack: FakeStack, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(saved(corners(40, 20), "JPEG"))
    ask(client, "What is it?", tmp_path / name)
    _, image = stack.requests[0]["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_a_text_file_in_windows_1252_is_sent(client: Client, stack: FakeStack, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes("Größe: 5 €".encode("windows-1252"))
    ask(client, "What is it?", tmp_path / "notes.txt")
    assert "\nGröße: 5 €\n" in stack.requests[0]["messages"][0]["content"]


def test_a_text_file_is_sent_as_text_up_to_the_limit(client: Client, stack: FakeStack, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("a" * 100)
    ask(client, "What is it?", notes)
    assert stack.requests[0]["messages"][0]["content"] == f"`notes.txt`:\n\n```txt\n{'a' * 100}\n```\n\nWhat is it?"
    notes.write_text("a" * 190)
    assert "The message has" in ask(client, "What is it?", notes)
    assert len(stack.requests) == 1


def test_a_message_with_too_many_images_is_not_sent(client: Client, stack: FakeStack, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    assert "The message has 5 pictures; at most 4 are sent." in ask(client, "Look.", *[picture] * 5)
    assert stack.requests == []
    ask(client, "Look.", *[picture] * 4)
    assert len(stack.requests[0]["messages"][0]["content"]) == 5


@pytest.mark.parametrize("key", ["bomb in the header", "svg with a script", "moving gif"])
def test_a_hostile_file_gets_a_sentence_and_is_not_sent(client: Client, stack: FakeStack, key: str) -> None:
    name, content, sentence = HOSTILE[key]
    upload = f"{client.src.rstrip('/')}/gradio_api/upload"
    (path,) = httpx.post(upload, files={"files": ("a.bin", content)}, timeout=SECONDS).json()
    file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    assert sentence in ask_as_program(client.src, {"text": "Look.", "files": [file]})
    assert stack.requests == []


@pytest.mark.parametrize("data", [base64.b64encode(saved(corners(200, 20), "PNG")).decode(), "aaaa"])
def test_an_image_that_no_attachment_became_is_not_sent(client: Client, stack: FakeStack, data: str) -> None:
    message = render_user(Turn(images=(Image("image/png", data),)))
    with httpx.Client(base_url=client.src, timeout=SECONDS, trust_env=False) as http:
        call = {
            "fn_index": reply_event(http.get("config").json()),
            "session_hash": "x",
            "data": [[message], *[""] * 17],
        }
        http.post("gradio_api/queue/join", json=call)
        with http.stream("GET", "gradio_api/queue/data", params={"session_hash": "x"}) as answer:
            assert any("A picture in the conversation cannot be sent." in line for line in answer.iter_lines())
    assert stack.requests == []
