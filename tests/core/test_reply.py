"""One reply: which snapshots come when, and what happens to the request. On a clock that never waits."""

import asyncio
import functools
import itertools
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.conversation import REFUSED, Reply
from llama_ui.core.errors import BadReply, ChatError, ContentFiltered, Unreachable
from llama_ui.core.events import Event, Finished, Notice, Queued, Reasoning, RequestSent, Text, Usage
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import FRAME_SECONDS, FRAME_SHARE, MAX_FRAME_SECONDS, TICK_SECONDS, respond

MESSAGES = [Message("user", "Hi.")]
LOST = Unreachable("The connection was lost.", "Try again.")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting until a time, makes it that time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout and timeout > 0:
            self.now += timeout
            timeout = 0
        return super().select(timeout)


class _JumpingLoop(asyncio.SelectorEventLoop):
    """A loop in which a second passes at once: tests see every frame and tick, the same ones on any machine."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def jumping(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test on a jumping loop of its own."""

    async def for_an_hour(*arguments: Any, **named: Any) -> None:
        async with asyncio.timeout(3600):  # what would hang fails at once
            await test(*arguments, **named)

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
            runner.run(for_an_hour(*arguments, **named))

    return run


type Step = Event | float | asyncio.Event | Exception


class Script:
    """A scripted stream: sends events, waits for a number of seconds or for an event, raises an exception."""

    def __init__(self, *steps: Step, closing: float = 0.0) -> None:
        self._steps = steps
        self._closing = closing
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        try:
            for step in self._steps:
                match step:
                    case asyncio.Event():
                        self.waiting.set()
                        await step.wait()
                    case float():
                        await asyncio.sleep(step)
                    case Exception():
                        raise step
                    case _:
                        yield step
        finally:
            if self._closing:
                await asyncio.sleep(self._closing)
            self.closed.set()


def reply(*steps: Step) -> AsyncGenerator[Reply, None]:
    return respond(Script(*steps).stream, "one/model", MESSAGES, SamplingOptions())


async def snapshots(*steps: Step) -> list[Reply]:
    found = [snapshot async for snapshot in reply(*steps)]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [snapshot.ended for snapshot in found] == [False] * (len(found) - 1) + [True]
    return found


# What is shown when


@jumping
async def test_the_first_text_is_shown_when_it_arrives_though_the_request_was_just_sent() -> None:
    async with aclosing(reply(RequestSent("m"), 0.3, Text("Hello"), asyncio.Event())) as replies:
        first = await anext(replies)
    assert (first.text, first.waited) == ("Hello", None)
    assert asyncio.get_running_loop().time() == pytest.approx(0.3)


@jumping
async def test_the_seconds_are_counted_until_the_first_text() -> None:
    *waiting, last = await snapshots(TICK_SECONDS * 4.5, Text("Hello"))
    assert [snapshot.waited for snapshot in waiting] == pytest.approx([TICK_SECONDS * n for n in (1, 2, 3, 4)])
    assert (last.text, last.waited) == ("Hello", None)


@jumping
async def test_the_position_in_the_queue_is_shown_and_then_the_wait_for_the_first_token() -> None:
    found = await snapshots(Queued(3), 1.2, Queued(1), 1.2, Queued(0), 1.2, Text("Hello"))
    positions = [snapshot.position for snapshot in found if snapshot.waited is not None]
    assert [position for position, _ in itertools.groupby(positions)] == [3, 1, 0]


@jumping
async def test_notices_are_shown_while_the_reply_is_awaited_and_stay() -> None:
    found = await snapshots(Notice("One."), TICK_SECONDS * 1.5, Notice("Two."), Text("Hello"), 1.0, Text("."))
    assert (found[0].notices, found[0].text) == (("One.",), "")
    assert found[0].waited is not None
    assert (found[-1].notices, found[-1].text, found[-1].error) == (("One.", "Two."), "Hello.", None)


@jumping
async def test_the_end_is_shown_when_it_comes_and_not_at_the_next_tick() -> None:
    await snapshots(Text("Hello"), TICK_SECONDS * 0.4)
    assert asyncio.get_running_loop().time() == pytest.approx(TICK_SECONDS * 0.4)


@pytest.mark.parametrize(
    ("cost", "text", "frame"),
    [
        (0.0, "x", FRAME_SECONDS),
        (0.008, "x", 0.008 / FRAME_SHARE),
        (1.0, "x", MAX_FRAME_SECONDS),
        (0.0, "x" * 40_000, MAX_FRAME_SECONDS),
    ],
    ids=["fast", "slow", "stuck", "long"],
)
@jumping
async def test_the_longer_a_snapshot_takes_to_send_or_to_lay_out_the_fewer_there_are(
    cost: float, text: str, frame: float
) -> None:
    clock = asyncio.get_running_loop()
    times = []
    async for _ in reply(Text(text), *[Text("x"), 0.001] * 3000):
        times.append(clock.time())
        await asyncio.sleep(cost)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times[:-1])]
    assert len(gaps) >= 1
    assert all(gap == pytest.approx(cost + frame, abs=0.002) for gap in gaps)


@jumping
async def test_reasoning_in_tags_is_shown_apart_from_the_answer_while_it_arrives() -> None:
    found = await snapshots(Text("<thi"), 1.0, Text("nk>Hm."), 1.0, Text("</think>"), 1.0, Text("Yes."))
    assert {snapshot.text for snapshot in found} == {"", "Yes."}
    assert {snapshot.reasoning for snapshot in found} == {"", "Hm."}
    assert [thinking for thinking, _ in itertools.groupby(snapshot.thinking for snapshot in found)] == [0, 1, 0]


# How it ends


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ((Text("Once."), Finished("stop")), None),
        ((Text("Once"), Finished("length")), None),
        ((Text("Once"), Finished("length"), LOST), Unreachable),
        ((Text("Once"), Finished("content_filter")), ContentFiltered),
        ((Text("Once"), Finished("tool_calls")), BadReply),
        ((Reasoning("Hm."), Finished("stop")), BadReply),
        ((), BadReply),
    ],
)
@jumping
async def test_a_reply_without_an_answer_or_with_a_bad_end_has_an_error_and_keeps_its_text(
    steps: tuple[Step, ...], error: type[ChatError] | None
) -> None:
    *others, last = await snapshots(*steps)
    assert all(snapshot.ending == "" for snapshot in others)
    assert last.text == "".join(step.text for step in steps if isinstance(step, Text))
    assert type(last.error) is (error or type(None))
    ending = (
        'The reply stopped at the token limit. "Max tokens" sets it.' if steps[-1:] == (Finished("length"),) else ""
    )
    assert (last.waited, last.ending) == (None, REFUSED if error is ContentFiltered else "" if error else ending)


@jumping
async def test_an_unexpected_exception_reaches_the_caller_after_what_came_before_it() -> None:
    found = []
    with pytest.raises(ZeroDivisionError):
        async for snapshot in reply(Text("Hello"), ZeroDivisionError()):
            found.append(snapshot)
    assert [snapshot.text for snapshot in found] == ["Hello"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Times and tokens


@jumping
async def test_a_reply_is_timed_from_the_request_over_its_sending_and_first_token_to_the_last() -> None:
    steps = (Queued(1), 2.0, RequestSent("the/model"), 0.7, Reasoning("Hm"), 0.1, Text("a"), 0.1, Text("b"), 0.1)
    last = (await snapshots(*steps, Text("c"), 3.0, Usage(7, 4), Finished("stop")))[-1]
    assert last.model == "the/model"
    assert last.reasoning_seconds == pytest.approx(0.1)
    assert (last.stats.waited, last.stats.first, last.stats.generating) == pytest.approx((2.0, 0.7, 0.3))
    assert (last.stats.prompt_tokens, last.stats.completion_tokens, last.stats.finish_reason) == (7, 4, "stop")
    assert not last.stats.estimated


@jumping
async def test_tokens_that_the_server_does_not_count_are_estimated() -> None:
    last = (await snapshots(RequestSent("m"), Text("12345678"), 1.0, Text("9")))[-1]
    assert last.stats.estimated
    assert (last.stats.prompt_tokens, last.stats.completion_tokens) == (1, 3)  # "Hi." and "123456789"


# Stop

PLACES = pytest.mark.parametrize(
    "steps", [(), (Text("Hello"), FRAME_SECONDS * 3)], ids=["before the first token", "in mid-reply"]
)


@PLACES
@jumping
async def test_cancelling_the_consumer_closes_the_request(steps: tuple[Step, ...]) -> None:
    script = Script(*steps, asyncio.Event(), closing=1.0)

    async def consume() -> None:
        async for _ in respond(script.stream, "one/model", MESSAGES, SamplingOptions()):
            pass

    consumer = asyncio.create_task(consume())
    await script.waiting.wait()
    consumer.cancel()
    await asyncio.sleep(0.5)
    consumer.cancel()  # a second click does not interrupt the closing
    with pytest.raises(asyncio.CancelledError):
        await consumer
    await script.closed.wait()


@PLACES
@jumping
async def test_closing_the_snapshots_closes_the_request(steps: tuple[Step, ...]) -> None:
    script = Script(*steps, asyncio.Event())
    replies = respond(script.stream, "one/model", MESSAGES, SamplingOptions())
    await anext(replies)
    await replies.aclose()
    assert script.closed.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


pauses = st.sampled_from(
    [0.0, 0.001, FRAME_SECONDS / 2, FRAME_SECONDS, FRAME_SECONDS * 1.5, TICK_SECONDS, TICK_SECONDS * 2.5]
) | st.floats(0, 2)


@given(
    parts=st.lists(st.tuples(st.text(max_size=4), st.booleans(), pauses), max_size=12),
    cost=pauses,
    fails=st.booleans(),
)
@jumping
async def test_however_a_reply_is_cut_and_timed_all_of_it_is_shown(
    parts: list[tuple[str, bool, float]], cost: float, fails: bool
) -> None:
    steps: list[Step] = []
    for part, is_reasoning, pause in parts:
        steps += [Reasoning(part) if is_reasoning else Text(part), pause]
    if fails:
        steps.append(LOST)

    found = []
    async for snapshot in reply(*steps):
        found.append(snapshot)
        await asyncio.sleep(cost)
    assert found[-1].text == "".join(part for part, is_reasoning, _ in parts if not is_reasoning)
    assert found[-1].reasoning == "".join(part for part, is_reasoning, _ in parts if is_reasoning)
    for earlier, later in itertools.pairwise(found):
        assert later.text.startswith(earlier.text)
        assert later.reasoning.startswith(earlier.reasoning)
        assert earlier.error is None
        assert later.waited is None or earlier.waited is not None
    assert (found[-1].error is LOST) == fails
    assert fails or (found[-1].error is None) == bool(found[-1].text.strip())
