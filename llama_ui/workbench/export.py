"""Conversations to keep and to take along, as JSON and as Markdown.  Pure.

The JSON has its messages in OpenAI's form, so that other programs can use them; theirs can be read here, too. A file is
foreign text: it is checked, and the conversation is made anew of what is known in it. No address in it is followed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic import ValidatorFunctionWrapHandler as Check
from pydantic_core import PydanticUseDefault
from pydantic_core import from_json as parsed

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import InputError
from llama_ui.core.images import MAX_IMAGES, is_clean_form
from llama_ui.core.messages import Image, images, is_note, message_text, sanitize_text
from llama_ui.core.stats import Stats, format_stats
from llama_ui.core.text import as_code
from llama_ui.web import view
from llama_ui.web.view import ChatMessage

SETTINGS = ("system_prompt", "model", "temperature", "top_p", "max_tokens", "seed", "reasoning_effort")
FORMAT, VERSION = "llama-ui conversation", 1
MAX_BYTES = 25 * 2**20
MAX_MESSAGES = 2_000
MAX_PICTURES = 500
MAX_MARKS = 1_000_000  # of "[", "{" and ",": a file of nothing else takes thirty times its size in memory
MAX_SETTING = 300  # characters, in each but the system prompt
MAX_TITLE = 100
_HEADER = 1024  # characters of base64 in which the header of a picture from `attached` ends
_ANOTHER = "Export the conversation anew, or choose another file."
_REMOVE = "Remove it from the file, and import that again."


@dataclass(frozen=True)
class Conversation:
    """`settings` has all of SETTINGS, as entered ("" is not set); `history` is as Gradio's page holds it."""

    title: str
    settings: dict[str, str]
    history: list[ChatMessage]


def _or_default(value: object, check: Check) -> object:
    try:
        return check(value)
    except ValidationError:
        raise PydanticUseDefault from None


_Dropped = WrapValidator(_or_default)  # if it is wrong
_Seconds = Annotated[float, Field(ge=0, lt=1e9)]  # no NaN is
_Count = Annotated[int, Field(ge=0, lt=10**9)]


def settings_of(entered: Mapping[str, object]) -> dict[str, str]:
    """All of SETTINGS as texts; "" for what is not among them, or is neither a text nor a number, or is too long."""
    texts = {name: _entered(entered.get(name)) for name in SETTINGS}
    return {name: text if len(text) <= MAX_SETTING or name == "system_prompt" else "" for name, text in texts.items()}


def _entered(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15
    return sanitize_text(value) if isinstance(value, str) else str(value) if number else ""


def _title(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text[: 10 * MAX_TITLE]).split())[:MAX_TITLE]


def _known(sent: dict[str, Any]) -> dict[str, str]:
    return {name: text for name, text in settings_of(sent).items() if sent.get(name) == text}


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Numbers(_Model):
    """The fields of `Stats`."""

    waited: Annotated[_Seconds, _Dropped] = 0.0
    first: Annotated[_Seconds | None, _Dropped] = None
    generating: Annotated[_Seconds, _Dropped] = 0.0
    prompt_tokens: Annotated[_Count, _Dropped] = 0
    completion_tokens: Annotated[_Count, _Dropped] = 0
    estimated: Annotated[bool, _Dropped] = True
    finish_reason: Annotated[Annotated[str, Field(max_length=MAX_SETTING)] | None, _Dropped] = None


class _Receipt(_Model):
    """What was sent for a reply, and what it took: in `metadata.log`, and in a file beside the reply."""

    sent: Annotated[dict[str, Any], AfterValidator(_known), _Dropped] = {}
    numbers: Annotated[_Numbers | None, _Dropped] = None


class _Thought(_Model):
    reasoning: Annotated[str, _Dropped] = ""
    reasoning_seconds: Annotated[_Seconds | None, _Dropped] = None


class _Text(_Model):
    type: Literal["text"]
    text: str


class _Url(_Model):
    url: str


class _Picture(_Model):
    type: Literal["image_url"]
    image_url: _Url


_Part = Annotated[_Text | _Picture, Field(discriminator="type")]


class _Message(_Receipt, _Thought):
    role: Literal["system", "user", "assistant"]
    content: str | Annotated[list[_Part], Field(fail_fast=True)] | None


class _File(_Model):
    title: Annotated[str, _Dropped] = ""
    settings: dict[str, Any] = {}
    messages: Annotated[list[_Message], Field(fail_fast=True)]


def to_json(history: Iterable[ChatMessage], settings: Mapping[str, str], title: str = "") -> str:
    """The conversation as `from_json` reads it. `history` as Gradio's page holds it, `settings` as entered."""
    chosen = {name: text for name, text in settings_of(settings).items() if text.strip()}
    prompt = chosen.pop("system_prompt", "")
    system = [{"role": "system", "content": prompt}] if prompt else []
    file = {"format": FORMAT, "version": VERSION, "title": _title(title), "settings": chosen}
    return json.dumps(file | {"messages": [*system, *_openai(history)]}, ensure_ascii=False, indent=2)


def to_markdown(history: Iterable[ChatMessage], settings: Mapping[str, str], title: str = "") -> str:
    """The conversation to read: its texts as they are, its pictures counted."""
    chosen = {name: text for name, text in settings_of(settings).items() if text.strip()}
    prompt = chosen.pop("system_prompt", "")
    lines = [f"- {name.replace('_', ' ').capitalize()}: {as_code(text)}" for name, text in chosen.items()]
    blocks = [f"# {_title(title) or 'Conversation'}", "\n".join(lines), "## System" if prompt else "", prompt]
    for message in _openai(history):
        blocks += [f"## {message['role'].capitalize()}", _thoughts(message), message_text(message)]
        if count := len(_urls(message["content"])):
            blocks.append(f"*({count} picture{'s' if count > 1 else ''})*")
        if numbers := format_stats(Stats(**message.get("numbers", {}))):
            blocks.append(f"*{numbers}*")
    return "\n\n".join(filter(None, blocks)) + "\n"


def _thoughts(message: Mapping[str, Any]) -> str:
    if "reasoning" not in message:
        return ""
    seconds = message.get("reasoning_seconds")
    summary = "Thoughts" if seconds is None else f"Thought for {seconds:.1f} s"
    return f"<details><summary>{summary}</summary>\n\n{message['reasoning']}\n\n</details>"


def _openai(history: Iterable[ChatMessage]) -> Iterator[dict[str, Any]]:
    """What a person and the model said and thought, in OpenAI's form: no notes of the page, nothing blank."""
    thought: dict[str, Any] = {}
    for item in history:
        role, metadata = item.get("role"), item.get("metadata") or {}
        thinks = role == "assistant" and metadata.get("title") == "Thinking"
        content = _content(sanitize_text(message_text(item)), images(item.get("content")) if role == "user" else ())
        took = _receipt(metadata.get("log")) if role == "assistant" and not thinks else {}
        if (is_note(item) and not thinks) or role not in ("user", "assistant") or not (content or took):
            continue
        if thought and (thinks or role == "user"):
            yield {"role": "assistant", "content": "", **thought}  # no answer came of it
            thought = {}
        if thinks:
            seconds = metadata.get("duration")
            thought = _Thought(reasoning=content, reasoning_seconds=seconds).model_dump(exclude_none=True)
        else:
            yield {"role": role, "content": content, **thought, **took}
            thought = {}
    if thought:
        yield {"role": "assistant", "content": "", **thought}


def _content(text: str, pictures: Iterable[Image]) -> Any:
    """A text, or a list of parts where there are pictures; "" for a blank one."""
    parts = [{"type": "image_url", "image_url": {"url": view.data_url(image)}} for image in pictures]
    if not parts:
        return text if text.strip() else ""
    return [view.text_part(text), *parts] if text else parts


def _urls(content: object) -> list[str]:
    """The addresses of the pictures in a content of OpenAI's form."""
    return [part["image_url"]["url"] for part in content if "image_url" in part] if isinstance(content, list) else []


def _receipt(log: Any) -> dict[str, Any]:
    """The `sent` and `numbers` in a reply's `metadata.log`, as far as they are sound."""
    try:
        receipt = _Receipt.model_validate(parsed(log or "{}", allow_inf_nan=False))
    except (ValueError, TypeError):
        return {}
    return {name: told for name, told in receipt.model_dump().items() if told}


def from_json(text: str | bytes, longest_side: int) -> Conversation:
    """The conversation in a file from `to_json`, or in another program's list of OpenAI messages.

    `longest_side` of a picture is in pixels. What the file does not say is blank. Raises InputError for a file that
    cannot be read, or that has what no conversation here can have.
    """
    file = _file(_parsed(text))
    settings = settings_of(file.settings)
    history: list[ChatMessage] = []
    lists = [message.content for message in file.messages if isinstance(message.content, list)]
    if sum(isinstance(part, _Picture) for parts in lists for part in parts) > MAX_PICTURES:
        raise InputError(f"The file has more than {MAX_PICTURES} pictures.", "Remove some of them.")
    for number, message in enumerate(file.messages, start=1):
        words, pictures = _checked(number, message, longest_side)
        if message.role == "system":
            settings["system_prompt"] = words
        elif message.role == "assistant":
            history += _reply(message, words)
        elif words.strip() or pictures:
            parts = [*([view.text_part(words)] if words else []), *map(view.image_part, pictures)]
            history.append(view.message("user", "") | {"content": parts})
    return Conversation(_title(file.title), settings, history)


def _parsed(text: str | bytes) -> Any:
    try:
        content = text.encode() if isinstance(text, str) else text
        if len(content) > MAX_BYTES:
            raise InputError(f"The file is larger than {MAX_BYTES // 2**20} MB.", "Remove pictures from it.")
        if b"\0" in content:
            raise InputError("The file is no text in UTF-8.", "Save it as UTF-8, and import it again.")
        text = content.decode("utf-8-sig")
    except UnicodeError:
        raise InputError("The file is no text in UTF-8.", "Save it as UTF-8, and import it again.") from None
    if not text.strip():
        raise InputError("The file is empty.", _ANOTHER)
    if sum(map(text.count, "[{,")) > MAX_MARKS:
        raise InputError("The file has too many parts to be a conversation.", _ANOTHER)
    try:
        return parsed(text, allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"The file is no sound JSON: {as_code(str(error), 100)}.", _ANOTHER) from None


def _file(read: Any) -> _File:
    read = {"messages": read} if isinstance(read, list) else read
    if not isinstance(read, dict) or "messages" not in read:
        raise InputError("The file holds no conversation.", _ANOTHER)
    kind, version = read.get("format", FORMAT), read.get("version", VERSION)
    if kind != FORMAT:
        raise InputError(f"The file is of another format, {as_code(str(kind), 40)}.", _ANOTHER)
    if "format" in read and isinstance(version, int) and version > VERSION:
        raise InputError("The file was made by a newer version of this app.", "Update this one.")
    if "format" in read and version != VERSION:
        raise InputError(f"The file has the version {as_code(str(version), 40)}, which there is not.", _ANOTHER)
    if "format" not in read and not read["messages"]:
        raise InputError("The file holds no message.", _ANOTHER)
    if isinstance(read["messages"], list) and (count := len(read["messages"])) > MAX_MESSAGES:
        raise InputError(f"The file has {count:,} messages, and {MAX_MESSAGES:,} are the most.", "Remove some from it.")
    try:
        return _File.model_validate(read)
    except ValidationError as error:
        raise _complaint(read["messages"], error) from None


def _complaint(messages: Any, error: ValidationError) -> InputError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    match first["loc"]:
        case ("messages", int(index), "role") if first["type"] == "literal_error":
            role = as_code(str(messages[index]["role"]), 40)
            return InputError(f"Message {index + 1} has the role {role}, not system, user or assistant.", _REMOVE)
        case ("messages", int(index), "content", *_) if "content" in messages[index]:
            return InputError(f"Message {index + 1} has something else than text and pictures.", _REMOVE)
        case ("messages", int(index), *_):
            return InputError(f"Message {index + 1} has no role, or no content.", _REMOVE)
        case ("settings", *_):
            return InputError("The settings in the file are no names with values.", _ANOTHER)
    return InputError("The messages in the file are no list.", _ANOTHER)


def _checked(number: int, message: _Message, longest_side: int) -> tuple[str, list[Image]]:
    """The text and the pictures of one message; `number` counts from 1."""
    item = message.model_dump(include={"content"})
    text, urls = message_text(item), _urls(item["content"])
    if message.role == "system" and number > 1:
        raise InputError(f"Message {number} is a system message, which only the first can be.", _REMOVE)
    if "\0" in text or "\0" in message.reasoning:
        raise InputError(f"Message {number} has a NUL character.", _REMOVE)
    if urls and message.role != "user":
        raise InputError(f"Message {number} has a picture, which only the user's can have.", _REMOVE)
    if len(urls) > MAX_IMAGES:
        raise InputError(f"Message {number} has {len(urls):,} pictures, and {MAX_IMAGES} are the most.", "Remove some.")
    pictures = [*images([{"type": "component", "component": "image", "value": {"url": url}} for url in urls])]
    if len(pictures) < len(urls) or not all(_is_clean(image, longest_side) for image in pictures):
        sentence = f"Message {number} has a picture that is not one as this app makes them."
        raise InputError(sentence, "Remove it from the file, import that, and add the picture here.")
    return text, pictures


def _is_clean(image: Image, longest_side: int) -> bool:
    """Looks at the beginning first: the headers of a file full of long ones would take a minute."""
    header = Image(image.media_type, image.data[:_HEADER])
    return is_clean_form(header, longest_side) and is_clean_form(image, longest_side)


def _reply(message: _Message, text: str) -> Iterator[ChatMessage]:
    """The messages that a reply is on the page, the thought as `view.thinking` has it."""
    if message.reasoning.strip():
        seconds = {} if message.reasoning_seconds is None else {"duration": message.reasoning_seconds}
        metadata = {"title": "Thinking", "status": "done", **seconds}
        yield view.message("assistant", message.reasoning) | {"metadata": metadata}
    if message.sent or message.numbers:
        stats = Stats(**message.numbers.model_dump()) if message.numbers else Stats()
        turn = Reply(text=text, model=message.sent.get("model", ""), stats=stats, ended=True)
        yield view.message("assistant", text) | {"metadata": {"log": view.receipt(turn, message.sent)}}
    elif text.strip():
        yield view.message("assistant", text)
