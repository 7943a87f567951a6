"""Limits per visitor and per network address."""

import time
from contextlib import ExitStack
from typing import Any

import pytest

from llama_ui.core.errors import InputError, RateLimited
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.hosting.limits import Limits, Visitor, network
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings

pytestmark = pytest.mark.loopback  # names of hosts are resolved
ALICE, BOB, CAROL = (Visitor(session, "203.0.113.5") for session in ("alice", "bob", "carol"))
ELSEWHERE = Visitor("alice", "203.0.113.6")


def limits(**values: Any) -> Limits:
    """The limits of a public app."""
    settings = Settings(**{"base_url": "http://localhost:1", "trusted_proxies": "127.0.0.1"} | values)
    return Limits(settings, Connection(settings))


def test_each_session_has_its_own_messages_per_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = limits(messages_per_minute=2)
    limited.admit(ALICE)
    limited.admit(ALICE)
    with pytest.raises(RateLimited, match=r"You may send 2 messages a minute here\. Wait \d+ s, then send it") as error:
        limited.admit(ALICE)
    wait = int(str(error.value).split("Wait ")[1].split(" s")[0])
    assert 0 < wait <= 60
    limited.admit(BOB)
    limited.admit(ELSEWHERE)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + wait)
    limited.admit(ALICE)


def test_an_address_has_the_messages_of_several_visitors() -> None:
    limited = limits(messages_per_minute=1, visitors_per_address=2)
    limited.admit(ALICE)
    for _ in range(3):  # a refused message does not count for the others at the address
        with pytest.raises(RateLimited, match="You may send 1 message a minute here"):
            limited.admit(ALICE)
    limited.admit(BOB)
    with pytest.raises(RateLimited, match="Your network may send 2 messages a minute here"):
        limited.admit(CAROL)
    limited.admit(ELSEWHERE)


def test_concurrent_replies_are_limited_per_session_and_per_address() -> None:
    limited = limits(replies_at_once=1, visitors_per_address=2)
    with ExitStack() as replies:
        replies.enter_context(limited.reply_slot(ALICE))
        with pytest.raises(RateLimited, match=r"You may have 1 reply at once here\. Wait for one to end, then send"):
            replies.enter_context(limited.reply_slot(ALICE))
        replies.enter_context(limited.reply_slot(BOB))
        with pytest.raises(RateLimited, match="Your network may have 2 replies at once here"):
            replies.enter_context(limited.reply_slot(CAROL))
        replies.enter_context(limited.reply_slot(ELSEWHERE))
    with limited.reply_slot(ALICE), limited.reply_slot(CAROL):
        pass


def test_a_refused_message_takes_no_slot_and_a_failed_reply_frees_its_slot() -> None:
    limited = limits(messages_per_minute=2, replies_at_once=1)
    with pytest.raises(ZeroDivisionError), limited.reply_slot(ALICE):
        raise ZeroDivisionError
    with limited.reply_slot(ALICE):
        pass
    for _ in range(2):
        with pytest.raises(RateLimited, match="2 messages a minute"), limited.reply_slot(ALICE):
            pass


def test_a_private_app_limits_only_the_length_of_a_conversation() -> None:
    private = {"trusted_proxies": "", "messages_per_minute": 1, "replies_at_once": 1, "max_tokens": 5}
    limited = limits(**private, max_history_chars=5)
    with limited.reply_slot(ALICE), limited.reply_slot(ALICE), limited.reply_slot(ALICE):
        pass
    for options in (SamplingOptions(), SamplingOptions(max_tokens=50)):
        assert limited.sampling_options(options) == options
    limited.check_length([Message("user", "12345")])
    with pytest.raises(InputError, match="The conversation has 6 characters; at most 5 are sent"):
        limited.check_length([Message("user", "123"), Message("assistant", "456")])


def test_a_public_app_limits_the_tokens_of_a_reply() -> None:
    limited = limits(max_tokens=50)
    assert limited.sampling_options(SamplingOptions(temperature=0.5)) == SamplingOptions(
        temperature=0.5, max_tokens=50, app_limit=True
    )
    assert limited.sampling_options(SamplingOptions(max_tokens=20)).max_tokens == 20
    with pytest.raises(InputError, match=r"Max tokens is 51\. Enter at most 50, or nothing\."):
        limited.sampling_options(SamplingOptions(max_tokens=51))


def test_all_addresses_of_a_household_count_as_one() -> None:
    assert network("2001:db8:0:1::5") == network("2001:db8:0:2:ffff::9") != network("2001:db8:0:100::5")
    assert network("::ffff:203.0.113.5") == network("203.0.113.5") != network("203.0.113.6")
    assert network("") == ""


def test_each_sample_counts_as_a_message() -> None:
    limited = limits(messages_per_minute=5, replies_at_once=4)
    with limited.reply_slot(ALICE, 3), pytest.raises(RateLimited, match=r"You may have 4 replies at once here\. Wait "):
        limited.reply_slot(ALICE, 2).__enter__()
    with pytest.raises(RateLimited, match=r"You may send 5 messages a minute here\. Wait \d+ s"):
        limited.admit(ALICE, 3)
    limited.admit(ALICE, 2)
    for count in (5, 6):
        with pytest.raises(RateLimited, match=r"\. Each sample counts as one; ask for fewer\."):
            limited.reply_slot(BOB, count).__enter__()


def test_a_public_app_sends_few_extra_fields() -> None:
    allowed = SamplingOptions(max_tokens=5, extra_body={"top_k": 40, "chat_template_kwargs": {"x": 1}})
    limited = limits(space=True)
    assert limited.sampling_options(allowed) == allowed
    for name in ("n", "max_tokens", "max_completion_tokens", "service_tier", "tools"):
        with pytest.raises(InputError, match=f"Extra fields cannot have `{name}` here"):
            limited.sampling_options(SamplingOptions(extra_body={"top_k": 1, name: 5}))
