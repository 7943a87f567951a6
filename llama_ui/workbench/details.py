"""What a reply came with, for the page and for files: the probabilities of its tokens, and the raw response.

The page gets it as a text that only grows, with a JSON value in each line: `["token", logprob, [["other", logprob]]]`
for each token, and at the end `{"status", "headers": [["name", "value"]], "body"}`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from llama_ui.core.conversation import Reply
from llama_ui.core.events import Token
from llama_ui.core.messages import sanitize_text
from llama_ui.workbench.continuation import Prefix

MAX_TOKENS = 100_000  # of an imported reply
type _Logprob = Annotated[float, Field(allow_inf_nan=False)]
_TOKENS = TypeAdapter(list[tuple[str, _Logprob, list[tuple[str, _Logprob]]]])


class Details:
    """The details of one reply while it grows."""

    def __init__(self) -> None:
        self._text = ""
        self._count = 0  # of the tokens in it

    def text(self, reply: Reply, prefix: Prefix | None = None) -> str:
        """The text so far. It begins with the line `"new"` where the reply does not go on from the `prefix`."""
        is_new = prefix and reply.text and not reply.text.startswith(prefix.text)
        return (_line("new") if is_new else "") + self._own_text(reply)

    def _own_text(self, reply: Reply) -> str:
        self._text += as_lines(reply.tokens[self._count :])
        self._count = len(reply.tokens)
        if reply.ended and reply.received:
            return self._text + _line(asdict(reply.received))
        return self._text


def as_lines(tokens: Sequence[Token]) -> str:
    """The tokens as lines of JSON."""
    return "".join(_line([token.text, round(token.logprob, 4), _rounded(token)]) for token in tokens)


def tokens_of(text: str) -> tuple[Token, ...]:
    """The tokens in such lines; none where a page sends anything else."""
    lines = [line for line in text.split("\n") if line.startswith("[")][:MAX_TOKENS]
    try:
        return _tokens(_TOKENS.validate_json(f"[{','.join(lines)}]"))
    except ValidationError:
        return ()


def to_openai(tokens: Sequence[Token]) -> dict[str, object]:
    """The tokens as the field `logprobs` of OpenAI's API."""
    return {
        "content": [
            {
                "token": token.text,
                "logprob": token.logprob,
                "top_logprobs": [{"token": text, "logprob": logprob} for text, logprob in token.alternatives],
            }
            for token in tokens
        ]
    }


def from_openai(logprobs: object) -> tuple[Token, ...]:
    """The tokens in a field `logprobs` of OpenAI's API; none where it has another form."""
    listed = logprobs.get("content") if isinstance(logprobs, dict) else None
    try:
        items = [
            [item["token"], item["logprob"], [[other["token"], other["logprob"]] for other in item["top_logprobs"]]]
            for item in listed or ()
        ]
        return _tokens(_TOKENS.validate_python(items))
    except (ValidationError, KeyError, TypeError):
        return ()


def _tokens(listed: list[tuple[str, float, list[tuple[str, float]]]]) -> tuple[Token, ...]:
    return tuple(Token(sanitize_text(text), min(logprob, 0.0), tuple(others)) for text, logprob, others in listed)


def _rounded(token: Token) -> list[list[object]]:
    return [[text, round(logprob, 4)] for text, logprob in token.alternatives]


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
