"""The models that a server lists, and the one that a name stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.errors import UnknownModel
from llama_ui.llama_stack.models import Model, first_choice, from_listed, same_model, unknown_model

GUIDES = "Llama3.2-11B-Vision-Instruct"


@pytest.mark.parametrize(
    ("item", "model"),
    [
        ({"id": "x/chat", "created": 0, "custom_metadata": {"model_type": "llm"}}, Model("x/chat", "llm")),
        ({"id": "x/embed", "custom_metadata": {"model_type": "embedding"}}, Model("x/embed", "embedding")),
        ({"identifier": "chat", "model_type": "llm", "provider_id": "x", "metadata": {}}, Model("chat", "llm")),
        ({"id": "llama", "object": "model", "created": 1, "owned_by": "vllm"}, Model("llama", None)),
        ({"id": "llama", "custom_metadata": None}, Model("llama", None)),
        ({"id": "llama", "custom_metadata": {"model_type": 5}}, Model("llama", None)),
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
        ({"metadata": {"input_modalities": ["text"]}}, False),
        ({"architecture": {"input_modalities": ["image", "text"]}}, True),
        ({"capabilities": {"vision": False, "completion_chat": True}}, False),
        ({"capabilities": ["completion", "multimodal"]}, True),
        ({"capabilities": ["completion"]}, False),
        ({"capabilities": {}, "architecture": "llama", "input_modalities": "image"}, None),
    ],
)
def test_vision_is_read_where_the_server_tells(more: dict[str, object], vision: bool | None) -> None:
    model = from_listed({"id": "llama", **more})
    assert model and model.supports_vision is vision


@pytest.mark.parametrize("item", [None, "llama", 5, [], ["id"], {}, {"id": None}, {"id": 5}])
def test_an_item_that_is_no_model_is_ignored(item: object) -> None:
    assert from_listed(item) is None


def test_only_models_that_generate_text_chat() -> None:
    assert [Model("a", kind).chats for kind in ("llm", None, "embedding", "rerank")] == [True, True, False, False]


@pytest.mark.parametrize("prefix", ["", "meta-llama/", "ollama/meta-llama/"])
def test_the_guides_model_comes_first_under_any_prefix(prefix: str) -> None:
    assert first_choice(["one", f"{prefix}{GUIDES}", "two"]) == f"{prefix}{GUIDES}"


def test_without_the_guides_model_the_servers_first_is_chosen() -> None:
    assert first_choice(["one", f"{GUIDES}-GGUF"]) == "one"


def test_without_any_model_there_is_no_first_choice() -> None:
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
        ("tiny", ["tiny"], "tiny"),
        ("engine/tiny", ["engine/tiny", "tiny"], "engine/tiny"),
        ("tiny", [], None),
    ],
)
def test_another_generations_name_is_found_where_only_one_model_can_be_meant(
    model: str, listed: list[str], same: str | None
) -> None:
    assert same_model(model, listed) == same


def test_the_error_for_an_unknown_model_names_the_closest_one() -> None:
    error = unknown_model("fake/lama", ["other/mistral", "Fake/Llama", "fake/embed"])
    assert error.sentence == "The server has no model `fake/lama`."
    assert error.fix == "The closest that it has is `Fake/Llama`: choose it, or another that it lists."


def test_where_no_model_is_listed_the_fix_is_to_register_one() -> None:
    error = unknown_model("some/model", [])
    assert error.sentence == "The server has no model `some/model`."
    assert error.fix == "It lists no chat model at all: register one there."


def test_a_model_that_is_listed_and_refused_is_not_called_unknown() -> None:
    error = unknown_model("some/model", ["some/model", "some/models"])
    assert error.sentence == "The server lists the model `some/model`, but its engine does not have it."
    assert "another" in error.fix


@given(model=st.text(), listed=st.lists(st.text(min_size=1), min_size=1))
def test_however_unlike_the_names_are_one_that_is_listed_is_offered(model: str, listed: list[str]) -> None:
    error = unknown_model(model, listed)
    assert error.sentence.endswith(".") and error.fix.endswith(".")
    assert len(str(error).splitlines()) == 1
    if model not in listed:
        assert "The closest that it has is `" in error.fix
