"""What happens behind the other tabs, against a scripted server."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from llama_ui.core.conversation import Reply
from llama_ui.core.stats import Stats
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web.handlers import Handlers
from llama_ui.web.tab_handlers import NOTHING_SENT, TabHandlers
from llama_ui.web.view import ChatMessage, answer, error_note, image_part, message, sent
from tests.core.test_messages import ICON as PICTURE
from tests.support.fake_stack import MODEL, Endless, FakeStack

pytestmark = pytest.mark.loopback
NOW = ("The prompt of now.", MODEL, "1.5", "", "", "", "")
REQUEST = gr.Request(session_hash="a visitor", client={"host": "127.0.0.1"})
THEN = dict(zip(("system_prompt", "model", "temperature"), ("Be brief.", "", "0.5"), strict=True))


@contextlib.contextmanager
def tabs(**values: Any) -> Iterator[TabHandlers]:
    settings = Settings(**values)
    connection = Connection(settings)
    turns = Turns(settings, connection)
    yield TabHandlers(settings, connection, Handlers(settings, connection, turns), turns)
    connection.close()


def conversation() -> list[ChatMessage]:
    stats = Stats(0.0, 0.5, 1.0, 7, 11, False, "stop")
    replied = answer(Reply("Hello.", model="fake/then", stats=stats, ended=True), THEN)
    return [message("user", "Hi."), replied]


async def last(shown: AsyncGenerator[str, None]) -> str:
    return [html async for html in shown][-1]


async def test_the_code_is_of_the_last_turn_with_the_settings_of_then(stack: FakeStack) -> None:
    with tabs(base_url=stack.url) as behind:
        python, curl, told, pictures = await behind.code([*conversation(), *conversation()], *NOW)
    request = json.loads(told)
    assert (request["model"], request["temperature"]) == ("fake/then", 0.5)
    assert [item["content"] for item in request["messages"]] == ["Be brief.", "Hi.", "Hello.", "Hi."]
    assert "fake/then" in python and stack.url in python and f"{stack.url}/v1/chat/completions" in curl
    assert pictures == ""


async def test_the_code_is_shown_also_when_the_server_is_gone(stack: FakeStack) -> None:
    with tabs(base_url=stack.url) as behind:
        before = await behind.code(conversation(), *NOW)
        stack.stop()
        assert await behind.code(conversation(), *NOW) == before


async def test_the_code_of_a_turn_that_was_stopped_before_its_reply_began_has_the_settings_of_then(
    stack: FakeStack,
) -> None:
    asked = message("user", "Hi.") | {"metadata": {"log": sent(Reply(model="fake/then"), THEN)}}
    with tabs(base_url=stack.url) as behind:
        _, _, told, _ = await behind.code([asked], *NOW)
    request = json.loads(told)
    assert (request["model"], request["messages"][0]["content"]) == ("fake/then", "Be brief.")


async def test_the_code_of_a_turn_that_failed_is_what_would_be_sent_now(stack: FakeStack) -> None:
    failed = error_note(RuntimeError("No server answers."))  # type: ignore[arg-type] # shown in the same way
    with tabs(base_url=stack.url) as behind:
        _, _, told, _ = await behind.code([message("user", "Hi."), failed], *NOW)
    assert json.loads(told)["messages"][0]["content"] == "The prompt of now."


async def test_pictures_of_the_code_can_be_saved(stack: FakeStack) -> None:
    seen = message("user", "Look.") | {"content": [image_part(PICTURE)]}
    with tabs(base_url=stack.url) as behind:
        python, _, told, pictures = await behind.code([seen], *NOW)
    assert 'download="image-1.png"' in pictures and PICTURE.data in pictures
    assert PICTURE.data not in python + told


async def test_without_a_message_or_a_server_the_code_says_why(stack: FakeStack) -> None:
    with tabs(base_url=stack.url) as behind:
        assert NOTHING_SENT in (await behind.code([], *NOW))[0]
    with tabs(base_url="http://127.0.0.1:9") as behind:
        assert "No server answers" in (await behind.code([message("user", "Hi.")], *NOW))[0]


async def test_a_conversation_is_exported_and_imported(stack: FakeStack, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    with tabs(base_url=stack.url) as behind:
        exported = behind.exported({"kind": "json", "title": "A title"}, conversation(), *NOW)
        file.write_text(exported["text"], encoding="utf-8")
        read = behind.imported({"path": str(file)})
        assert (read["title"], tuple(read["settings"])) == ("A title", NOW)
        assert [item["content"] for item in read["history"]] == [item["content"] for item in conversation()]
        markdown = behind.exported({"kind": "md", "title": "A title"}, conversation(), *NOW)["text"]
        assert markdown.startswith("# A title")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"messages": 1}'])
def test_a_bad_file_gets_one_sentence(stack: FakeStack, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chat.json").write_bytes(content)
    with tabs(base_url=stack.url) as behind:
        assert behind.imported({"path": str(tmp_path / "chat.json")}).keys() == {"complaint"}
        assert behind.imported({"path": str(tmp_path / "gone.json")}).keys() == {"complaint"}
        assert behind.imported(None).keys() == {"complaint"}


async def test_a_replay_sends_the_messages_again_with_the_settings_of_now(stack: FakeStack) -> None:
    stack.enqueue("Goodbye", ".")
    with tabs(base_url=stack.url) as behind:
        shown = await last(behind.replay(conversation(), REQUEST, *NOW))
    (request,) = stack.requests
    assert [item["content"] for item in request["messages"]] == ["The prompt of now.", "Hi."]
    assert (request["model"], request["temperature"]) == (MODEL, 1.5)
    assert "<ins>" in shown and "<del>" in shown
    assert "Be brief." in shown and "The prompt of now." in shown and "0.50 s to first token" in shown


async def test_what_cannot_be_compared_gets_one_sentence(stack: FakeStack) -> None:
    hot = (*NOW[:2], "9", *NOW[3:])
    with tabs(base_url=stack.url, max_message_chars=30) as behind:
        assert "no message" in await last(behind.replay([], REQUEST, *NOW))
        assert "no message" in await last(behind.ask_both(" ", MODEL, [], REQUEST, *NOW))
        assert "Choose a second one" in await last(behind.ask_both("Hi", "", [], REQUEST, *NOW))
        assert "Temperature" in await last(behind.replay(conversation(), REQUEST, *hot))
        assert "31 characters" in await last(behind.replay(conversation(), REQUEST, "x" * 31, *NOW[1:]))
        assert "31 characters" in await last(behind.ask_both("x" * 31, MODEL, [], REQUEST, *NOW))
    assert stack.requests == []


async def test_a_model_that_fails_says_so_in_its_place_and_the_other_one_answers(stack: FakeStack) -> None:
    with tabs(base_url=stack.url) as behind:
        shown = await last(behind.ask_both("Hi", "<b>nope</b>", [], REQUEST, *NOW))
    assert "Hello there." in shown and "has no model" in shown and "<b>" not in shown


async def test_a_comparison_that_is_left_ends_its_requests(stack: FakeStack) -> None:

    replies = [stack.enqueue("Once", Endless()) for _ in range(2)]
    with tabs(base_url=stack.url) as behind:
        async with contextlib.aclosing(behind.ask_both("Hi", MODEL, [], REQUEST, *NOW)) as shown:
            async for html in shown:
                if html.count("Oncemore") == 2:
                    break
        for reply in replies:
            assert await asyncio.to_thread(reply.ended.wait, 20)
