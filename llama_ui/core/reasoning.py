"""A model's reasoning and its answer, split where both come in one text.

Servers that know the model send its reasoning in a field of its own. Others pass on what the model writes: tags around
the reasoning, or only the closing one where the model's chat template has written the opening tag, or the channels of
OpenAI's harmony format: https://developers.openai.com/cookbook/articles/openai-harmony.
"""

import re

# The opening and the closing tag, in any case, of the models that are known to write them.
TAGS = {
    "<think>": "</think>",  # DeepSeek-R1, Qwen, and most others
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<thoughts>": "</thoughts>",
    "<reasoning>": "</reasoning>",
    "<reflection>": "</reflection>",
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "[think]": "[/think]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|channel>thought": "<channel|>",  # Gemma
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker
    "<|start_thinking|>": "<|end_thinking|>",  # Command A
}
_OPENING = re.compile("|".join(map(re.escape, TAGS)), re.IGNORECASE)
# What models write at the end of one that begins with "<th": they mix these up.
_CLOSING = {
    tag: re.compile("</(think|thinking|thoughts?)>" if tag.startswith("<th") else re.escape(closing), re.IGNORECASE)
    for tag, closing in TAGS.items()
}
_ANY_CLOSING = "|".join(map(re.escape, TAGS.values()))
_CLOSING_OF_A_LINE = re.compile(
    rf"^[ \t]*(?:{_ANY_CLOSING})|(?:{_ANY_CLOSING})(?=[ \t]*$)", re.IGNORECASE | re.MULTILINE
)
MAX_TAGS = 100  # that are read, since each costs a search through the text
_HARMONY = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>")
_BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")
_BEGINNINGS = (*TAGS, *TAGS.values(), "<|start|>assistant", "<|channel|>")


def split_reasoning(text: str, ended: bool = True) -> tuple[str, str]:
    """The reasoning and the answer in the text of a reply, or of its beginning.

    It depends on the text alone, not on its deltas. Until it has `ended`, its end is held back where it may become a
    tag. A tag inside Markdown code belongs to the answer, and so does one in the answer that nothing closes.
    """
    if not any(first in text for first in "<[◁"):  # nearly always
        return "", text
    if _HARMONY.match(text):
        return _split_harmony(text, ended)
    held_back = 0 if ended else _partial_tag(text)
    if held_back:
        reasoning, answer, is_open = _split(text[:-held_back], ended)
        if is_open or not answer.strip():
            return reasoning, answer
    reasoning, answer, _ = _split(text, ended)
    return reasoning, answer


def _split(text: str, ended: bool) -> tuple[str, str, bool]:
    """Reasoning, answer, and whether the last opening tag is still without a closing one."""
    opening, closing = _OPENING.search(text), _CLOSING_OF_A_LINE.search(text)
    if not (opening or closing):
        return "", text, False
    parts: list[str] = []
    answer, is_open = "", False
    if closing and not (opening and opening.start() < closing.start()) and not _in_code(text[: closing.end()]):
        parts.append(
            re.sub(_ANY_CLOSING, "", text[: closing.end()], flags=re.IGNORECASE)
        )  # the chat template opened it
        text = text[closing.end() :]
    for _ in range(MAX_TAGS):
        if not (opening := _OPENING.search(text)):
            break
        answer += text[: opening.start()]
        text = text[opening.end() :]
        closing = _CLOSING[opening[0].lower()].search(text)
        if _in_code(answer) or (ended and not closing and answer.strip()):
            answer += opening[0]
            continue
        parts.append(text[: closing.start()] if closing else text)
        text = text[closing.end() :] if closing else ""
        is_open = not closing
    answer += text
    reasoning = "\n\n".join(filter(None, map(str.strip, parts)))
    return reasoning, _BLANK_LINES.sub("", answer) if parts else answer, is_open


def _split_harmony(text: str, ended: bool) -> tuple[str, str]:
    """The text in the channel "final", and what follows the end of another, is the answer; the rest is reasoning."""
    if not ended:
        text = re.sub(r"<(?:\|\w*\|?)?$", "", text)
    parts: dict[bool, list[str]] = {True: [], False: []}
    for section in re.split(r"<\|(?:start|channel)\|>", text):
        channel, _, body = section.partition("<|message|>")
        body, *rest = re.split(r"<\|(?:end|return|call)\|>", body, maxsplit=1)
        parts[channel.split()[:1] == ["final"]].append(body)
        parts[True] += rest
    reasoning = "\n\n".join(filter(None, map(str.strip, parts[False])))
    return reasoning, "".join(parts[True])


def _partial_tag(text: str) -> int:
    """The number of characters at the end that may be the beginning of a tag."""
    start = max(text.rfind(first, -max(map(len, _BEGINNINGS))) for first in "<[◁")
    tail = text[start:].lower() if start >= 0 else ""
    return len(tail) if any(tag.startswith(tail) and tag != tail for tag in _BEGINNINGS) else 0


def _in_code(text: str) -> bool:
    """Whether the end of the text is inside Markdown code."""
    return text.count("`") % 2 == 1
