"""The event handlers of the other tabs, against a scripted server."""

import contextlib
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from llama_ui.core.conversation import ChatSettings, Conversation, Reply, Turn
from llama_ui.core.errors import NotListening
from llama_ui.core.messages import SamplingOptions
from llama_ui.core.stats import Stats
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web.history import ChatMessage, render
from llama_ui.web.tab_handlers import TabHandlers
from tests.core.test_conversation import ICON as PICTURE
from tests.support.fake_stack import MODEL, FakeStack

pytestmark = pytest.mark.loopback
NOW = ("The prompt of now.", MODEL, "1.5", *[""] * 14)
REQUEST = gr.Request(session_hash="a visitor", client={"host": "127.0.0.1"})
THEN = ChatSettings("Be brief.", "fake/then", SamplingOptions(temperature=0.5))
STATS = Stats(0.0, 0.5, 1.0, 7, 11, False, "stop")
ANSWERED = Turn("Hi.", replies=(Reply("Hello.", model="fake/then", stats=STATS, ended=True, request=THEN),))


@contextlib.contextmanager
def tabs(**values: Any) -> Iterator[TabHandlers]:
    settings = Settings(**values)
    connection = Connection(settings)
    turns = Turns(settings, connection)
    yield TabHandlers(settings, connection, turns)
    connection.close()


@pytest.fixture
def handlers(stack: FakeStack) -> Iterator[TabHandlers]:
    with tabs(base_url=stack.url) as handlers:
        yield handlers


def conversation(*turns: Turn) -> list[ChatMessage]:
    """The history of a page."""
    return render(Conversation(turns=turns or (ANSWERED,)))


async def last(tables: AsyncGenerator[str, None]) -> str:
    return [html async for html in tables][-1]


async def test_the_code_is_shown_after_the_server_went_away() -> None:
    with FakeStack() as stack, tabs(base_url=stack.url) as handlers:
        before = await handlers.code("reply", None, conversation(), *NOW)
        stack.stop()
        assert await handlers.code("reply", None, conversation(), *NOW) == before


async def test_the_code_of_a_message_that_was_not_sent_has_the_current_settings(handlers: TabHandlers) -> None:
    failed = Turn("Hi.", (PICTURE,), (Reply(error=NotListening("No server answers.", ""), ended=True),))
    python, _, body, pictures, _ = await handlers.code("message", None, conversation(failed), *NOW)
    assert "The prompt of now." in body
    assert 'download="image-1.png"' in pictures and PICTURE.data in pictures
    assert PICTURE.data not in python + body


async def test_without_a_message_or_a_server_the_code_says_why(stack: FakeStack) -> None:
    with tabs(base_url=stack.url) as handlers:
        assert "Send a message to see its code." in (await handlers.code("reply", None, [], *NOW))[0]
    with tabs(base_url="http://127.0.0.1:9") as handlers:
        assert "Can&#39;t reach" in (await handlers.code("reply", None, conversation(Turn("Hi.")), *NOW))[0]


def test_a_bad_file_is_refused_with_a_sentence(handlers: TabHandlers, tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_bytes(b"{")
    assert handlers.import_file({"path": str(tmp_path / "chat.json")}).keys() == {"error"}
    assert handlers.import_file({"path": str(tmp_path / "gone.json")}).keys() == {"error"}
    assert handlers.import_file(None).keys() == {"error"}


@pytest.mark.parametrize(
    ("count", "note"), [(0, ""), (1, "1 tool message was skipped."), (1500, "1,500 tool messages were skipped.")]
)
def test_the_page_is_given_the_number_of_tool_messages(
    handlers: TabHandlers, tmp_path: Path, count: int, note: str
) -> None:
    messages = [{"role": "user", "content": "Hi."}, *[{"role": "tool", "content": "5"}] * count]
    (tmp_path / "chat.json").write_text(json.dumps({"model": "fake/then", "messages": messages}))
    imported = handlers.import_file({"path": str(tmp_path / "chat.json")})
    assert imported["note"] == note
    assert imported["history"] == conversation(Turn("Hi."))
    assert imported["settings"] == ["", "fake/then", *[""] * 15]


async def test_the_loop_is_a_program_with_the_current_settings(handlers: TabHandlers) -> None:
    python, _, body, _, caption = await handlers.code("loop", None, conversation(Turn("Hi.")), *NOW)
    assert "input(" in python and "The prompt of now." in python and "quit" in python
    assert "input(" not in body
    assert "chat.py" in caption and "Show the next request" in caption


async def test_earlier_messages_are_folded_and_part_of_the_code(handlers: TabHandlers) -> None:
    for form in (await handlers.code("reply", None, conversation(ANSWERED, ANSWERED, Turn("Bye.")), *NOW))[:3]:
        before, _, folded = form.partition("<details>")
        earlier, _, after = folded.partition("</details>")
        assert "4 earlier messages" in earlier and earlier.count("Hello.") == 2
        assert "Bye." in after and "Hello." not in before + after


async def test_a_comparison_that_is_impossible_is_explained(stack: FakeStack) -> None:
    hot = (*NOW[:2], "9", *NOW[3:])
    with tabs(base_url=stack.url, max_message_chars=30) as handlers:
        assert "Nothing to replay" in await last(handlers.replay([], REQUEST, *NOW))
        assert "Temperature" in await last(handlers.replay(conversation(), REQUEST, *hot))
        assert "31 characters" in await last(handlers.replay(conversation(), REQUEST, "x" * 31, *NOW[1:]))
    assert stack.requests == []
