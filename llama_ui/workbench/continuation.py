"""A reply that goes on from a given text: the request ends with an assistant message that is not finished.

llama.cpp repeats that text where it does not stream, and vLLM and Ollama never do (measured with OGX 1.4.1, and read).
Other servers begin a new answer.
"""

from dataclasses import dataclass, replace

from llama_ui.core.conversation import Reply
from llama_ui.core.events import Token
from llama_ui.core.stats import Stats

NEW_ANSWER = "This server began a new answer in place of continuing the given one."


@dataclass(frozen=True)
class Prefix:
    """The beginning of an answer, its tokens, and those of the prompt before it; None where they are not known."""

    text: str
    tokens: int = 0
    prompt_tokens: int | None = None

    def joined(self, reply: Reply) -> Reply:
        """The reply with this in front of it, once; a new answer stands alone, with a notice."""
        more = self._more_tokens(reply.stats)
        if more is not None:  # the prompt's own ones are counted
            reply = replace(reply, stats=replace(reply.stats, prompt_tokens=reply.stats.prompt_tokens - self.tokens))
        if reply.text.startswith(self.text):
            return replace(reply, tokens=self._others(reply.tokens))
        if not reply.ended and self.text.startswith(reply.text):
            return replace(reply, text=self.text, tokens=())
        # A server that begins anew puts some tokens behind this text, which end it. Where the tokens are not known, a
        # capital letter directly behind a word is a sign.
        if more > 1 if more is not None else reply.text[:1].isupper() and self.text[-1:].isalnum():
            return replace(reply, notices=(*reply.notices, NEW_ANSWER))
        return replace(reply, text=self.text + reply.text)

    def _more_tokens(self, stats: Stats) -> int | None:
        """How many tokens the prompt had beside those known; None where the server has not counted them."""
        if stats.estimated or self.prompt_tokens is None:
            return None
        more = stats.prompt_tokens - self.prompt_tokens - self.tokens
        return more if more >= -1 else None

    def _others(self, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        """The tokens without those of this text, which may be among them."""
        length = 0
        for count, token in enumerate(tokens):
            if length == len(self.text):
                return tokens[count:]
            if not self.text.startswith(token.text, length):
                break
            length += len(token.text)
        return () if length == len(self.text) else tokens
