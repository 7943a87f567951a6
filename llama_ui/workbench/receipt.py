"""What was sent for a reply and how long it took, as JSON: in the page's history, and in exported files.

The JSON may come from anywhere, so whatever is malformed in it is left out without a word.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic import ValidatorFunctionWrapHandler as Validate
from pydantic_core import PydanticUseDefault

from llama_ui.core.conversation import ChatSettings, Reply
from llama_ui.core.errors import InputError
from llama_ui.core.messages import sanitize_text
from llama_ui.core.stats import Stats

MAX_SETTING = 300  # characters, in each setting but the system prompt


def _or_default(value: object, validate: Validate) -> object:
    try:
        return validate(value)
    except ValidationError:
        raise PydanticUseDefault from None


Lenient = WrapValidator(_or_default)  # gives a field its default where the value is malformed
CleanText = Annotated[str, AfterValidator(sanitize_text)]
Seconds = Annotated[float, Field(ge=0, lt=1e9, strict=True)]
_Count = Annotated[int, Field(ge=0, lt=10**9)]
_Setting = Annotated[CleanText, Field(max_length=MAX_SETTING), Lenient]


class SettingTexts(BaseModel):
    """Settings as texts of a form, by the names in `core.conversation.SETTINGS`. A blank one is not set."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    system_prompt: Annotated[CleanText, Lenient] = ""
    model: _Setting = ""
    temperature: _Setting = ""
    top_p: _Setting = ""
    max_tokens: _Setting = ""
    seed: _Setting = ""
    reasoning_effort: _Setting = ""


class Numbers(BaseModel):
    """The fields of `Stats`."""

    model_config = ConfigDict(strict=True)

    waited: Seconds = 0.0
    first: Seconds | None = None
    generating: Seconds = 0.0
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    estimated: bool = True
    finish_reason: Annotated[CleanText, Field(max_length=MAX_SETTING)] | None = None


class Receipt(BaseModel):
    """What was sent for a reply, and its times and token counts; each is None where it is not known."""

    sent: Annotated[SettingTexts | None, Lenient] = None
    numbers: Annotated[Numbers | None, Lenient] = None

    @classmethod
    def parse(cls, text: object) -> "Receipt":
        """Reads a receipt from JSON; an empty one from anything else."""
        try:
            return cls.model_validate_json(text if isinstance(text, str) else "")
        except ValidationError:
            return cls()

    @property
    def request(self) -> ChatSettings | None:
        """The settings that were sent."""
        texts = self.sent.model_dump() if self.sent else {}
        try:
            return ChatSettings.from_texts(texts) if any(texts.values()) else None
        except InputError:
            return None

    def fields(self) -> dict[str, Any]:
        """The fields of `Reply` that the receipt tells."""
        request = self.request
        fields: dict[str, Any] = {"request": request, "model": request.model} if request else {}
        return fields | ({"stats": Stats(**self.numbers.model_dump())} if self.numbers else {})


def receipt(reply: Reply) -> Mapping[str, Any]:
    """The receipt of a reply as JSON values, `{"sent", "numbers"}`; without what is not known."""
    sent = {"sent": reply.request.texts()} if reply.request else {}
    return sent | ({"numbers": asdict(reply.stats)} if sent or reply.stats != Stats() else {})
