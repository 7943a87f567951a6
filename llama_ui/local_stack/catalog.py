"""The better models that the local stack can fetch by name from the Hugging Face Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEMONSTRATION_NAME = "SmolLM2-135M-Instruct"
CHOICE = "local-model"  # the file with the name of the chosen model


@dataclass(frozen=True)
class BetterModel:
    """A GGUF file on the Hub. `memory_megabytes` is an estimate: the file, plus 300 MB for context and server."""

    name: str  # the value of --local-model
    label: str  # its real name, which is shown
    repository: str
    file: str
    megabytes: int  # of the file
    memory_megabytes: int
    licence: str


def _smollm2(size: str, quantization: str, megabytes: int) -> BetterModel:
    label = f"SmolLM2-{size}-Instruct"
    repository, file = f"HuggingFaceTB/{label}-GGUF", f"{label}-{quantization}.gguf".lower()
    return BetterModel(f"smollm2-{size}".lower(), label, repository, file, megabytes, megabytes + 300, "Apache-2.0")


BETTER_MODELS: Mapping[str, BetterModel] = {
    model.name: model for model in (_smollm2("360M", "Q8_0", 386), _smollm2("1.7B", "Q4_K_M", 1060))
}


def real_name(model: str | None) -> str:
    """The name under which the local stack serves a value of `--local-model`; None is the demonstration model."""
    if model is None:
        return DEMONSTRATION_NAME
    return BETTER_MODELS[model].label if model in BETTER_MODELS else Path(model).stem


def read_choice(cache: Path) -> str | None:
    """The name of the better model that was chosen last; None if there is none."""
    try:
        name = (cache / CHOICE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return name if name in BETTER_MODELS else None


def write_choice(cache: Path, name: str) -> None:
    """Stores the choice for the next start. Raises OSError."""
    if read_choice(cache) != name:
        (cache / CHOICE).write_text(name, encoding="utf-8")
