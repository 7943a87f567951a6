"""What each workaround is for: without it, its test fails."""

import asyncio
import re
import sys
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest

from llama_ui.web.gradio_patches import Mailboxes
from tests.support import SECONDS
from tests.support.fake_stack import FakeStack, Hold
from tests.support.page import ask, event_id

pytestmark = pytest.mark.loopback
PAGE = {"max_visitors": 1}  # it has room for 220 sessions


@pytest.fixture(scope="module")
def url(url: str) -> str:
    return url.rstrip("/")


@pytest.mark.parametrize("path", ["queue/join", "run/predict", "call/chat"])
def test_a_session_has_a_short_name(url: str, path: str) -> None:
    sent = {"data": [], "fn_index": 0, "session_hash": "x" * 65}
    assert httpx.post(f"{url}/gradio_api/{path}", json=sent, timeout=SECONDS).status_code == 422


def test_an_address_in_place_of_a_file_is_not_fetched(url: str, stack: FakeStack) -> None:
    requests = len(stack.calls)
    file = {"path": f"{stack.url}/v1/health", "meta": {"_type": "gradio.FileData"}}
    assert "this app fetches no addresses" in ask(url, {"text": "Hi", "files": [file]})
    assert len(stack.calls) == requests


def test_an_error_of_gradio_s_own_is_a_sentence_with_an_id_that_the_log_explains(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    event = httpx.post(f"{url}/gradio_api/call/chat", json={"data": ["a secret"]}).json()["event_id"]
    answer = httpx.get(f"{url}/gradio_api/call/chat/{event}", timeout=SECONDS).text
    (reference,) = re.findall(r"Something went wrong in this app \(error (\w+)\). Try again.", answer)
    assert reference in caplog.text
    assert "The request cannot be read." in ask(url, {"text": ["a secret"]})
    assert "a secret" not in caplog.text


def test_a_new_session_costs_no_configuration_of_its_components(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[object] = []
    monkeypatch.setattr("gradio.blocks.BlocksConfig.config_for_block", lambda *arguments: computed.append(arguments))
    join = {"data": [None], "fn_index": event_id(url, "check"), "session_hash": "a new one"}
    httpx.post(f"{url}/gradio_api/queue/join", json=join, timeout=SECONDS).raise_for_status()
    assert computed == []


def test_gradio_still_looks_for_progress_and_for_messages_all_the_time() -> None:
    with gr.Blocks() as demo:
        pass
    queue = demo.queue()._queue
    assert (queue.progress_update_sleep_when_free, queue.sleep_when_free) == (0.01, 0.001), "drop the workaround"


def test_no_step_of_a_reply_searches_for_matplotlib(
    url: str, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    finder = SimpleNamespace(find_spec=lambda name, *_: searched.append(name))
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    ask(url, "Hi")
    assert "matplotlib" not in searched
    monkeypatch.delitem(sys.modules, "matplotlib")
    ask(url, "Hi")
    assert "matplotlib" in searched


async def test_made_up_sessions_evict_no_session_in_use() -> None:
    boxes = Mailboxes(10)
    boxes["visitor"] = asyncio.Queue()
    for number in range(100):
        boxes[f"made up {number}"] = asyncio.Queue()
        assert "visitor" in boxes
    assert len(boxes) == 10


async def test_an_evicted_session_does_not_stop_the_replies_of_others(url: str, stack: FakeStack) -> None:
    reply = stack.enqueue("for nobody", hold := Hold())
    call = f"{url}/gradio_api/call/v2/chat"
    async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as http:
        await http.post(call, json={"message": "nobody reads the reply"})
        await asyncio.to_thread(hold.reached.wait, SECONDS)
        event = await asyncio.to_thread(event_id, url, "differences")
        for number in range(220):
            join = {"data": [[], []], "fn_index": event, "session_hash": f"made up {number}"}
            await http.post(f"{url}/gradio_api/queue/join", json=join)
        hold.release.set()
        assert await asyncio.to_thread(reply.ended.wait, SECONDS)
    assert "Hello there." in await asyncio.to_thread(ask, url, "Hi")


def test_a_session_without_a_name_and_one_that_does_not_exist_break_nothing(
    url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    join = {"data": [[], []], "fn_index": event_id(url, "differences"), "session_hash": ""}
    assert httpx.post(f"{url}/gradio_api/queue/join", json=join, timeout=SECONDS).is_success
    answer = httpx.get(f"{url}/gradio_api/queue/data?session_hash=nobody", timeout=SECONDS).text
    assert '"session_not_found":true' in answer
    assert "Traceback" not in capfd.readouterr().err + caplog.text
