"""JSON schemas: which are refused, and what is said of a reply."""

import pytest

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import BadReply, InputError
from llama_ui.core.messages import SamplingOptions, parse_sampling_options
from llama_ui.workbench import schema
from llama_ui.workbench.schema import check_schema, verdict, with_verdict

PERSON = {"type": "object", "properties": {"age": {"type": "integer"}, "names": {"items": {"type": "string"}}}}
PERSON |= {"required": ["age"]}


def options(text: str) -> SamplingOptions:
    return parse_sampling_options(response_format=text)


@pytest.mark.parametrize("text", ["", "{}", '{"type": "object"}', '{"type": "json_object"}', '{"$ref": "http://x/y"}'])
def test_a_schema_may_be_sent(text: str) -> None:
    check_schema(options(text))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"type": "objct"}', "JSON schema is not valid at `type`: "),
        ('{"properties": {"a": 5}}', "JSON schema is not valid at `properties.a`: `5 is not of type "),
        ('{"allOf": [{}, {"required": "a"}]}', "JSON schema is not valid at `allOf[1].required`: "),
        ('{"pattern": "("}', "JSON schema is not valid at `pattern`: "),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        check_schema(options(text))
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"age": 5}', "The reply matches the schema."),
        (' {"age": 5, "names": ["a"]}\n', "The reply matches the schema."),
        ('{"age": "5"}', "The reply does not match the schema at `age`: `'5' is not of type 'integer'`."),
        ('{"age": 5, "names": [2]}', "The reply does not match the schema at `names[0]`: `2 is not of type 'string'`."),
        ("{}", "The reply does not match the schema: `'age' is a required property`."),
        ("[]", "The reply does not match the schema: `[] is not of type 'object'`."),
        ("Here you are: {}", "The reply is not JSON."),
        ('{"age": NaN}', "The reply is not JSON."),
        ("[" * 10_000, "The reply is not JSON."),
    ],
)  # fmt: skip
async def test_a_reply_is_compared_with_its_schema(text: str, sentence: str) -> None:
    assert await verdict(PERSON, text) == sentence


@pytest.mark.parametrize(
    "hostile", [{"$ref": "http://127.0.0.1:9/x"}, {"$ref": "file:///etc/passwd"}, {"$ref": "#/no"}]
)
async def test_no_reference_is_followed_to_another_place(hostile: dict[str, str]) -> None:
    assert await verdict(hostile, "{}") == "The reply could not be checked against the schema."


async def test_a_check_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SECONDS", 0.5)
    slow = {"type": "string", "pattern": "(a+)+$"}
    assert await verdict(slow, f'"{"a" * 50}!"') == "It took too long to check the reply against the schema."


async def test_a_whole_reply_has_its_verdict() -> None:
    asked = options('{"type": "array"}')
    reply = await with_verdict(Reply("[]", ended=True, ending="It was short."), asked)
    assert reply.ending == "It was short. The reply matches the schema."
    failed = Reply("[", ended=True, error=BadReply("No.", ""))
    assert [await with_verdict(failed, asked), await with_verdict(Reply(), asked)] == [failed, Reply()]
    assert await with_verdict(Reply("x"), SamplingOptions()) == Reply("x")
