"""What was sent for a reply and how long it took, as JSON: in the page's history, and in exported files.

The JSON may come from anywhere. Malformed values are left out.
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


def _or_default(value: object, validate: Validate) -> object:
    try:
        return validate(value)
    except ValidationError:
        raise PydanticUseDefault from None


Lenient = WrapValidator(_or_default)  # gives a field its default where the value is malformed
CleanText = Annotated[str, AfterValidator(sanitize_text)]
Seconds = Annotated[float, Field(ge=0, lt=1e9, strict=True)]
_Count = Annotated[int, Field(ge=0, lt=10**9)]


class Numbers(BaseModel):
    """The fields of `Stats`."""

    model_config = ConfigDict(strict=True)

    waited: Seconds = 0.0
    first: Seconds | None = None
    generating: Seconds = 0.0
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    estimated: bool = True
    finish_reason: CleanText | None = None


class Receipt(BaseModel):
    """What was sent for a reply, as texts of a form, and its times and token counts, as far as they are known."""

    sent: Annotated[dict[str, CleanText], Lenient] = {}
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
        try:
            return ChatSettings.from_texts(self.sent) if any(self.sent.values()) else None
        except InputError:
            return None

    def fields(self) -> dict[str, Any]:
        """The fields of `Reply` that the receipt has."""
        fields: dict[str, Any] = {"stats": Stats(**self.numbers.model_dump())} if self.numbers else {}
        return fields | ({"request": request, "model": request.model} if (request := self.request) else {})


def receipt(reply: Reply) -> Mapping[str, Any]:
    """The receipt of a reply as JSON values, `{"sent", "numbers"}`; without what is not known."""
    sent = {"sent": reply.request.texts()} if reply.request else {}
    return sent | ({"numbers": asdict(reply.stats)} if sent or reply.stats != Stats() else {})
