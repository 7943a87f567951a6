"""What was sent for a reply and how long it took, as JSON of any origin: malformed values are left out."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, PlainValidator, TypeAdapter, ValidationError, WrapValidator
from pydantic import ValidatorFunctionWrapHandler as Validate
from pydantic_core import PydanticUseDefault

from llama_ui.core.conversation import SETTINGS, ChatSettings, Reply
from llama_ui.core.errors import InputError
from llama_ui.core.messages import sanitize_text
from llama_ui.core.stats import Stats

CleanText = Annotated[str, AfterValidator(sanitize_text)]
_ALWAYS = SETTINGS[: SETTINGS.index("response_format")]
_TEXTS = TypeAdapter(dict[str, CleanText])


def _or_default(value: object, validate: Validate) -> object:
    try:
        return validate(value)
    except (ValidationError, InputError):
        raise PydanticUseDefault from None


Lenient = WrapValidator(_or_default)  # gives a field its default where the value is malformed


def _read_settings(texts: object) -> ChatSettings:
    return ChatSettings.from_texts(_TEXTS.validate_python(texts))


def _in_range(stats: Stats) -> Stats:
    numbers = (stats.waited, stats.first or 0, stats.generating, stats.prompt_tokens, stats.completion_tokens)
    if not all(0 <= number < 1e9 for number in numbers):
        raise ValueError("A number is out of range.")
    return stats


class Receipt(BaseModel):
    """The settings that were sent for a reply, and its times and token counts, as far as they are known."""

    sent: Annotated[ChatSettings | None, PlainValidator(_read_settings), Lenient] = None
    numbers: Annotated[Annotated[Stats, AfterValidator(_in_range)] | None, Lenient] = None
    refused: Annotated[bool, Lenient] = False

    @classmethod
    def parse(cls, text: object) -> "Receipt":
        """Reads a receipt from JSON; an empty one from anything else."""
        try:
            return cls.model_validate_json(text if isinstance(text, str) else "")
        except ValidationError:
            return cls()

    def fields(self) -> dict[str, Any]:
        """The fields of `Reply` that the receipt has."""
        fields: dict[str, Any] = {"stats": self.numbers} if self.numbers else {}
        fields |= {"refused": True} if self.refused else {}
        return fields | ({"request": self.sent, "model": self.sent.model} if self.sent else {})


def sent_texts(request: ChatSettings) -> dict[str, str]:
    """The settings of a request as texts. What is under "Request" on the page is left out where it is not set."""
    return {name: text for name, text in request.texts().items() if text or name in _ALWAYS}


def receipt(reply: Reply) -> Mapping[str, Any]:
    """The receipt of a reply as JSON values, `{"sent", "numbers", "refused"}`; without what is not known."""
    sent: dict[str, Any] = {"sent": sent_texts(reply.request)} if reply.request else {}
    sent |= {"refused": True} if reply.refused else {}
    optional = ("mean_probability", "lowest_probability")
    numbers = {name: value for name, value in asdict(reply.stats).items() if value is not None or name not in optional}
    return sent | ({"numbers": numbers} if sent or reply.stats != Stats() else {})
