"""What a model thinks, told apart from its answer where both come in one text.  Pure.

Servers that know the model send its thoughts in a field of their own. Others hand on what it writes:
`<think>…</think>` before the answer, or `</think>` alone where the model's chat template has opened the thought.
"""

import re

BEGIN, END = "<think>", "</think>"
_OPENED_BY_TEMPLATE = re.compile(rf"(?:(?!{BEGIN}).)*?^[ \t]*{END}", re.DOTALL | re.MULTILINE)
_BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")


def split_reasoning(text: str, ended: bool = True) -> tuple[str, str]:
    """The thoughts and the answer in what has come of a reply by now.

    They depend on the text alone, not on the pieces in which it came. Until it has `ended`, what may become a tag is
    kept back where one is to be expected: in a thought, and before the answer. A tag inside of Markdown code is part of
    the answer, and so is one behind the answer's first words that nothing closes.
    """
    begun = 0 if ended else _begun_tag(text)
    if begun:
        thoughts, answer, is_open = _split(text[:-begun], ended)
        if is_open or not answer.strip():
            return thoughts, answer
    thoughts, answer, _ = _split(text, ended)
    return thoughts, answer


def _split(text: str, ended: bool) -> tuple[str, str, bool]:
    """Thoughts, answer, and whether the last thought is still open."""
    if "think>" not in text:
        return "", text, False
    thoughts: list[str] = []
    answer, is_open = "", False
    if (opened := _OPENED_BY_TEMPLATE.match(text)) and not _in_code(opened[0]):
        thoughts.append(opened[0].removesuffix(END))
        text = text[opened.end() :]
    while text:
        before, begin, text = text.partition(BEGIN)
        answer += before
        if begin and _in_code(answer):
            answer += begin
        elif begin:
            thought, end, text = text.partition(END)
            if ended and not end and answer.strip():
                answer += begin + thought
            else:
                thoughts.append(thought)
                is_open = not end
    told = "\n\n".join(filter(None, map(str.strip, thoughts)))
    return told, _BLANK_LINES.sub("", answer) if thoughts else answer, is_open


def _begun_tag(text: str) -> int:
    """How many characters at the end may become a tag."""
    begun = text.rfind("<", -len(END))
    tail = text[begun:] if begun >= 0 else ""
    return len(tail) if tail and tail not in (BEGIN, END) and (BEGIN.startswith(tail) or END.startswith(tail)) else 0


def _in_code(text: str) -> bool:
    return text.count("`") % 2 == 1
