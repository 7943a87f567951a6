"""A reply that goes on from a given text: the request ends with an assistant message that is not finished.

llama.cpp repeats that text where it does not stream; vLLM and Ollama never do. Other servers begin a new answer.
"""

from dataclasses import replace

from llama_ui.core.conversation import Reply
from llama_ui.core.events import Token

NEW_ANSWER = "This server began a new answer in place of continuing the given one."


def continued(reply: Reply, prefix: str) -> Reply:
    """The reply with the prefix in front of it, once; a new answer stands alone, with a notice."""
    if not reply.ended and prefix.startswith(reply.text):
        return replace(reply, text=prefix, tokens=())
    if reply.text.startswith(prefix):
        return replace(reply, tokens=_others(reply.tokens, prefix))
    if is_new_answer(reply.text, prefix):
        return replace(reply, notices=(*reply.notices, NEW_ANSWER))
    return replace(reply, text=prefix + reply.text)


def is_new_answer(text: str, prefix: str) -> bool:
    """Whether a text does not continue the prefix: it begins with a capital letter directly behind a word of that."""
    return text[:1].isupper() and prefix[-1:].isalnum() and not text.startswith(prefix)


def _others(tokens: tuple[Token, ...], prefix: str) -> tuple[Token, ...]:
    """The tokens without those of the prefix, which may be among them."""
    length = 0
    for count, token in enumerate(tokens):
        if length == len(prefix):
            return tokens[count:]
        if not prefix.startswith(token.token, length):
            return tokens
        length += len(token.token)
    return ()
