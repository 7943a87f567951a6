"""Several replies to one message: by one request, or by as many as are needed."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import FieldRefused, Unreachable
from llama_ui.core.events import Event, Finished, Reasoning, RequestSent, Sample, Text, Usage
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import respond

MESSAGES = [Message("user", "Hi.")]
THREE = SamplingOptions(n=3, seed=7)
ONE_ONLY = FieldRefused("The server sends one reply to a request.", "Ask for one.", "n", None)
LOST = Unreachable("The connection was lost.", "Try again.")


class Server:
    """Answers requests with scripted events, and remembers their options."""

    def __init__(self, *replies: Sequence[Event | Exception]) -> None:
        self.replies = [*replies]
        self.requests: list[SamplingOptions] = []
        self.open = 0

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        self.requests.append(options)
        self.open += 1
        try:
            yield RequestSent(model)
            for event in self.replies.pop(0):
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.open -= 1


async def last(server: Server, options: SamplingOptions = THREE) -> tuple[Reply, ...]:
    """The last snapshot of each reply."""
    snapshots = [reply async for reply in respond(server.stream, "m", MESSAGES, options)]
    assert [snapshot.ended for snapshot in snapshots] == [False] * (len(snapshots) - 1) + [True]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert server.open == 0
    return snapshots[-1], *snapshots[-1].samples


def texts(replies: Sequence[Reply]) -> list[str]:
    return [reply.text for reply in replies]


async def test_one_request_gives_all_replies_where_the_server_can() -> None:
    mixed = [
        Sample(2, Text("c1 ")), Text("a1 "), Sample(1, Reasoning("Hm")), Sample(1, Text("b1 ")), Text("a2"),
        Finished("stop"), Sample(1, Finished("length")), Sample(2, Text("c2")), Sample(2, Finished("stop")),
        Usage(7, 99),
    ]  # fmt: skip
    server = Server(mixed)
    replies = await last(server)
    assert texts(replies) == ["a1 a2", "b1 ", "c1 c2"]
    assert [reply.stats.finish_reason for reply in replies] == ["stop", "length", "stop"]
    assert [reply.reasoning for reply in replies] == ["", "Hm", ""]
    assert all(reply.stats.estimated for reply in replies)  # the server counts the tokens of all together
    assert server.requests == [THREE]


async def test_a_server_that_takes_no_notice_is_asked_again_for_the_others() -> None:
    answers = [[Text(text), Finished("stop"), Usage(7, 1)] for text in ("one", "two", "three")]
    server = Server(*answers)
    replies = await last(server)
    assert sorted(texts(replies)) == ["one", "three", "two"]
    assert replies[0].text == "one"
    assert [reply.stats.completion_tokens for reply in replies] == [1, 1, 1]
    assert [(options.n, options.seed) for options in server.requests] == [(3, 7), (None, 8), (None, 9)]


async def test_a_server_that_refuses_is_asked_for_each_reply() -> None:
    server = Server([ONE_ONLY], *[[Text(text), Finished("stop")] for text in ("one", "two", "three")])
    assert sorted(texts(await last(server))) == ["one", "three", "two"]
    assert sorted(str(options.seed) for options in server.requests[1:]) == ["7", "8", "9"]
    assert {options.n for options in server.requests[1:]} == {None}


async def test_a_failure_is_that_of_each_reply_and_what_came_stays() -> None:
    replies = await last(Server([Text("a"), Sample(1, Text("b")), LOST]))
    assert texts(replies) == ["a", "b", ""]
    assert [reply.error for reply in replies] == [LOST] * 3


async def test_one_reply_may_fail_alone() -> None:
    server = Server([ONE_ONLY], [Text("one"), Finished("stop")], [LOST], [Text("three"), Finished("stop")])
    assert sorted(str(reply.error or reply.text) for reply in await last(server)) == [str(LOST), "one", "three"]


async def test_a_defect_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await last(Server([Text("a"), ZeroDivisionError()]))


async def test_closing_closes_every_request() -> None:
    server = Server([ONE_ONLY], *[[Text("a")] for _ in range(3)])
    replies = respond(server.stream, "m", MESSAGES, THREE)
    await anext(replies)
    await replies.aclose()
    assert server.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("n", [None, 1])
async def test_one_reply_has_no_samples(n: int | None) -> None:
    assert texts(await last(Server([Text("a"), Finished("stop")]), SamplingOptions(n=n))) == ["a"]
