"""A model's reasoning and its answer, split where both come in one text.

Servers that know the model send its reasoning in a field of its own. Others pass on what the model writes:
`<think>…</think>` before the answer, or only `</think>` where the model's chat template has written the opening tag.
"""

import re

OPEN, CLOSE = "<think>", "</think>"
_OPENED_BY_TEMPLATE = re.compile(rf"(?:(?!{OPEN}).)*?^[ \t]*{CLOSE}", re.DOTALL | re.MULTILINE)
_BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")


def split_reasoning(text: str, ended: bool = True) -> tuple[str, str]:
    """The reasoning and the answer in the text of a reply, or of its beginning.

    It depends on the text alone, not on its deltas. Until it has `ended`, its end is held back where it may become a
    tag. A tag inside Markdown code belongs to the answer, and so does one in the answer that nothing closes.
    """
    held_back = 0 if ended else _partial_tag(text)
    if held_back:
        reasoning, answer, is_open = _split(text[:-held_back], ended)
        if is_open or not answer.strip():
            return reasoning, answer
    reasoning, answer, _ = _split(text, ended)
    return reasoning, answer


def _split(text: str, ended: bool) -> tuple[str, str, bool]:
    """Reasoning, answer, and whether the last opening tag is still without a closing one."""
    if "think>" not in text:
        return "", text, False
    parts: list[str] = []
    answer, is_open = "", False
    if (opened := _OPENED_BY_TEMPLATE.match(text)) and not _in_code(opened[0]):
        parts.append(opened[0].removesuffix(CLOSE))
        text = text[opened.end() :]
    while text:
        before, tag, text = text.partition(OPEN)
        answer += before
        if tag and _in_code(answer):
            answer += tag
        elif tag:
            part, close, text = text.partition(CLOSE)
            if ended and not close and answer.strip():
                answer += tag + part
            else:
                parts.append(part)
                is_open = not close
    reasoning = "\n\n".join(filter(None, map(str.strip, parts)))
    return reasoning, _BLANK_LINES.sub("", answer) if parts else answer, is_open


def _partial_tag(text: str) -> int:
    """The number of characters at the end that may be the beginning of a tag."""
    start = text.rfind("<", -len(CLOSE))
    tail = text[start:] if start >= 0 else ""
    return len(tail) if tail not in (OPEN, CLOSE) and (OPEN.startswith(tail) or CLOSE.startswith(tail)) else 0


def _in_code(text: str) -> bool:
    """Whether the end of the text is inside Markdown code."""
    return text.count("`") % 2 == 1
