"""What comes with a reply beside its text."""

import itertools
import json

import pytest

from llama_ui.core.conversation import Reply
from llama_ui.core.events import Received, Token
from llama_ui.workbench.details import Details, as_json, as_lines, tokens_of

TOKENS = (Token("The", -0.1, (Token("The", -0.1), Token("A", -2.5))), Token(' "\n🦙', -9999.0))
TOP = [{"token": "The", "logprob": -0.1}, {"token": "A", "logprob": -2.5}]
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
        {"token": "The", "logprob": -0.1, "top_logprobs": TOP},
        {"token": ' "\n🦙', "logprob": -9999.0},
        {"status": 200, "headers": [["x-request-id", "7"]], "body": "data: [DONE]\n"},
    ]
    assert tokens_of(texts[-1]) == TOKENS


@pytest.mark.parametrize(("text", "lines"), [("A new", '"new"\n'), ("The rest", ""), ("", "")])
def test_a_reply_that_does_not_go_on_from_its_prefix_says_so(text: str, lines: str) -> None:
    assert Details().text(Reply(text), "The") == lines


@pytest.mark.parametrize(
    "text",
    ["", "x", '{"token"', '{"token":"a"}', '{"token":"a","logprob":"x"}', '{"token":"a","logprob":NaN}', 5, None],
)
def test_what_a_page_made_up_is_no_tokens(text: object) -> None:
    assert tokens_of(text) == ()


def test_tokens_have_the_form_of_openais_api() -> None:
    assert as_json(TOKENS)[0] == {"token": "The", "logprob": -0.1, "top_logprobs": TOP}
    assert tokens_of(as_lines(TOKENS)) == TOKENS
