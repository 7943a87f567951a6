"""What a reply came with, for the page and for files: the probabilities of its tokens, and the raw response.

The page gets it as a text that only grows, with a JSON object in each line: each token as OpenAI's API has it
(`core.events.Token`), and at the end the response (`core.events.Received`).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llama_ui.core.conversation import Reply
from llama_ui.core.events import Token
from llama_ui.workbench.continuation import is_new_answer

_TOKENS = TypeAdapter(tuple[Token, ...])


class Details:
    """The details of one reply while it grows."""

    def __init__(self) -> None:
        self._text = ""
        self._count = 0  # of the tokens in it

    def text(self, reply: Reply, prefix: str = "") -> str:
        """The text so far. It begins with the line `"new"` where the reply does not go on from the `prefix`."""
        self._text += as_lines(reply.tokens[self._count :])
        self._count = len(reply.tokens)
        end = f"{json.dumps(asdict(reply.received))}\n" if reply.ended and reply.received else ""
        return ('"new"\n' if is_new_answer(reply.text, prefix) else "") + self._text + end


def as_lines(tokens: Sequence[Token]) -> str:
    """The tokens as lines of JSON."""
    return "".join(json.dumps(token, ensure_ascii=False) + "\n" for token in as_json(tokens))


def as_json(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """The tokens as the field `logprobs.content` of OpenAI's API."""
    listed: list[dict[str, Any]] = _TOKENS.dump_python(tuple(tokens), mode="json", exclude_defaults=True)
    return listed


def tokens_of(text: object) -> tuple[Token, ...]:
    """The tokens in such lines; none where a page sends anything else."""
    lines = str(text).split("\n")
    try:
        return _TOKENS.validate_json(f"[{','.join(line for line in lines if line.startswith('{"token"'))}]")
    except ValidationError:
        return ()
