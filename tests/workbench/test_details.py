"""What comes with a reply beside its text."""

import itertools
import json

import pytest

from llama_ui.core.conversation import Reply
from llama_ui.core.events import Received, Token
from llama_ui.workbench.continuation import Prefix
from llama_ui.workbench.details import Details, as_lines, from_openai, to_openai, tokens_of

TOKENS = (Token("The", -0.1, (("The", -0.1), ("A", -2.5))), Token(' "\n🦙', -9999.0))
RECEIVED = Received(200, (("x-request-id", "7"),), "data: [DONE]\n")


def test_the_text_only_grows_and_ends_with_the_response() -> None:
    details = Details()
    texts = [
        details.text(Reply(waited=1.0)),
        details.text(Reply("The", tokens=TOKENS[:1])),
        details.text(Reply("The", tokens=TOKENS[:1])),
        details.text(Reply("The x", tokens=TOKENS)),
        details.text(Reply("The x", tokens=TOKENS, received=RECEIVED, ended=True)),
    ]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    lines = [json.loads(line) for line in texts[-1].splitlines()]
    assert lines == [
        ["The", -0.1, [["The", -0.1], ["A", -2.5]]],
        [' "\n🦙', -9999.0, []],
        {"status": 200, "headers": [["x-request-id", "7"]], "body": "data: [DONE]\n"},
    ]
    assert tokens_of(texts[-1]) == TOKENS


@pytest.mark.parametrize(("text", "lines"), [("A new", '"new"\n'), ("The rest", ""), ("", "")])
def test_a_reply_that_does_not_go_on_from_its_prefix_says_so(text: str, lines: str) -> None:
    assert Details().text(Reply(text), Prefix("The")) == lines


@pytest.mark.parametrize(
    "text", ["", "x", "[", '["a"]', '["a",1,2]', '["a",null,[]]', '["a",NaN,[]]', '[1,2,[]]\n["b"]']
)
def test_what_a_page_made_up_is_no_tokens(text: str) -> None:
    assert tokens_of(text) == ()


def test_tokens_are_exported_as_openais_api_has_them() -> None:
    exported = to_openai(TOKENS)
    assert exported["content"][0] == {  # type: ignore[index]
        "token": "The",
        "logprob": -0.1,
        "top_logprobs": [{"token": "The", "logprob": -0.1}, {"token": "A", "logprob": -2.5}],
    }
    assert from_openai(exported) == tokens_of(as_lines(TOKENS)) == TOKENS


@pytest.mark.parametrize("logprobs", [None, [], {}, {"content": None}, {"content": [{}]}, {"content": [{"token": 1}]}])
def test_what_a_file_has_in_another_form_is_no_tokens(logprobs: object) -> None:
    assert from_openai(logprobs) == ()
