"""The models that a server lists: read from every generation's list, and found by name.  Pure."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from llama_ui.core.errors import BadReply, UnknownModel
from llama_ui.core.text import as_code

GUIDE_MODEL = "Llama3.2-11B-Vision-Instruct"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the server lists it. `kind` is "llm", "embedding", ...; None where the server does not say.

    `sees`: whether it takes pictures; None where the server does not say, as most do not.
    """

    id: str
    kind: str | None
    supports_vision: bool | None = None

    @property
    def chats(self) -> bool:
        return self.kind in (None, "llm")


def from_listed(item: object) -> Model | None:
    """A model of a server's list; None for what is none.

    llama-stack up to 0.3 lists `identifier` and `model_type`; later ones and OGX `id`, and the kind inside
    `custom_metadata`; a plain engine `id` alone.
    """
    if not isinstance(item, Mapping):
        return None
    model_id = next(filter(_usable, (item.get("identifier"), item.get("id"))), None)
    metadata = item.get("custom_metadata")
    kind = item.get("model_type") or (metadata.get("model_type") if isinstance(metadata, Mapping) else None)
    return Model(model_id, kind if isinstance(kind, str) else None, _sees(item)) if model_id else None


def _sees(item: Mapping[str, object]) -> bool | None:
    """By `input_modalities`, which OGX's own tools read in a model's metadata, and gateways list beside the id; or by
    `capabilities`, a list of names, or names with true and false."""
    for place in (item, item.get("custom_metadata"), item.get("metadata"), item.get("architecture")):
        match place:
            case {"input_modalities": list() as modalities}:
                return "image" in modalities
            case {"capabilities": {"vision": bool(sees)}}:
                return sees
            case {"capabilities": list() as capabilities}:
                return "vision" in capabilities or "multimodal" in capabilities
    return None


def _usable(model_id: object) -> TypeGuard[str]:
    """Whether it can be shown, and sent back."""
    return isinstance(model_id, str) and bool(model_id.strip()) and model_id.isprintable()


def first_choice(models: Sequence[str]) -> str:
    """The model to begin with: the text generation guide's, under whatever prefix, else the first.

    Raises `UnknownModel` where there is none.
    """
    if not models:
        raise UnknownModel("The server lists no chat model.", "Register one there, or say its id as the model.")
    return next((model for model in models if model.rpartition("/")[2] == GUIDE_MODEL), models[0])


def same_model(model: str, models: Sequence[str]) -> str | None:
    """The model itself where it is listed, else the one that differs by a provider's name in front alone.

    llama-stack up to 0.2 says "tiny" where later ones say "engine/tiny", and so does the text generation guide.
    """
    if model in models:
        return model
    same = [listed for listed in models if listed.endswith(f"/{model}") or model.endswith(f"/{listed}")]
    return same[0] if len(same) == 1 else None


def text_only_model(model: str) -> BadReply:
    """What to tell of a model that takes no pictures."""
    fix = "Choose one that can, or undo the message with the picture."
    return BadReply(f"The model {as_code(model)} cannot see pictures.", fix)


def unknown_model(model: str, models: Sequence[str]) -> UnknownModel:
    """What to tell of a model that the server refuses, given the ids that it lists."""
    if model in models:
        return UnknownModel(
            f"The server lists the model {as_code(model)}, but its engine does not have it.",
            "Choose another model, or load this one there.",
        )
    lower = {listed.lower(): listed for listed in models}
    closest = difflib.get_close_matches(model.lower(), lower, n=1, cutoff=0)
    return UnknownModel(
        f"The server has no model {as_code(model)}.",
        f"The closest that it has is {as_code(lower[closest[0]])}: choose it, or another that it lists."
        if closest
        else "It lists no chat model at all: register one there.",
    )
