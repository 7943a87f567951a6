"""The models that a server lists, and the one that a name stands for."""

import pytest

from llama_ui.core.errors import UnknownModel
from llama_ui.llama_stack.models import Model, first_choice, from_listed, same_model, unknown_model

GUIDES = "Llama3.2-11B-Vision-Instruct"
OTHER_KINDS = [
    "openai/text-embedding-3-small",
    "ollama/all-minilm:l6-v2",
    "nomic-embed-text:latest",
    "BAAI/bge-m3",
    "intfloat/e5-large-v2",
    "cohere/rerank-v3.5",
    "openai/whisper-1",
    "openai/tts-1",
    "gpt-4o-mini-transcribe",
    "openai/dall-e-3",
    "gpt-image-1",
    "black-forest-labs/FLUX.1-dev",
    "omni-moderation-latest",
    "meta-llama/Llama-Guard-3-8B",
    "openai/*",
    "voyage-3",
    "xtts_v2",
    "stabilityai/sdxl-turbo",
    "Qwen/Qwen-Image",
    "sentence-transformers/gtr-t5-large",
    "sora-2",
]
CHAT = [
    "meta-llama/Llama-3.2-3B",
    "gpt-5-mini",
    "google/gemma-3-27b-it",
    "Qwen/Qwen3-VL-8B",
    "mistral-small:24b",
    "vitality-7b",
]


@pytest.mark.parametrize(
    ("item", "model"),
    [
        ({"id": "x/chat", "created": 0, "custom_metadata": {"model_type": "llm"}}, Model("x/chat", "llm")),
        ({"id": "x/embed", "custom_metadata": {"model_type": "embedding"}}, Model("x/embed", "embedding")),
        ({"identifier": "chat", "model_type": "llm", "provider_id": "x", "metadata": {}}, Model("chat", "llm")),
        ({"id": "llama", "object": "model", "created": 1, "owned_by": "vllm"}, Model("llama", None)),
        ({"id": "llama", "custom_metadata": {"model_type": 5}}, Model("llama", None)),
        ({"id": "m2-bert", "type": "embedding"}, Model("m2-bert", "embedding")),
        ({"name": "llama"}, Model("llama", None)),
        ("llama", Model("llama", None)),
    ],
)
def test_a_model_is_read_from_the_list_of_any_generation(item: object, model: Model) -> None:
    assert from_listed(item) == model


@pytest.mark.parametrize(
    ("more", "vision"),
    [
        ({}, None),
        ({"custom_metadata": {"model_type": "llm", "input_modalities": ["text"]}}, False),
        ({"custom_metadata": {"model_type": "llm", "input_modalities": ["text", "image"]}}, True),
        ({"architecture": {"input_modalities": ["image", "text"]}}, True),
        ({"capabilities": {"vision": False, "completion_chat": True}}, False),
        ({"capabilities": ["completion", "multimodal"]}, True),
        ({"capabilities": {}, "architecture": "llama", "input_modalities": "image"}, None),
    ],
)
def test_vision_is_read_where_the_server_lists_it(more: dict[str, object], vision: bool | None) -> None:
    model = from_listed({"id": "llama", **more})
    assert model and model.supports_vision is vision


@pytest.mark.parametrize("item", [None, "", 5, [], ["id"], {}, {"id": None}, {"id": 5}])
def test_an_item_that_is_no_model_is_ignored(item: object) -> None:
    assert from_listed(item) is None


def test_only_models_that_generate_text_chat() -> None:
    assert [Model("a", kind).chats for kind in ("llm", "LLM", "chat", None, "embedding", "rerank")] == [True] * 4 + [
        False
    ] * 2


@pytest.mark.parametrize("model", CHAT)
def test_a_chat_model_is_chosen_whatever_its_name(model: str) -> None:
    assert first_choice(["openai/text-embedding-3-small", model]) == model


@pytest.mark.parametrize("prefix", ["", "meta-llama/", "ollama/meta-llama/"])
def test_the_guides_model_comes_first_under_any_prefix(prefix: str) -> None:
    assert first_choice(["one", f"{prefix}{GUIDES}", "two"]) == f"{prefix}{GUIDES}"


def test_without_the_guides_model_the_servers_first_is_chosen() -> None:
    assert first_choice(["one", f"{GUIDES}-GGUF"]) == "one"
    for other in OTHER_KINDS:
        assert first_choice([other, "meta-llama/Llama-3.2-3B"]) == "meta-llama/Llama-3.2-3B", other
        with pytest.raises(UnknownModel, match="choose the model yourself"):
            first_choice([other])
    with pytest.raises(UnknownModel, match="The server lists no chat model"):
        first_choice([])


@pytest.mark.parametrize(
    ("model", "listed", "same"),
    [
        ("tiny", ["engine/tiny", "engine/big"], "engine/tiny"),
        ("engine/tiny", ["tiny", "big"], "tiny"),
        ("meta-llama/Llama-3.2-3B", ["ollama/meta-llama/Llama-3.2-3B"], "ollama/meta-llama/Llama-3.2-3B"),
        ("tiny", ["one/tiny", "two/tiny"], None),
        ("tiny", ["engine/not-tiny", "engine/tiny-2"], None),
        ("one/tiny", ["two/tiny"], None),
        ("engine/tiny", ["engine/tiny", "tiny"], "engine/tiny"),
    ],
)
def test_another_generations_name_is_found_where_only_one_model_can_be_meant(
    model: str, listed: list[str], same: str | None
) -> None:
    assert same_model(model, listed) == same


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        (
            ["other/mistral", "Fake/Llama"],
            "has no model `fake/lama`. The closest that it has is `Fake/Llama`: choose it,",
        ),
        (["x"], "has no model `fake/lama`. The closest that it has is `x`: choose it,"),
        ([], "has no model `fake/lama`. It lists no chat model at all: register one there."),
        (["fake/lama", "fake/llama"], "lists the model `fake/lama`, but its engine does not have it. Choose another"),
    ],
)
def test_the_error_for_an_unknown_model_says_what_to_choose(listed: list[str], text: str) -> None:
    assert str(unknown_model("fake/lama", listed)).startswith(f"The server {text}")
