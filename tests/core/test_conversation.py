"""Which messages of a conversation are sent."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.conversation import SETTINGS, ChatSettings, Conversation, Reply, Turn
from llama_ui.core.errors import InputError, Unreachable
from llama_ui.core.messages import Image, Message, SamplingOptions

ICON, PHOTO = Image("image/png", "aWNvbg=="), Image("image/jpeg", "cGhvdG8=")
FAILED = Reply(error=Unreachable("No server answers.", "Try again."), ended=True)


def turn(text: str, *answers: str, images: tuple[Image, ...] = ()) -> Turn:
    return Turn(text, images, tuple(Reply(answer, ended=True) for answer in answers))


def sent(*turns: Turn, system_prompt: str = "") -> list[Message]:
    return Conversation(system_prompt, turns).messages()


def test_the_system_prompt_comes_first_and_roles_alternate() -> None:
    messages = sent(turn("One.", "Two."), turn("Three."), system_prompt="Be brief.")
    assert messages == [
        Message("system", "Be brief."),
        Message("user", "One."),
        Message("assistant", "Two."),
        Message("user", "Three."),
    ]


@pytest.mark.parametrize("replies", [(), (FAILED,), (Reply(reasoning="Hm.", ended=True),), (Reply(" \n"),)])
def test_a_message_without_an_answer_is_joined_with_the_next_one(replies: tuple[Reply, ...]) -> None:
    assert sent(Turn("First.", (ICON,), replies), Turn("Second.", (PHOTO,), replies), turn("Third.")) == [
        Message("user", "First.\n\nSecond.\n\nThird.", (ICON, PHOTO))
    ]


def test_a_message_that_was_refused_for_what_it_contains_is_left_out() -> None:
    refused = Turn("Far too long.", replies=(Reply(error=FAILED.error, refused=True, ended=True),))
    assert sent(turn("Hi.", "Hello."), refused, turn("more?"))[2:] == [Message("user", "more?")]
    # What was joined with it was refused with it.
    assert sent(turn("Hi.", "Hello."), turn("And"), refused, turn("more?"))[2:] == [Message("user", "more?")]
    assert Conversation(turns=(refused,)).until_last_message() == Conversation(turns=(turn("Far too long."),))


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        ([Turn("Tell.", replies=(Reply("Once upon", error=FAILED.error, ended=True),))], "Once upon"),
        ([turn("Hi.", "Hello.", "Good day.")], "Good day."),
        ([turn("Hi.", "Hello."), turn("", "How are you?")], "Hello.\n\nHow are you?"),
        ([turn("", "Welcome!"), turn("Hi.", "Hello.")], "Hello."),
    ],
    ids=["of a reply that failed", "the last version", "joined", "without one to no message"],
)
def test_the_answer_that_is_sent(turns: list[Turn], answer: str) -> None:
    assert sent(*turns, turn("Go on."))[1:] == [Message("assistant", answer), Message("user", "Go on.")]


TEXTS = st.text(string.printable, max_size=8) | st.sampled_from(["", " ", "    indented\n"])
TURNS = st.builds(
    Turn,
    TEXTS,
    st.lists(st.sampled_from([ICON, PHOTO]), max_size=1).map(tuple),
    st.lists(st.builds(Reply, TEXTS, TEXTS), max_size=2).map(tuple),
)


@given(TEXTS, st.lists(TURNS, max_size=6), st.text(min_size=1).filter(str.strip))
def test_every_conversation_alternates_and_loses_no_message(system_prompt: str, turns: list[Turn], last: str) -> None:
    messages = sent(*turns, Turn(last), system_prompt=system_prompt)
    if system_prompt.strip():
        assert messages.pop(0) == Message("system", system_prompt)
    assert [message.role for message in messages] == [("user", "assistant")[i % 2] for i in range(len(messages))]
    assert messages[-1].content.endswith(last)
    assert all(message.content.strip() or message.images for message in messages)
    written = "\n\n".join(turn.text for turn in turns if turn.text.strip())
    assert all(text in "\n\n".join(message.content for message in messages) for text in written.split("\n\n"))


def test_the_last_message_is_found_without_its_reply() -> None:
    turns = (turn("One.", "1"), turn("Two.", "2"), turn("", "3"))
    assert Conversation("Prompt", turns).until_last_message() == Conversation("Prompt", (turns[0], turn("Two.")))
    assert Conversation("Prompt", turns[2:]).until_last_message() is None


def test_settings_are_read_from_texts_and_written_as_texts() -> None:
    texts = dict.fromkeys(SETTINGS, "") | {"system_prompt": "Be brief.\n", "model": "m", "streaming": "off"}
    texts |= {"temperature": "0,5", "top_p": "1", "max_tokens": "64", "reasoning_effort": "low"}
    settings = ChatSettings.from_texts(texts)
    assert settings == ChatSettings("Be brief.\n", "m", SamplingOptions(0.5, 1.0, 64, None, "low", streaming=False))
    assert settings.texts() == texts | {"temperature": "0.5"}
    assert ChatSettings.from_texts(texts | {"streaming": ""}).texts()["streaming"] == ""
    assert ChatSettings.from_texts({}) == ChatSettings()
    with pytest.raises(InputError):
        ChatSettings.from_texts({"seed": "x"})
