"""Conversations as files: JSON to keep and to import again, Markdown to read.

The JSON has its messages in OpenAI's form, and such a list from another program can be imported. No URL is fetched.
"""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json as parse_json

from llama_ui.core.conversation import REFUSED, SAMPLING, SETTINGS, ChatSettings, Conversation, Reply, Turn, add_reply
from llama_ui.core.decoding import decode
from llama_ui.core.errors import InputError
from llama_ui.core.events import Token
from llama_ui.core.images import MAX_IMAGES, is_clean_form, with_actual_type
from llama_ui.core.messages import Image, sanitize_text
from llama_ui.core.option_values import Example, as_text
from llama_ui.core.stats import format_stats
from llama_ui.core.text import as_code
from llama_ui.workbench.details import as_json
from llama_ui.workbench.receipt import CleanText, Lenient, Receipt, receipt
from llama_ui.workbench.templates import render

FORMAT = {"format": "llama-ui conversation", "version": 1}
MAX_BYTES = 25 * 2**20
MAX_MESSAGES = 2_000
MAX_PARTS = 1_000_000  # counted by "[", "{" and ",": a file of nothing else takes thirty times its size in memory
MAX_TITLE = 100
_IN_PLACE_OF_CONTENT = {"tool_calls", "function_call", "refusal", "reasoning_content"}
# What a tool was asked for, and what it gave, as items of the Responses API and as parts of Anthropic's messages.
_OF_TOOLS = re.compile(r"mcp_\w+|\w*(?:_call|_call_output|tool_use|tool_result)")
_TOOL_ROLES = ("tool", "function", "ipython")
_ANOTHER = "Export the conversation again, or choose another file."
_REMOVE = "Remove it from the file, and import that again."


@dataclass(frozen=True)
class ImportedConversation:
    """A conversation from a file. `settings` has the texts of a form by the names in `core.conversation.SETTINGS`."""

    title: str
    settings: dict[str, str]
    conversation: Conversation
    skipped: int = 0  # calls of tools and their results


class _Url(BaseModel):
    url: str = ""


class _Part(BaseModel):
    type: Literal["text", "image_url"]
    text: CleanText = ""
    image_url: _Url | None = None


def _as_parts(content: object) -> object:
    parts = content if isinstance(content, list) else [{"type": "text", "text": "" if content is None else content}]
    return [_known_part(part) for part in parts if not (_is_of_tools(part) or _is_thinking(part))]


def _is_of_tools(part: object) -> bool:
    return isinstance(part, dict) and bool(_OF_TOOLS.fullmatch(str(part.get("type"))))


def _is_thinking(part: object) -> bool:
    return isinstance(part, dict) and ("thinking" in part or part.get("type") == "redacted_thinking")


def _known_part(part: object) -> object:
    """A part of a message as the Chat Completions API names it, also where it is one of the Responses API."""
    match part:
        case str(text) | {"type": "input_text" | "output_text", "text": text} | {"type": "refusal", "refusal": text}:
            return {"type": "text", "text": text}
        case {"type": "image_url" | "input_image", "image_url": str(url)}:
            return {"type": "image_url", "image_url": {"url": url}}
    return part


def _thinking(content: object) -> str:
    """The thoughts among the parts of a message of Anthropic's."""
    parts = content if isinstance(content, list) else []
    return "\n\n".join(str(part["thinking"]) for part in parts if isinstance(part, dict) and "thinking" in part)


def _as_text(content: object) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in content if isinstance(part, dict)) if isinstance(content, list) else ()
    return "\n\n".join(text for text in texts if isinstance(text, str))


class _Logprobs(BaseModel):
    content: tuple[Token, ...] = ()


class _Message(Receipt):
    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[list[_Part], Field(fail_fast=True), BeforeValidator(_as_parts)]
    refusal: Annotated[CleanText, Lenient] = ""
    reasoning: Annotated[CleanText, Lenient] = ""
    reasoning_seconds: Annotated[float | None, Field(ge=0, lt=1e9), Lenient] = None
    example: Annotated[bool, Lenient] = False
    logprobs: Annotated[_Logprobs, Lenient] = _Logprobs()
    tool_calls: Any = None
    function_call: Any = None

    @model_validator(mode="before")
    @classmethod
    def _from_other_programs(cls, message: Any) -> Any:
        match message:
            case {"role": role} if role in _TOOL_ROLES:
                return {"role": "tool", "content": None}
            case {"type": _} if _is_of_tools(message):
                return {"role": "tool", "content": None}
            case {"content": [_, *_] as parts} if all(map(_is_of_tools, parts)):
                return {"role": "tool", "content": None}
            case {"type": "reasoning"}:
                return {"role": "assistant", "content": None, "reasoning": _as_text(message.get("summary"))}
            case {"role": "developer"}:
                return message | {"role": "system"}
            case {"role": "assistant"}:
                thoughts = message.get("reasoning"), message.get("reasoning_content"), _thinking(message.get("content"))
                reasoning = next(filter(None, map(_as_text, thoughts)), "")
                default = {"content": None} if message.keys() & _IN_PLACE_OF_CONTENT else {}
                return default | message | {"reasoning": reasoning}
        return message

    @property
    def text(self) -> str:
        return "\n\n".join(filter(None, [*(part.text for part in self.content), self.refusal]))

    @property
    def is_skipped(self) -> bool:
        """Whether it is a call of tools, or the result of one, and nothing else."""
        is_call = bool(self.tool_calls or self.function_call) and not (self.text + self.reasoning).strip()
        return self.role == "tool" or is_call


class _File(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    title: Annotated[str, Lenient] = ""
    settings: Annotated[dict[str, CleanText], Lenient] = {}
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]


def to_json(conversation: Conversation, settings: Mapping[str, str], title: str = "") -> str:
    """The conversation as `from_json` reads it. `settings` are the texts of a form."""
    file = {**FORMAT, "title": _one_line(title), "settings": _other_settings(settings)}
    return sanitize_text(json.dumps(file | {"messages": [*_messages(conversation)]}, ensure_ascii=False, indent=2))


def _other_settings(settings: Mapping[str, str]) -> dict[str, str]:
    in_messages = ("system_prompt", "examples")
    return {name: text for name, text in settings.items() if text.strip() and name not in in_messages}


def _messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    """The conversation in OpenAI's form, without anything blank, and without a reply that only failed."""
    if conversation.system_prompt.strip():
        yield {"role": "system", "content": conversation.system_prompt}
    for example in conversation.examples:
        yield {"role": "user", "content": example.user, "example": True}
        yield {"role": "assistant", "content": example.assistant, "example": True}
    for turn in conversation.turns:
        reply = turn.reply or Reply()
        has_text = bool((reply.text + reply.reasoning).strip())
        if turn.has_message:
            texts = [{"type": "text", "text": turn.text}] if turn.text else []
            images = [{"type": "image_url", "image_url": {"url": image.data_url}} for image in turn.images]
            refused = {"refused": True} if reply.refused and not has_text else {}
            yield {"role": "user", "content": [*texts, *images] if images else turn.text, **refused}
        if has_text:
            message = {"role": "assistant", "content": reply.text, **receipt(reply)}
            message |= {"logprobs": {"content": as_json(reply.tokens)}} if reply.tokens else {}
            if reply.reasoning.strip():
                message["reasoning"] = reply.reasoning
                message |= {} if reply.reasoning_seconds is None else {"reasoning_seconds": reply.reasoning_seconds}
            yield message


def to_markdown(conversation: Conversation, settings: Mapping[str, str], title: str = "") -> str:
    """The conversation for people: its texts as they are, and how many images it has."""
    text = render(
        "markdown.jinja",
        title=_one_line(title),
        settings=_other_settings(settings),
        conversation=conversation,
        as_code=as_code,
        format_stats=format_stats,
    )
    return sanitize_text(text)


def _one_line(title: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in title[: 10 * MAX_TITLE])
    return " ".join(printable.split())[:MAX_TITLE]


def from_json(content: bytes, longest_side: int) -> ImportedConversation:
    """The conversation in a file of `to_json`, or in a list of messages in OpenAI's form.

    `longest_side` of an image is in pixels. Raises InputError for a file that is not a conversation.
    """
    file = _parsed(content)
    settings = {name: file.settings.get(name, "") for name in SETTINGS}
    prompts: list[str] = []
    turns: list[Turn] = []
    given = [message.text for message in file.messages if message.example and message.role in ("user", "assistant")]
    examples = tuple(Example(*pair) for pair in zip(given[::2], given[1::2], strict=False))
    for number, message in enumerate(file.messages, start=1):
        images = _checked_images(number, message, longest_side)
        if message.example:
            continue
        if message.role == "system" and turns:
            raise InputError(f"Message {number} is a system message, which can only be at the beginning.", _REMOVE)
        if message.role == "system":
            prompts.append(message.text)
        elif message.role == "user" and (message.text.strip() or images):
            refusal = Reply(ended=True, ending=REFUSED, refused=True)
            turns.append(Turn(message.text, images, (refusal,) if message.refused else ()))
        elif message.role == "assistant" and (message.text + message.reasoning).strip():
            seconds, tokens = message.reasoning_seconds, message.logprobs.content
            reply = Reply(message.text, message.reasoning, seconds, ended=True, tokens=tokens)
            add_reply(turns, replace(reply, **message.fields()))
    settings["system_prompt"] = "\n\n".join(filter(str.strip, prompts)) or settings["system_prompt"]
    settings["examples"] = as_text(examples) or settings["examples"]
    conversation = Conversation(settings["system_prompt"], tuple(turns), examples)
    skipped = sum(message.is_skipped for message in file.messages)
    return ImportedConversation(_one_line(file.title), settings, conversation, skipped)


def _parsed(content: bytes) -> _File:
    if len(content) > MAX_BYTES:
        raise InputError(f"The file is larger than {MAX_BYTES // 2**20} MB.", "Remove pictures from it.")
    if sum(map(content.count, (b"[", b"{", b","))) > MAX_PARTS:
        raise InputError("The file has too many parts to be a conversation.", _ANOTHER)
    try:
        file = parse_json(decode(content) or content.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
        if isinstance(file, dict):
            file = {"settings": _request_settings(file), "messages": _request_messages(file)} | file
        return _File.model_validate({"messages": file} if isinstance(file, list) else file)
    except ValidationError as error:
        match error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]:
            case ("messages", int(index), *_):
                sentence = f"Message {index + 1} is not a system, user or assistant message of text and pictures."
                raise InputError(sentence, _REMOVE) from None
        raise InputError(f"The file is not a list of 1 to {MAX_MESSAGES:,} messages.", _ANOTHER) from None
    except ValueError as error:
        raise InputError(f"The file is not valid JSON: {as_code(str(error), 100)}.", _ANOTHER) from None


def _request_messages(body: Mapping[str, object]) -> object:
    """The messages in the body of a request to the Responses API."""
    items = body.get("input")
    return [{"role": "user", "content": items}] if isinstance(items, str) else items


def _request_settings(body: Mapping[str, object]) -> dict[str, str]:
    """The settings in the body of a chat request, as texts of a form. Malformed ones are left out."""
    legacy, reasoning = (_dict(body.get(name)) for name in ("sampling_params", "reasoning"))
    strategy = _dict(legacy.get("strategy"))
    greedy = {"temperature": 0} if strategy.get("type") == "greedy" else {}
    body = {**strategy, **greedy, **legacy, **body}
    values = {name: body.get(name) for name in SAMPLING}
    values["n"] = None if body.get("n") == 1 else body.get("n")
    values["top_logprobs"] = body.get("top_logprobs") or _dict(body.get("logprobs")).get("top_k")
    values["thinking"] = _dict(body.get("chat_template_kwargs")).get("enable_thinking")
    values["model"] = body.get("model") or body.get("model_id")
    lengths = (body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"))
    values["max_tokens"] = next(filter(None, lengths), None)
    values["reasoning_effort"] = body.get("reasoning_effort") or reasoning.get("effort")
    values["system_prompt"] = _as_text(body.get("instructions") or body.get("system"))
    values["streaming"] = "off" if body.get("stream") is False else ""
    texts = {name: as_text(value) for name, value in values.items()}
    return {name: text for name, text in texts.items() if text and _is_setting(name, text)}


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _is_setting(name: str, text: str) -> bool:
    try:
        ChatSettings.from_texts({name: text})
    except InputError:
        return False
    return True


def _checked_images(number: int, message: _Message, longest_side: int) -> tuple[Image, ...]:
    """The images of a message. `number` counts from 1."""
    urls = [part.image_url.url for part in message.content if part.image_url]
    images = tuple(with_actual_type(image) for url in urls if (image := Image.from_data_url(url)))
    is_allowed = message.role == "user" and len(images) == len(urls) <= MAX_IMAGES
    if urls and not (is_allowed and all(is_clean_form(image, longest_side) for image in images)):
        sentence = f"Message {number} has pictures that cannot be imported."
        raise InputError(sentence, "Remove them from the file, import that, and add them here.")
    return images
