"""The page through its own API, against a scripted server: what it sends, and what it shows."""

import asyncio
import contextlib
import re
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from itertools import batched
from typing import Any

import httpx
import pytest
from gradio_client import Client

from tests.hosting.test_load import Visitor, connections, ended, first_with, readers, until, visitors
from tests.support import SECONDS
from tests.support.fake_stack import MODEL, Endless, FakeStack, Hold
from tests.support.page import ask, reply_event, reply_text, served, slow_reader

pytestmark = pytest.mark.loopback
UNSET = ("", MODEL, *[""] * 15)  # system prompt, model and sampling options


def test_a_reply_is_streamed_in_partial_updates(client: Client, stack: FakeStack) -> None:
    holds = [Hold() for _ in range(5)]
    stack.enqueue(*[item for number, hold in enumerate(holds) for item in (f"word{number} ", hold)])
    job = client.submit("Hi", api_name="/chat")
    seen = []
    for update, hold in zip(job, holds, strict=False):
        seen.append(reply_text(update))
        hold.release.set()
    assert seen == ["word0 ", "word0 word1 ", "word0 word1 word2 ", "word0 word1 word2 word3 ", seen[-1]]
    assert reply_text(job.result(SECONDS)) == "word0 word1 word2 word3 word4 "


def test_the_current_system_prompt_comes_first_on_every_turn(client: Client, stack: FakeStack) -> None:
    client.predict("one", system_prompt="First.", api_name="/chat")
    client.predict("two", system_prompt="Second.", api_name="/chat")
    assert [request["messages"][0]["content"] for request in stack.requests] == ["First.", "Second."]
    assert stack.requests[1]["messages"] == [
        {"role": "system", "content": "Second."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Hello there."},
        {"role": "user", "content": "two"},
    ]


def test_only_what_was_set_is_sent_also_by_a_program_without_gradio_client(client: Client, stack: FakeStack) -> None:
    client.predict("Hi", temperature=0.5, top_p="0.9", max_tokens=12, seed="7", api_name="/chat")
    assert stack.requests[0].items() >= {"temperature": 0.5, "top_p": 0.9, "max_tokens": 12, "seed": 7}.items()
    assert "Hello there." in ask(client.src, "Hi")
    assert stack.requests[1].keys() == {"model", "messages", "stream", "stream_options"}
    assert "Hello there." in ask(client.src, {"text": "Hi", "files": []}, system_prompt="", seed="7")
    assert "Hello there." in reply_text(client.predict("Hi", streaming="off", api_name="/chat"))
    assert stack.requests.pop()["stream"] is False
    assert stack.requests[2]["seed"] == 7 and stack.requests[2]["messages"] == [{"role": "user", "content": "Hi"}]


def test_the_endpoint_has_the_names_that_other_programs_rely_on(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/chat"]
    labels = [
        "Message",
        "System prompt",
        "Model",
        "Temperature",
        "Top p",
        "Max tokens",
        "Seed",
        "Reasoning effort",
        "Streaming",
        "Frequency penalty",
        "Presence penalty",
        "Thinking",
        "Examples",
    ]
    named = {label.lower().replace(" ", "_"): label for label in labels}
    named |= {"response_format": "JSON schema", "top_logprobs": "Token probabilities", "n": "Samples"}
    named |= {"stop": "Stop sequences", "extra_body": "Extra fields"}
    parameters = {item["parameter_name"]: item["label"] for item in endpoints["/chat"]["parameters"]}
    assert parameters == named


def test_a_program_can_send_all_options(client: Client, stack: FakeStack) -> None:
    schema = {"type": "object"}
    options: dict[str, Any] = {"response_format": schema, "top_logprobs": 2, "stop": ["END", "a\nb"], "thinking": "off"}
    options |= {"frequency_penalty": -1, "presence_penalty": 0.5, "extra_body": {"top_k": 3}}
    examples = [{"user": "2+2?", "assistant": "4"}]
    token = {"token": "{}", "logprob": -0.5, "top_logprobs": [{"token": "[", "logprob": -1.5}]}
    stack.enqueue({"choices": [{"index": 0, "delta": {"content": "{}"}, "logprobs": {"content": [token]}}]})
    answer, ending = client.predict("Hi", **options, examples=examples, api_name="/chat")
    (request,) = stack.requests
    assert request["response_format"]["json_schema"]["schema"] == schema
    assert (request["top_logprobs"], request["logprobs"]) == (2, True)
    assert (request["stop"], request["top_k"]) == (["END", "a\nb"], 3)
    assert (request["frequency_penalty"], request["presence_penalty"]) == (-1.0, 0.5)
    assert request["chat_template_kwargs"] == {"enable_thinking": False}
    assert [message["content"] for message in request["messages"][1:]] == ["2+2?", "4", "Hi"]
    assert answer["metadata"]["logprobs"] == {"content": [token]}
    assert "The reply matches the schema." in ending["content"][0]["text"]
    client.predict("And?", api_name="/chat")
    assert [message["content"] for message in stack.requests[-1]["messages"][1:]] == ["Hi", "{}", "And?"]


def test_a_program_gets_all_samples_and_continues_with_the_first(client: Client, stack: FakeStack) -> None:
    stack.enqueue(*[{"choices": [{"index": index, "delta": {"content": f"{index}"}}]} for index in range(3)])
    replies = client.predict("Hi", n=3, api_name="/chat")
    assert [reply["content"][0]["text"] for reply in replies if "id" not in (reply["metadata"] or {})] == [
        "0",
        "1",
        "2",
    ]
    assert stack.requests[-1]["n"] == 3
    client.predict("And?", api_name="/chat")
    assert [message["content"] for message in stack.requests[-1]["messages"][1:]] == ["Hi", "0", "And?"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"response_format": {"type": "objct"}}, "JSON schema is not valid at `type`"),
        ({"extra_body": [1]}, "Extra fields must be"),
        ({"extra_body": {"messages": []}}, "Extra fields cannot have `messages`, which the app sends itself."),
        ({"examples": "x"}, "Examples must be at most 20 pairs of texts"),
        ({"n": 100}, "Samples must be a whole number 1–8, or empty."),
    ],
)
def test_what_a_program_cannot_send_gets_one_sentence(
    client: Client, stack: FakeStack, options: dict[str, Any], sentence: str
) -> None:
    (reply,) = client.predict("Hi", **options, api_name="/chat")
    assert reply["metadata"]["id"] == "error"
    assert sentence in reply["content"][0]["text"]
    assert stack.requests == []


def test_what_is_too_long_is_not_sent(serve: Callable[..., Client], stack: FakeStack) -> None:
    client = serve(base_url=stack.url, max_message_chars=10)
    assert "The message has 11 characters; at most 10 are sent." in ask(client.src, "x" * 11)
    assert "The system prompt has 11 characters; at most 10 are sent." in ask(client.src, "Hi", system_prompt="y" * 11)
    assert stack.requests == []


def test_a_refused_key_is_explained_and_never_shown(serve: Callable[..., Client], stack: FakeStack) -> None:
    stack.key = "right"
    client = serve(base_url=stack.url, api_key="wr0ng-k3y", model=MODEL)
    shown = reply_text(client.predict("Hi", api_name="/chat"))
    assert "refused the key" in shown and "LLAMA_STACK_CLIENT_API_KEY" in shown
    page = httpx.get(client.src).text + httpx.get(f"{client.src}config").text
    assert "wr0ng-k3y" not in shown + page


def test_two_visitors_are_served_at_once_and_do_not_see_each_other(client: Client, stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("slow", hold)
    waiting = client.submit("first visitor", api_name="/chat")
    assert hold.reached.wait(SECONDS)
    other = Client(client.src, verbose=False)
    assert reply_text(other.predict("second visitor", api_name="/chat")) == "Hello there."
    assert "first visitor" not in str(stack.requests[-1])
    hold.release.set()
    assert reply_text(waiting.result(SECONDS)) == "slow"


class Tab(Visitor):
    """The page in a browser, as the app sees it: sends messages by the page's route, and can press Stop."""

    def __init__(self, http: httpx.AsyncClient, url: str, fn_index: int) -> None:
        super().__init__(http, url)
        self._api = f"{url}/gradio_api"
        self._call: dict[str, Any] = {"fn_index": fn_index, "session_hash": uuid.uuid4().hex}

    async def send(self, text: str) -> str:
        message = {"role": "user", "content": text}
        joined = await self.http.post(f"{self._api}/queue/join", json={"data": [[message], *UNSET], **self._call})
        self._call["event_id"] = joined.json()["event_id"]
        return f"{self._api}/queue/data?session_hash={self._call['session_hash']}"

    async def stop(self) -> None:
        await self.http.post(f"{self._api}/cancel", json=self._call)


@contextlib.asynccontextmanager
async def tabs(url: str, count: int) -> AsyncIterator[list[Tab]]:
    url = url.rstrip("/")
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=SECONDS, limits=limits, trust_env=False) as http:
        config = (await http.get(f"{url}/config")).json()
        yield [Tab(http, url, reply_event(config)) for _ in range(count)]


@pytest.mark.slow
async def test_replies_abandoned_in_the_page_leave_nothing_behind(stack: FakeStack) -> None:
    async def abandon(tab: Tab, words: str, presses_stop: bool, all_here: asyncio.Barrier) -> None:
        async with tab.says("hello") as updates:
            await first_with(words, updates)
            await all_here.wait()
            if presses_stop:
                await tab.stop()
                await first_with("process_completed", updates)

    with served(base_url=stack.url) as url:
        async with tabs(url, 150) as crowd:
            for wave in batched(crowd, 50):
                # Half of them before the first token. Of each half, every second one stops, and the others leave.
                silent, talking = wave[::2], wave[1::2]
                all_here = asyncio.Barrier(len(wave))
                replies = []
                async with asyncio.TaskGroup() as people:
                    for half, item, words in ((silent, Hold, "first token"), (talking, Endless, "more")):
                        replies += [stack.enqueue(item()) for _ in half]
                        for number, tab in enumerate(half):
                            people.create_task(abandon(tab, words, bool(number % 2), all_here))
                        # The others start only then, so that each half gets the replies meant for it.
                        await until(lambda: not stack.replies, "all have asked")
                await ended(replies)
            await until(lambda: not readers(), "no task is left")
            await until(lambda: not connections(stack), "no connection is left")
            async with crowd[0].says("and now?") as updates:
                await first_with("Hello there.", updates)


async def test_a_tab_that_does_not_read_delays_nobody(url: str, stack: FakeStack) -> None:
    # More than the kernel keeps for both ends of a connection: the app is left with the rest of it.
    reply = stack.enqueue("x" * 8_000_000, Hold())
    async with visitors(url.rstrip("/"), 1) as (other,):
        with slow_reader(await other.send("hello"), 4096) as deaf:
            await until(lambda: b"xxxx" in deaf.recv(4096, socket.MSG_PEEK), "the reply has begun to arrive")
            for _ in range(5):
                assert "Hello there." in await other.is_told("hello")
        await ended([reply])


def test_the_page_behind_a_public_link_comes_from_the_app_alone(stack: FakeStack) -> None:
    with served(base_url=stack.url, share=True) as url:
        sources = re.findall(r'<script[^>]+src="([^"]+)"', httpx.get(url).text)
        assert sources
        assert [source for source in sources if not source.startswith("./")] == []
        assert httpx.get(f"{url}robots.txt").text.endswith("Disallow: /")
