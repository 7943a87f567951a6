"""The models that a server lists: read from the list of any generation, and found by name."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama_ui.core.errors import MessageRefused, UnknownModel
from llama_ui.core.text import as_code

GUIDE_MODEL = "Llama3.2-11B-Vision-Instruct"
# Parts of the names of models that do not chat, though OGX lists them as "llm"; they are not chosen unasked. "*" is a
# gateway's wildcard.
_NO_CHAT = re.compile(
    r"(?i)embed|rerank|whisper|transcri|speech|audio|voice|realtime|dall-e|gpt-image|[-_]image\b|imagen|diffus|flux"
    r"|moderation|guard|shield|tts(\b|[-_])|\b(bge|e5|gte|gtr|uae|labse|stella|voyage|instructor|splade|contriever)\b"
    r"|sentence-|text-(similarity|search)|minilm|mpnet|colbert|parakeet|kokoro|\bbark\b|canary|wav2vec|seamless"
    r"|\bvits|eleven_|\bsd(xl|\d)|recraft|ideogram|kandinsky|playground-v|pixart|\b(sora|veo)\b|\*"
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a server's list."""

    id: str
    kind: str | None  # "llm", "embedding", ...; None where the server does not say
    supports_vision: bool | None = None  # None where the server does not say, as most do not

    @property
    def chats(self) -> bool:
        """Whether it can chat, as far as the server says."""
        return self.kind is None or not re.search(
            r"(?i)embed|rank|image|audio|speech|moderation|safety|video", self.kind
        )


def from_listed(item: object) -> Model | None:
    """The model that an item of a server's list describes; None for any other item.

    llama-stack up to 0.3 lists `identifier` and `model_type`, later ones and OGX `id` and `custom_metadata`. Some
    gateways list names alone, or their own `type`.
    """
    if isinstance(item, str):
        item = {"id": item}
    if not isinstance(item, Mapping):
        return None
    model_id = item.get("identifier") or item.get("id") or item.get("name")
    if not (isinstance(model_id, str) and model_id.strip() and model_id.isprintable()):
        return None
    metadata = item.get("custom_metadata")
    own = metadata.get("model_type") if isinstance(metadata, Mapping) else None
    kind = item.get("model_type") or own or item.get("type")
    return Model(model_id, kind if isinstance(kind, str) else None, _supports_vision(item))


def _supports_vision(item: Mapping[str, object]) -> bool | None:
    """By `input_modalities`, in OGX's metadata and in the lists of gateways, or by `capabilities` of other engines."""
    for place in (item, item.get("custom_metadata"), item.get("metadata"), item.get("architecture")):
        match place:
            case {"input_modalities": list() as modalities}:
                return "image" in modalities
            case {"capabilities": {"vision": bool(vision)}}:
                return vision
            case {"capabilities": list() as capabilities}:
                return "vision" in capabilities or "multimodal" in capabilities
    return None


def first_choice(models: Sequence[str]) -> str:
    """The text generation guide's model under any prefix, or else the first that seems to chat.

    Raises:
        UnknownModel: There is none.
    """
    likely = [model for model in models if not _NO_CHAT.search(model)]
    if not likely:
        raise UnknownModel("The server lists no chat model.", "Register one there, or choose the model yourself.")
    return next((model for model in models if model.rpartition("/")[2] == GUIDE_MODEL), likely[0])


def same_model(model: str, models: Sequence[str]) -> str | None:
    """The listed id of a model: its own, or the only one that differs by a provider in front.

    llama-stack up to 0.2 has "tiny" where later ones have "provider/tiny"; so does the text generation guide.
    """
    if model in models:
        return model
    same = [listed for listed in models if listed.endswith(f"/{model}") or model.endswith(f"/{listed}")]
    return same[0] if len(same) == 1 else None


def text_only_model(model: str) -> MessageRefused:
    """The error for images that are sent to a model without vision."""
    fix = "Choose one that can, or undo the message with the picture."
    return MessageRefused(f"The model {as_code(model)} cannot see pictures.", fix)


def unknown_model(model: str, models: Sequence[str]) -> UnknownModel:
    """The error for a model that the server refuses, given the ids that it lists."""
    if model in models:
        sentence = f"The server lists the model {as_code(model)}, but its engine does not have it."
        return UnknownModel(sentence, "Choose another model, or load this one there.")
    by_lower_case = {listed.lower(): listed for listed in models}
    fix = "It lists no chat model at all: register one there."
    if closest := difflib.get_close_matches(model.lower(), by_lower_case, n=1, cutoff=0):
        fix = f"The closest that it has is {as_code(by_lower_case[closest[0]])}: choose it, or another that it lists."
    return UnknownModel(f"The server has no model {as_code(model)}.", fix)
