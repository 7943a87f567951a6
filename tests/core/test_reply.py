"""One turn: what is shown of a reply and when, and what becomes of the request. On a clock that never waits."""

import asyncio
import functools
import itertools
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.errors import BadReply, Unreachable
from llama_ui.core.events import Event, Finished, Notice, Queued, Reasoning, RequestSent, Text, Usage
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import (
    FRAME_SECONDS,
    FRAME_SHARE,
    MAX_FRAME_SECONDS,
    SECONDS_PER_CHARACTER,
    TICK_SECONDS,
    Reply,
    respond,
)
from llama_ui.core.stats import Stats

MESSAGES = [Message("user", "Hi.")]
LOST = Unreachable("The connection was lost.", "Try again.")


class _Jumping(selectors.DefaultSelector):
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
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def jumping(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test on a loop of its own, of the kind that jumps."""

    async def for_an_hour(*arguments: Any, **named: Any) -> None:
        async with asyncio.timeout(3600):  # what would hang, fails at once
            await test(*arguments, **named)

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
            runner.run(for_an_hour(*arguments, **named))

    return run


type Step = Event | float | asyncio.Event | Exception


class Script:
    """A server whose reply is a script: events are sent, numbers are seconds to wait, and so on."""

    def __init__(self, *steps: Step, closing: float = 0.0) -> None:
        self._steps = steps
        self._closing = closing
        self.asked: list[tuple[object, ...]] = []
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        self.asked.append((model, messages, options))
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


def reply(script: Script) -> AsyncGenerator[Reply, None]:
    return respond(script.stream, "one/model", MESSAGES, SamplingOptions())


async def shown(script: Script) -> list[Reply]:
    return [turn async for turn in reply(script)]


def uncounted(turn: Reply) -> Reply:
    """What is shown of the last one, without what it took."""
    assert turn.ended
    return replace(turn, stats=Stats(), ended=False)


def no_other_task() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


@jumping
async def test_the_server_is_asked_once_for_what_was_given() -> None:
    script = Script(Text("Hello"))
    options = SamplingOptions(temperature=0.5)
    async with aclosing(respond(script.stream, "one/model", MESSAGES, options)) as turns:
        async for _ in turns:
            pass
    assert script.asked == [("one/model", MESSAGES, options)]


@jumping
async def test_the_first_text_is_shown_while_the_reply_goes_on() -> None:
    hold = asyncio.Event()
    async with aclosing(reply(Script(Text("Hello"), hold, Text(" there.")))) as turns:
        first = await anext(turns)
        assert (first.text, first.waited) == ("Hello", None)
        hold.set()
        assert [turn.text async for turn in turns][-1] == "Hello there."


@jumping
async def test_the_first_text_is_shown_before_the_next_tick() -> None:
    started = asyncio.get_running_loop().time()
    async with aclosing(reply(Script(0.3, Text("Hello"), asyncio.Event()))) as turns:
        first = await anext(turns)
        assert first.text == "Hello"
        assert asyncio.get_running_loop().time() - started == pytest.approx(0.3)


@jumping
async def test_waiting_is_shown_until_the_first_text() -> None:
    turns = await shown(Script(TICK_SECONDS * 4.5, Text("Hello")))
    waiting = [turn for turn in turns if turn.waited is not None]
    assert turns[: len(waiting)] == waiting
    assert len(waiting) == 4
    assert all(turn.text == "" for turn in waiting)
    counted = [turn.waited or 0.0 for turn in waiting]
    assert counted == sorted(counted)
    assert (turns[-1].text, turns[-1].waited) == ("Hello", None)


@jumping
async def test_a_text_that_stalls_is_shown_in_full_and_again_at_every_tick() -> None:
    turns = await shown(Script(Text("Hello"), FRAME_SECONDS / 2, Text(" there"), TICK_SECONDS * 3, Text(".")))
    assert [turn.text for turn in turns[:2]] == ["Hello", "Hello there"]
    assert [turn.text for turn in turns].count("Hello there") >= 3
    assert turns[-1].text == "Hello there."


@jumping
async def test_a_fast_reply_is_shown_in_frames() -> None:
    steps: list[Step] = []
    for number in range(1000):
        steps += [Text(f"{number} "), 0.001]
    turns = await shown(Script(*steps))
    assert 5 <= len(turns) <= 1000 * 0.001 / FRAME_SECONDS + 3
    assert turns[-1].text == "".join(f"{number} " for number in range(1000))


@jumping
async def test_who_takes_the_snapshots_slowly_gets_fewer_and_loses_nothing() -> None:
    steps: list[Step] = []
    for number in range(100):
        steps += [Text(f"{number} "), 0.1]
    turns = []
    async for turn in reply(Script(*steps)):
        turns.append(turn)
        await asyncio.sleep(2.0)
    assert len(turns) <= 7
    assert turns[-1].text == "".join(f"{number} " for number in range(100))


@pytest.mark.parametrize(
    ("absorbing", "frame"),
    [(0.0, FRAME_SECONDS), (0.008, 0.008 / FRAME_SHARE), (1.0, MAX_FRAME_SECONDS)],
    ids=["fast", "slow", "stuck"],
)
@jumping
async def test_the_longer_an_update_takes_to_be_absorbed_the_rarer_they_get(absorbing: float, frame: float) -> None:
    clock = asyncio.get_running_loop()
    steps: list[Step] = [Text("x"), 0.001] * 3000
    shown_at = []
    async for _ in reply(Script(*steps)):
        shown_at.append(clock.time())
        await asyncio.sleep(absorbing)
    gaps = [later - sooner for sooner, later in itertools.pairwise(shown_at[:-1])]
    assert len(gaps) >= 1
    assert all(gap == pytest.approx(absorbing + frame, abs=0.002) for gap in gaps)


@jumping
async def test_a_long_reply_is_shown_in_rarer_updates_and_in_full() -> None:
    clock = asyncio.get_running_loop()
    # 100,000 characters in ten seconds.
    steps: list[Step] = [Text("0123456789"), 0.001] * 10_000
    shown_at, lengths = [], []
    async for turn in reply(Script(*steps)):
        shown_at.append(clock.time())
        lengths.append(len(turn.text))
    assert lengths[-1] == 100_000
    for (sooner, later), length in zip(itertools.pairwise(shown_at[:-1]), lengths, strict=False):
        assert later - sooner >= min(max(FRAME_SECONDS, length * SECONDS_PER_CHARACTER), MAX_FRAME_SECONDS) - 1e-6
        assert later - sooner < MAX_FRAME_SECONDS + 0.01


@jumping
async def test_twenty_thousand_deltas_of_different_sizes_come_out_whole_in_no_more_updates_than_frames() -> None:
    clock = asyncio.get_running_loop()
    sizes = itertools.cycle([1, 9, 3, 7, 5])
    # No two neighbours alike: one that is lost, doubled or out of order is seen.
    parts = [f"{number:09}"[-next(sizes) :] for number in range(20_000)]
    steps: list[Step] = []
    for part in parts:
        steps += [Text(part), 0.0005]
    begun = clock.time()
    turns = await shown(Script(*steps))
    took = clock.time() - begun
    assert len(turns[-1].text) == 100_000
    assert turns[-1].text == "".join(parts)
    assert took / MAX_FRAME_SECONDS - 1 <= len(turns) <= took / FRAME_SECONDS + 2


@jumping
async def test_a_tail_that_comes_just_after_an_update_is_shown_though_nothing_follows_it() -> None:
    turns = reply(Script(Text("Hello"), FRAME_SECONDS / 5, Text(" there"), asyncio.Event()))
    assert (await anext(turns)).text == "Hello"
    begun = asyncio.get_running_loop().time()
    assert (await anext(turns)).text == "Hello there"
    assert asyncio.get_running_loop().time() - begun == pytest.approx(FRAME_SECONDS)
    await turns.aclose()


@jumping
async def test_who_is_in_line_is_told_the_place_and_then_waits_for_the_first_token() -> None:
    turns = await shown(Script(Queued(3), 1.2, Queued(1), 1.2, Queued(0), 1.2, Text("Hello")))
    places = [turn.position for turn in turns if turn.waited is not None]
    assert [place for place, _ in itertools.groupby(places)] == [3, 1, 0]
    assert turns[-1].text == "Hello"


@jumping
async def test_the_reply_that_comes_at_once_is_shown_in_full() -> None:
    turns = await shown(Script(Text("Hello"), Text(" there"), Finished("stop"), Usage(7, 2)))
    assert uncounted(turns[-1]) == Reply(text="Hello there")
    assert turns[-1].stats == Stats(0.0, 0.0, 0.0, 7, 2, estimated=False, finish_reason="stop")


@jumping
async def test_what_comes_after_the_text_is_in_the_last_snapshot() -> None:
    turns = await shown(Script(Text("Hello"), 1.0, Finished("stop"), 1.0, Usage(7, 1), 1.0))
    assert uncounted(turns[-1]) == Reply(text="Hello")
    assert turns[-1].stats == Stats(0.0, 0.0, 0.0, 7, 1, estimated=False, finish_reason="stop")


@pytest.mark.parametrize("text", ["Once upon", ""])
@jumping
async def test_a_reply_that_met_the_token_limit_says_so_at_its_end_and_is_no_failure(text: str) -> None:
    turns = await shown(Script(*filter(None, [Text(text)]), Finished("length"), 1.0))
    assert turns[-1].text == text
    assert turns[-1].error is None
    assert "token limit" in turns[-1].ending
    assert all(turn.ending == "" for turn in turns[:-1])


@pytest.mark.parametrize("reason", ["stop", "end_turn", "something_new"])
@jumping
async def test_a_reply_that_ended_as_usual_says_nothing_of_it(reason: str) -> None:
    last = (await shown(Script(Text("Hello."), Finished(reason))))[-1]
    assert (last.ending, last.error) == ("", None)


@pytest.mark.parametrize(
    ("reason", "told"), [("content_filter", "content filter"), ("tool_calls", "tool"), ("function_call", "tool")]
)
@jumping
async def test_a_reply_that_was_ended_early_keeps_its_text_and_says_why(reason: str, told: str) -> None:
    for steps in ((), (Text("Once upon"),)):
        last = (await shown(Script(*steps, Finished(reason))))[-1]
        assert last.text == "".join(step.text for step in steps)
        assert isinstance(last.error, BadReply)
        assert told in last.error.sentence
        assert last.error.fix


@jumping
async def test_a_failure_after_the_reason_for_the_end_is_what_is_told() -> None:
    last = (await shown(Script(Text("Once"), Finished("length"), LOST)))[-1]
    assert (last.error, last.ending) == (LOST, "")


@jumping
async def test_a_model_that_only_thinks_gives_no_answer() -> None:
    last = (await shown(Script(Reasoning("Hm."), Finished("stop"))))[-1]
    assert last.reasoning == "Hm."
    assert isinstance(last.error, BadReply)
    assert "finished thinking without an answer" in last.error.sentence


@jumping
async def test_notices_are_shown_while_the_reply_is_waited_for_and_stay() -> None:
    turns = await shown(Script(Notice("One."), TICK_SECONDS * 1.5, Notice("Two."), Text("Hello"), 1.0, Text(".")))
    assert (turns[0].notices, turns[0].text) == (("One.",), "")
    assert turns[0].waited is not None
    assert uncounted(turns[-1]) == Reply(text="Hello.", notices=("One.", "Two."))


@jumping
async def test_a_notice_alone_is_no_reply() -> None:
    last = (await shown(Script(Notice("One."), LOST)))[-1]
    assert uncounted(last) == Reply(notices=("One.",), error=LOST)
    assert isinstance((await shown(Script(Notice("One."))))[-1].error, BadReply)


@jumping
async def test_the_end_is_shown_when_it_comes_and_not_at_the_next_tick() -> None:
    started = asyncio.get_running_loop().time()
    await shown(Script(Text("Hello"), TICK_SECONDS * 0.4))
    assert asyncio.get_running_loop().time() - started == pytest.approx(TICK_SECONDS * 0.4)


@jumping
async def test_reasoning_is_kept_apart_from_the_text() -> None:
    turns = await shown(Script(Reasoning("Let "), Reasoning("me see."), 1.0, Text("Yes.")))
    assert turns[0].reasoning == "Let me see."
    assert turns[0].text == ""
    assert (turns[-1].reasoning, turns[-1].text) == ("Let me see.", "Yes.")


@jumping
async def test_an_error_before_the_first_text_is_shown() -> None:
    turns = await shown(Script(LOST))
    assert [uncounted(turn) for turn in turns] == [Reply(error=LOST)]


@jumping
async def test_an_error_after_some_waiting_ends_the_waiting() -> None:
    turns = await shown(Script(TICK_SECONDS * 2.5, LOST))
    assert len(turns) == 3
    assert uncounted(turns[-1]) == Reply(error=LOST)


@jumping
async def test_an_error_after_some_text_keeps_the_text() -> None:
    for pause in (0.0, FRAME_SECONDS / 2, FRAME_SECONDS * 3):
        turns = await shown(Script(Text("Once "), pause, Text("upon"), LOST))
        assert uncounted(turns[-1]) == Reply(text="Once upon", error=LOST)
        assert all(turn.error is None for turn in turns[:-1])


@pytest.mark.parametrize("steps", [(), (1.0,), (Finished("stop"),), (Usage(7, 0), Finished("stop")), (Text(""),)])
@jumping
async def test_an_empty_reply_is_an_error(steps: tuple[Step, ...]) -> None:
    last = (await shown(Script(*steps)))[-1]
    assert isinstance(last.error, BadReply)
    assert last.waited is None
    assert last.error.fix


@jumping
async def test_only_the_last_snapshot_ends_the_waiting_of_an_empty_reply() -> None:
    turns = await shown(Script(Usage(7, 0), TICK_SECONDS * 2.5))
    assert all(turn.waited is not None and turn.error is None for turn in turns[:-1])
    assert (turns[-1].stats.prompt_tokens, turns[-1].stats.estimated) == (7, False)


@jumping
async def test_a_reply_is_timed_from_when_it_was_asked_for_was_sent_began_and_ended() -> None:
    steps = (
        Queued(1),
        2.0,
        RequestSent("the/model"),
        0.7,
        Reasoning("Hm"),
        0.1,
        Text("a"),
        0.1,
        Text("b"),
        0.1,
        Text("c"),
    )
    last = (await shown(Script(*steps, 3.0, Usage(7, 4), Finished("stop"))))[-1]
    assert last.model == "the/model"
    assert (last.stats.waited, last.stats.first, last.stats.generating) == pytest.approx((2.0, 0.7, 0.3))
    assert last.stats.tokens_per_second == pytest.approx(10)
    assert (last.stats.prompt_tokens, last.stats.completion_tokens, last.stats.finish_reason) == (7, 4, "stop")


@jumping
async def test_the_sending_of_the_request_holds_up_no_text() -> None:
    turns = await shown(Script(RequestSent("m"), 0.01, Text("Hello")))
    assert turns[0].text == "Hello"


@jumping
async def test_tokens_that_the_server_does_not_count_are_estimated_and_marked() -> None:
    last = (await shown(Script(RequestSent("m"), Text("12345678"), 1.0, Text("9"))))[-1]
    assert last.stats.estimated
    assert (last.stats.prompt_tokens, last.stats.completion_tokens) == (1, 3)  # "Hi." and "123456789"


@jumping
async def test_a_single_token_has_no_speed_and_a_reply_that_never_began_no_first_token() -> None:
    assert (await shown(Script(RequestSent("m"), 0.5, Text("Hi"), Usage(7, 1))))[-1].stats.tokens_per_second is None
    last = (await shown(Script(1.0, LOST)))[-1]
    assert (last.model, last.stats.first, last.stats.waited) == ("", None, pytest.approx(1.0))


@jumping
async def test_a_request_that_is_sent_again_under_another_name_is_timed_from_the_first_on() -> None:
    last = (await shown(Script(RequestSent("a"), 0.5, RequestSent("b/a"), 0.5, Text("Hi"))))[-1]
    assert (last.model, last.stats.first) == ("b/a", pytest.approx(1.0))


@jumping
async def test_what_nobody_foresaw_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        await shown(Script(Text("Hello"), 1.0, ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await shown(Script(ZeroDivisionError()))
    assert no_other_task()


@jumping
async def test_text_that_came_just_before_something_unforeseen_is_shown() -> None:
    turns = []
    with pytest.raises(ZeroDivisionError):
        async for turn in reply(Script(Text("Hello"), ZeroDivisionError())):
            turns.append(turn)
    assert [turn.text for turn in turns] == ["Hello"]


@pytest.mark.parametrize(
    "steps", [(), (Text("Hello"), FRAME_SECONDS * 3)], ids=["before the first token", "in the middle"]
)
@jumping
async def test_cancelling_who_listens_closes_the_request(steps: tuple[Step, ...]) -> None:
    script = Script(*steps, asyncio.Event())
    listening = asyncio.create_task(shown(script))
    await script.waiting.wait()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert script.closed.is_set()
    assert no_other_task()


@pytest.mark.parametrize(
    "steps", [(), (Text("Hello"), FRAME_SECONDS * 3)], ids=["before the first token", "in the middle"]
)
@jumping
async def test_closing_the_snapshots_closes_the_request(steps: tuple[Step, ...]) -> None:
    script = Script(*steps, asyncio.Event())
    turns = reply(script)
    await anext(turns)
    await turns.aclose()
    assert script.closed.is_set()
    assert no_other_task()


@jumping
async def test_a_second_cancel_does_not_interrupt_the_closing_of_the_request() -> None:
    script = Script(Text("Hello"), asyncio.Event(), closing=1.0)
    listening = asyncio.create_task(shown(script))
    await script.waiting.wait()
    listening.cancel()
    await asyncio.sleep(0.5)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    await script.closed.wait()


@jumping
async def test_snapshots_that_nobody_takes_send_no_request() -> None:
    script = Script(Text("Hello"))
    await reply(script).aclose()
    assert script.asked == []


@pytest.mark.parametrize("steps", [(Text("Hello"),), (Text("Hello"), LOST), (LOST,), ()])
@jumping
async def test_a_reply_that_has_ended_leaves_nothing_behind(steps: tuple[Step, ...]) -> None:
    script = Script(*steps)
    await shown(script)
    assert script.closed.is_set()
    assert no_other_task()


pauses = st.sampled_from(
    [0.0, 0.001, FRAME_SECONDS / 2, FRAME_SECONDS, FRAME_SECONDS * 1.5, TICK_SECONDS, TICK_SECONDS * 2.5]
) | st.floats(0, 2)


@given(
    parts=st.lists(st.tuples(st.text(max_size=4), st.booleans(), pauses), max_size=12),
    absorbing=pauses,
    fails=st.booleans(),
)
@jumping
async def test_however_a_reply_is_cut_and_timed_all_of_it_is_shown(
    parts: list[tuple[str, bool, float]], absorbing: float, fails: bool
) -> None:
    steps: list[Step] = []
    for part, thought, pause in parts:
        steps += [Reasoning(part) if thought else Text(part), pause]
    if fails:
        steps.append(LOST)

    turns = []
    async for turn in reply(Script(*steps)):
        turns.append(turn)
        await asyncio.sleep(absorbing)
    assert no_other_task()
    assert turns[-1].text == "".join(part for part, thought, _ in parts if not thought)
    assert turns[-1].reasoning == "".join(part for part, thought, _ in parts if thought)
    assert turns[-1].waited is None
    for earlier, later in itertools.pairwise(turns):
        assert later.text.startswith(earlier.text)
        assert later.reasoning.startswith(earlier.reasoning)
        assert earlier.error is None
        assert later.waited is None or earlier.waited is not None
    if fails:
        assert turns[-1].error is LOST
    else:
        assert (turns[-1].error is None) == bool(turns[-1].text.strip())
