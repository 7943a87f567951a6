"""Whatever the client library and httpx raise becomes one plain sentence and one thing to do about it."""

import ast
import email.utils
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import llama_stack_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_stack_client import APIConnectionError, APIError, APIStatusError, APITimeoutError

from llama_ui.core.errors import (
    AuthFailed,
    BadReply,
    Busy,
    ChatError,
    ConnectionLost,
    NameNotFound,
    NoAnswer,
    NotALlamaStack,
    NotListening,
    ServerError,
    TimedOut,
    TLSMismatch,
    TooLong,
    UnknownModel,
)
from llama_ui.llama_stack.error_replies import RequestContext
from llama_ui.llama_stack.exception_map import TABLE, connection_lost, explain

URL = "http://stack.test:8321"
MODEL = "some/model"
REQUEST = httpx.Request("POST", f"{URL}/v1/chat/completions")
# What is neither JSON nor text: raised by Python itself.
OF_PYTHON = {"JSONDecodeError", "UnicodeDecodeError", "RecursionError"}
OF_HTTPX = {
    name for name in httpx.__all__ if isinstance(kind := getattr(httpx, name), type) and issubclass(kind, BaseException)
}


def of_the_client_library() -> set[str]:
    """The names of `LlamaStackClientError` and all classes below it, anywhere in the package, from its sources."""
    bases: dict[str, set[str]] = {}
    for path in Path(llama_stack_client.__path__[0]).rglob("*.py"):
        if "Error" in (source := path.read_text(encoding="utf-8")):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.ClassDef):
                    bases[node.name] = {ast.unparse(base).split(".")[-1] for base in node.bases}
    found = {"LlamaStackClientError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found


OF_THE_CLIENT_LIBRARY = of_the_client_library()


def assert_well_said(error: ChatError) -> None:
    assert error.sentence.endswith(".")
    assert error.fix.endswith(".")
    assert str(error) == f"{error.sentence} {error.fix}"
    assert len(str(error).splitlines()) == 1


def told(error: Exception, call: RequestContext | None = None) -> ServerError:
    """What a person is told of an exception."""
    found = explain(error, call or RequestContext(URL, MODEL, timeout=30.0))
    assert found is not None
    assert_well_said(found)
    return found


def answered(status: int, body: object, call: RequestContext | None = None, **headers: str) -> ServerError:
    """What a person is told of an answer with that status and body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx.Response(status, headers=named, request=REQUEST)
    return told(APIStatusError(f"Error code: {status} - {body}", response=response, body=body), call)


def streamed(body: object, call: RequestContext | None = None) -> ServerError:
    """What a person is told of an error inside of a stream: `data: {"error": body}`."""
    return told(APIError("An error occurred during streaming", request=REQUEST, body=body), call)


def of(kind: type[Exception]) -> Exception:
    """An exception of that class."""
    match kind:
        case httpx.HTTPStatusError:
            return httpx.HTTPStatusError("Bad", request=REQUEST, response=httpx.Response(500, request=REQUEST))
        case httpx.StreamConsumed | httpx.StreamClosed | httpx.ResponseNotRead | httpx.RequestNotRead:
            return kind()
        case _:
            return kind("something")


# The table


def test_every_exception_of_the_client_library_is_in_the_table() -> None:
    exported = {name for name in dir(llama_stack_client._exceptions) if name.endswith("Error")}
    assert exported <= OF_THE_CLIENT_LIBRARY, "the sources are not read as they should be"
    assert OF_THE_CLIENT_LIBRARY - TABLE.keys() == set()


def test_every_exception_of_httpx_is_in_the_table() -> None:
    assert OF_HTTPX - TABLE.keys() == set()


def test_the_table_has_no_name_that_no_longer_exists() -> None:
    assert TABLE.keys() - OF_THE_CLIENT_LIBRARY - OF_HTTPX - OF_PYTHON == set()


@pytest.mark.parametrize("name", sorted(OF_HTTPX))
def test_every_exception_of_httpx_is_explained(name: str) -> None:
    assert isinstance(told(of(getattr(httpx, name))), ServerError)


@pytest.mark.parametrize("name", sorted(OF_HTTPX))
def test_every_exception_of_httpx_is_explained_where_the_client_library_wraps_it(name: str) -> None:
    inner = of(getattr(httpx, name))
    wrapped = APIConnectionError(request=REQUEST)
    wrapped.__cause__ = inner
    assert str(told(wrapped)) == str(told(inner))


def test_a_class_of_a_later_version_is_explained_as_the_one_above_it() -> None:
    class SomethingNew(httpx.ConnectError):
        pass

    assert type(told(SomethingNew("new"))) is NotListening


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError("disk full"), ValueError("x"), KeyError("x")])
def test_what_is_none_of_the_librarys_is_not_explained_away(error: Exception) -> None:
    assert explain(error, RequestContext(URL, MODEL)) is None


# The connection


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (httpx.ConnectError("refused"), NotListening, "No server answers"),
        (httpx.UnsupportedProtocol("no scheme"), NotListening, "No server answers"),
        (APIConnectionError(request=REQUEST), NotListening, "No server answers"),
        (APITimeoutError(request=REQUEST), NotListening, "No server answers"),
        (because(httpx.ConnectError("x"), OSError("no route")), NotListening, "No server answers"),
        (because(httpx.ConnectError("x"), socket.gaierror(-2, "unknown")), NameNotFound, "cannot be found"),
        (because(httpx.ConnectError("x"), ssl.SSLError(1, "[SSL: WRONG_VERSION]")), TLSMismatch, "does not speak TLS"),
        (because(httpx.ReadError("x"), ssl.SSLError(1, "[SSL: ALERT]")), TLSMismatch, "does not speak TLS"),
        (httpx.ConnectTimeout("slow"), NotListening, "did not take the connection"),
        (httpx.ProxyError("403"), NotListening, "proxy"),
        (httpx.ReadTimeout("slow"), TimedOut, "no first token for 30 seconds"),
        (httpx.WriteTimeout("slow"), TimedOut, "too long"),
        (httpx.RemoteProtocolError("gone"), NoAnswer, "without an HTTP answer"),
        (httpx.ReadError("reset"), NoAnswer, "without an HTTP answer"),
        (httpx.WriteError("reset"), NoAnswer, "without an HTTP answer"),
        (httpx.DecodingError("gzip"), NotALlamaStack, "does not speak Llama Stack"),
        (httpx.TooManyRedirects("20"), NotALlamaStack, "in a circle"),
    ],
    ids=repr,
)
def test_a_connection_that_fails_before_the_answer_is_explained_with_the_address(
    error: Exception, kind: type[ServerError], sentence: str
) -> None:
    found = told(error)
    assert type(found) is kind
    assert sentence in found.sentence
    assert URL in found.sentence


@pytest.mark.parametrize("error", [httpx.RemoteProtocolError("cut"), httpx.ReadError("reset")], ids=repr)
@pytest.mark.parametrize(("began", "where"), [(True, "in the middle of the reply"), (False, "before the reply")])
def test_a_connection_that_fails_after_the_answer_began_is_lost(error: Exception, began: bool, where: str) -> None:
    call = RequestContext(URL, MODEL, answered=True, began=began)
    found = told(error, call)
    assert type(found) is ConnectionLost
    assert where in found.sentence
    assert str(found) == str(connection_lost(call))


@pytest.mark.parametrize(
    ("timeout", "waited"), [(1.0, "for 1 second."), (300.0, "for 300 seconds."), (0.5, "for 0.5 s")]
)
def test_a_reply_that_stalls_is_told_with_the_seconds_that_were_waited(timeout: float, waited: str) -> None:
    found = told(httpx.ReadTimeout("slow"), RequestContext(URL, MODEL, timeout, answered=True, began=True))
    assert type(found) is TimedOut
    assert f"stalled: nothing came {waited}" in found.sentence
    assert "--timeout" in found.fix


def test_a_server_that_is_slow_to_say_what_it_is_makes_nobody_wait_for_a_token() -> None:
    found = told(httpx.ReadTimeout("slow"), RequestContext(URL))
    assert type(found) is TimedOut
    assert "token" not in str(found) and "--timeout" not in str(found)


def test_an_address_that_ends_in_v1_is_told_with_the_right_one() -> None:
    found = answered(404, {"detail": "Not Found"}, RequestContext(f"{URL}/v1", MODEL))
    assert type(found) is NotALlamaStack
    assert found.fix == f"Leave /v1 off the address: {URL}."


# An answer that is an error


@pytest.mark.parametrize(
    ("status", "detail", "kind", "expected"),
    [
        (400, "top_p is too large", BadReply, "`top_p is too large`"),
        (401, "Authentication required.", AuthFailed, "LLAMA_STACK_CLIENT_API_KEY"),
        (403, "Forbidden", AuthFailed, "LLAMA_STACK_CLIENT_API_KEY"),
        (404, "Model 'some/model' not found. Use 'client.models.list()'", UnknownModel, "`some/model`"),
        (404, "The model `some/model` does not exist.", UnknownModel, "that it lists"),
        (400, "Invalid value: Model 'some/model' not found", UnknownModel, "`some/model`"),
        (404, "Not Found", NotALlamaStack, URL),
        (404, "", NotALlamaStack, "without a path"),
        (405, "Method Not Allowed", NotALlamaStack, URL),
        (408, "Slow", Busy, "`Slow`"),
        (409, "Conflict", BadReply, "409"),
        (422, "Unprocessable", BadReply, "`Unprocessable`"),
        (426, "Client version is not compatible", BadReply, "Update the app, or the server."),
        (429, "Rate limit reached", Busy, "busy (429): `Rate limit reached`"),
        (500, "Internal server error", BadReply, "failed (500)"),
        (502, "Bad gateway", BadReply, "not available (502)"),
        (503, "", BadReply, "not available (503)"),
        (504, "", BadReply, "not available (504)"),
    ],
)
def test_a_status_becomes_a_sentence_with_a_fix(
    status: int, detail: str, kind: type[ServerError], expected: str
) -> None:
    error = answered(status, {"error": {"message": detail}})
    assert type(error) is kind
    assert expected in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "Not so."}}, "Not so."),
        ({"error": "Not so."}, "Not so."),
        ({"detail": "Not so."}, "Not so."),
        ({"detail": {"message": "Not so."}}, "Not so."),
        ({"message": "Not so."}, "Not so."),
        ("Not so.", "Not so."),
        (["Not so.", {"msg": "Nor so."}], "Not so.; Nor so."),
        (
            {"error": {"detail": {"errors": [{"loc": [], "msg": "Field required", "type": "missing"}]}}},
            "Field required",
        ),
        (
            {"detail": [{"loc": ["body", "x"], "msg": "Field required"}, {"msg": "Not a number"}]},
            "Field required; Not a number",
        ),
        (None, "(no text)"),
        ({}, "(no text)"),
        ([], "(no text)"),
        ({"error": None}, "{'error': None}"),
        ({"error": {"message": 5}}, "{'error': {'message': 5}}"),
    ],
)
def test_a_servers_own_words_are_told_without_the_json_around_them(body: object, words: str) -> None:
    assert f"(400): `{words}`." in answered(400, body).sentence


def test_a_route_that_llama_stack_0_1_does_not_have_is_told_as_that() -> None:
    body = {"error": {"detail": "Invalid value: No endpoint found for /v1/chat/completions"}}
    assert type(answered(400, body)) is NotALlamaStack


def test_the_key_that_was_sent_is_not_shown_whatever_it_looks_like() -> None:
    error = answered(
        400, {"detail": "No user has correct-horse, sorry"}, RequestContext(URL, MODEL, key="correct-horse")
    )
    assert "`No user has [key], sorry`" in error.sentence


@pytest.mark.parametrize(
    ("retry_after", "when"),
    [
        ("7", "in 7 seconds"),
        ("1", "in 1 second"),
        ("0", "in 1 second"),
        ("0.2", "in 1 second"),
        ("119", "in 119 seconds"),
        ("600", "in 10 minutes"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "in 1 second"),
        ("soon", "in a moment"),
        ("", "in a moment"),
        ("-5", "in 1 second"),
        ("inf", "in 1440 minutes"),
        ("1e300", "in 1440 minutes"),
        ("nan", "in 1 second"),
    ],
)
@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_the_fix_says_when_the_server_wants_to_be_asked_again(status: int, retry_after: str, when: str) -> None:
    assert answered(status, {"detail": "Later."}, retry_after=retry_after).fix == f"Try again {when}."


def test_the_time_to_ask_again_may_be_a_date() -> None:
    in_two_hours = email.utils.formatdate(time.time() + 7200, usegmt=True)
    assert answered(429, {"detail": "Later."}, retry_after=in_two_hours).fix == "Try again in 120 minutes."


def test_without_a_time_the_fix_is_to_try_again_in_a_moment() -> None:
    assert answered(429, {"detail": "Later."}).fix == "Try again in a moment."


# The engine behind the server

HANDED_ON = [
    (
        "Error code: 401 - {'error': {'message': 'Incorrect API key provided: sk-abc***'}}",
        BadReply,
        "the server's own key",
    ),
    ("Error code: 401", BadReply, "the server's own key"),
    ("Error code: 403 - <html>Forbidden</html>", BadReply, "the server's own key"),
    ("429: Error code: 429 - {'error': {'message': 'Too fast', 'code': None}}", Busy, "is busy (429): `Too fast`"),
    ("Error code: 429 - {'detail': 'Too fast'}", Busy, "is busy (429): `Too fast`"),
    ("Error code: 500 - {'error': 'out of memory'}", BadReply, "failed (500): `out of memory`"),
    ("Error code: 503", BadReply, "is not available (503)"),
    ("Error code: 422 - not a dict {", BadReply, "(422): `not a dict {`"),
    ("Error code: 422 - {[]: 1}", BadReply, "(422): `{[]: 1}`"),
    ("Error code: 404 - 404 page not found", BadReply, "(404): `404 page not found`"),
]


@pytest.mark.parametrize(("detail", "kind", "sentence"), HANDED_ON)
def test_what_the_engine_said_is_told_as_the_engines(detail: str, kind: type[ServerError], sentence: str) -> None:
    for error in (answered(500, {"error": {"message": detail}}), streamed({"message": detail})):
        assert type(error) is kind
        assert error.sentence.startswith("The model engine behind the server")
        assert sentence in error.sentence
        assert "Error code" not in error.sentence and "sk-" not in str(error)


def test_a_model_that_the_engine_does_not_have_is_not_looked_for_under_another_name() -> None:
    detail = "Error code: 404 - {'error': {'message': 'The model `some/model` does not exist.'}}"
    for error in (answered(500, {"detail": detail}), streamed({"message": detail})):
        assert type(error) is BadReply
        assert "engine behind the server has no model `some/model`" in error.sentence


@pytest.mark.parametrize(
    "detail",
    [
        "Unknown parameter 'seed' for this model",
        "No such option for model",
        "Extra inputs are not permitted: content_filter",
        "Unrecognized field: context_length",
        "failed to allocate context size 8192: CUDA out of memory",
    ],
)
def test_a_refusal_that_only_sounds_like_another_is_told_in_the_servers_words(detail: str) -> None:
    error = answered(400, {"error": {"message": detail}})
    assert type(error) is BadReply
    assert f"(400): `{detail}`" in error.sentence


@pytest.mark.parametrize("page", ["Not found. Try our models page.", "No route here. Did you mean /v1/models?"])
def test_a_page_that_is_not_there_is_no_unknown_model(page: str) -> None:
    assert type(answered(404, {"detail": page})) is NotALlamaStack


@pytest.mark.parametrize(
    ("detail", "over"),
    [
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "151,424 more"),
        ("The prompt (5000 tokens) is longer than the context length (4096 tokens)", "904 more"),
        ("prompt is too long: 9000, model maximum context length: 8192", "808 more"),
        ("You sent 40000 tokens, too long for the 32768 maximum context length", "7,232 more"),
        ("Input is too long for requested model.", "too long for the model."),
    ],
)
def test_how_much_too_long_is_told_in_many_engines_words(detail: str, over: str) -> None:
    error = answered(400, {"error": {"message": detail}})
    assert type(error) is TooLong
    assert over in error.sentence


def test_hostile_words_do_not_hold_up_the_app() -> None:
    for text in (
        "violat" * 200_000,
        "9" * 1_000_000 + " > 1",
        "model " * 200_000,
        "/a" * 500_000,
        "[" * 100_000,
        "too many images" * 50_000,
    ):
        answered(400, {"error": {"message": text, "code": text}}, RequestContext(URL, MODEL, images=1))


@pytest.mark.parametrize(
    "words", ["The plain HTTP request was sent to HTTPS port", "Client sent an HTTP request to an HTTPS server."]
)
def test_plain_http_to_a_port_with_tls_is_told(words: str) -> None:
    error = answered(400, words)
    assert type(error) is TLSMismatch
    assert "https://" in error.fix


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ({"message": "boom"}, BadReply, "broke off with an error: `boom`."),
        ("Out of memory", BadReply, "broke off with an error: `Out of memory`."),
        ({"message": "400: Invalid value: Model 'nope' not found"}, UnknownModel, "`some/model`"),
        ({"message": "500: Internal server error"}, BadReply, "failed (500): `Internal server error`"),
        ({"message": "Slow down", "code": 429}, Busy, "(429)"),
        ({"code": 500}, BadReply, "failed (500)"),
        ({"code": 7}, BadReply, "broke off"),
        (None, BadReply, "broke off"),
    ],
)
def test_an_error_inside_the_stream_is_explained(body: object, kind: type[ServerError], expected: str) -> None:
    error = streamed(body)
    assert type(error) is kind
    assert expected in str(error)


# Too long

TOO_LONG = [
    (
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8500 in the messages, "
        "500 in the completion). Please reduce the length of the messages or completion.",
        "9,000 tokens, 808 more than the 8,192",
    ),
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 8192 "
        "tokens and your request has 500 input tokens (8000 > 8192 - 500). None",
        "8,500 tokens, 308 more than the 8,192",
    ),
    (
        "This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens. "
        "Please reduce the length of the input messages.",
        "9,000 tokens, 808 more than the 8,192",
    ),
    (
        "You passed 9000 input tokens and requested 100 output tokens. However, the model's context length is only "
        "8192 tokens, resulting in a maximum input length of 8092 tokens.",
        "9,100 tokens, 908 more than the 8,192",
    ),
    (
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        "9,000 tokens, 808 more than the 8,192",
    ),
    (
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "5,000 tokens, 904 more than the 4,096",
    ),
    ("the request exceeds the available context size. try increasing the context size", ""),
    (
        "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens. "
        "Please reduce the length of the messages.",
        "5,000 tokens, 903 more than the 4,097",
    ),
    ("This model's maximum context length is 128,000 tokens.", "It takes 128,000 tokens."),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and "
        "100 `max_new_tokens`",
        "4,100 tokens, 4 more than the 4,096",
    ),
    (
        "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
        "5,000 tokens, 904 more than the 4,096",
    ),
    ("prompt is too long: 210000 tokens > 200000 maximum", "210,000 tokens, 10,000 more than the 200,000"),
    (f"maximum context length is {'9' * 5000} tokens ({'9' * 5000} > 1 - 1)", ""),
]


@pytest.mark.parametrize(("detail", "much"), TOO_LONG)
@pytest.mark.parametrize("wrap", ["{}", "Error code: 400 - {{'error': {{'message': {!r}}}}}"], ids=["own", "handed on"])
def test_a_conversation_that_is_too_long_is_told_with_by_how_much(detail: str, much: str, wrap: str) -> None:
    said = wrap.format(detail)
    for error in (
        answered(400, {"error": {"message": said}}),
        answered(422, {"error": said}),
        streamed({"message": said}),
    ):
        assert type(error) is TooLong
        assert much in error.sentence
        assert "shorten" in error.fix


@pytest.mark.parametrize("code", ["context_length_exceeded", "exceed_context_size_error"])
def test_a_conversation_that_is_too_long_is_known_by_its_code_alone(code: str) -> None:
    assert type(answered(400, {"error": {"message": "No.", "code": code}})) is TooLong
    assert type(streamed({"message": "No.", "code": code})) is TooLong


# Pictures

HANDED_ON_AS = pytest.mark.parametrize(
    "wrap", ["{}", "Error code: 400 - {{'error': {{'message': {!r}}}}}"], ids=["own", "handed on"]
)
AT_MOST = [
    ("At most {} image(s) may be provided in one request.", 1),
    ("At most {} image(s) may be provided in one prompt. (parameter=image)", 4),
    (
        "You set image={} (or defaulted to 1) in `--limit-mm-per-prompt`, but passed 9 image items in the same prompt.",
        2,
    ),
    ("Too many images in request. Max is {}.", 8),
    ("too many images in the message, max allowed is {}", 8),
    ("The request contains too many images: 9 images were provided, but the model supports a maximum of {} images.", 5),
    ("Too many images provided. This model supports up to {} images", 5),
    ("Too much media: 0 document pages + 9 images > {}", 3),
]
BLIND = [
    "At most 0 image(s) may be provided in one prompt.",
    "At most 0 image(s) may be provided in one prompt. (parameter=image)",
    "some/model is not a multimodal model",
    "facebook/opt-125m is not a multimodal model None",
    "Unknown part type: image_url",
    "Unknown image model type: llama",
    "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
    "unsupported content[].type",
    "Failed to create new sequence: failed to process inputs: this model is missing data required for image input",
    "this model does not support image input (ref: b8bd630e)",
    '"llama3.2:1b" does not support vision',
    "Invalid content type. image_url is only supported by certain models.",
    "Invalid type for 'messages[0].content': expected a string, but got an array instead.",
    "messages[0].content must be a string",
    "'messages.1' : for 'role:user' the following must be satisfied[('messages.1.content' : value must be a string)]",
    "Failed to deserialize the JSON body: messages[1]: unknown variant `image_url`, expected `text` at line 1 column 2",
    "Failed to deserialize the JSON body: messages[2]: invalid type: sequence, expected a string at line 1 column 2901",
    "No endpoints found that support image input",
    "Model does not support images. Please use a model that does.",
    "This model doesn't support the image field for user messages. Remove image and try again.",
    "Cannot preprocess image len(combined_imgs) = 1, len(image_ranges) = 0, please provide valid images",
    "Image input modality is not enabled for models/gemma-3-1b-it",
    "User message image blocks are not supported",
    "Content type 'image_url' is not supported by this model.",
    "Multimodal input not currently supported",
    "The model is not vision-enabled, but a media item was found",
    "Unsupported image input",
    "1 validation error: Input should be 'text'",
]
UNREADABLE = [
    "cannot identify image file <_io.BytesIO object at 0x7f3a8c1d2b60>",
    "Failed to load image: cannot identify image file <_io.BytesIO object at 0x7f3a8c1d2b60>",
    "image file is truncated (4 bytes not processed)",
    "Failed to load image or audio file",
    "Invalid image data",
    "unsupported image format",
    "This image format is not supported.",
    "Invalid image_url: unsupported MIME type 'image/heic'",
    "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg'].",
    "The image data you provided does not represent a valid image. Please check your input and try again.",
    "Could not process image",
    "Unable to process input image. Please retry.",
]
# What is said of pictures and is none of these, or not of pictures at all.
OF_ANOTHER_KIND = [
    "CUDA out of memory while encoding 3 images",
    "This model does not support images larger than 20 MB",
    "This model does not support multiple images and tools",
    "Multiple images are not supported with tools",
    "The model does not support image URLs",
    "image token 128256 is not in the vocabulary",
    "messages[0].content must not be empty",
    "Unsupported parameter: 'reasoning_effort' is not supported with this model.",
    "This model does not support tools",
    "Unknown part type: input_audio",
    "at most 4096 characters are allowed",
    "At most 9 image(s) may be provided in one prompt.",
    "prompting with images is incompatible with system messages",
    "Internal server error: An unexpected error occurred.",
]


def with_pictures(count: int = 1) -> RequestContext:
    return RequestContext(URL, MODEL, 30.0, images=count)


def said_of_pictures(words: str, wrap: str, count: int = 1) -> list[ServerError]:
    """What a person is told of these words about pictures, whatever way they come."""
    said = wrap.format(words)
    return [
        *(answered(status, {"error": {"message": said}}, with_pictures(count)) for status in (400, 422, 500, 501)),
        answered(400, {"detail": said}, with_pictures(count)),
        streamed({"message": said}, with_pictures(count)),
        streamed({"message": f"400: {said}"}, with_pictures(count)),
    ]


@HANDED_ON_AS
@pytest.mark.parametrize(("words", "limit"), AT_MOST)
def test_how_many_pictures_the_model_takes_is_told_in_many_engines_words(words: str, limit: int, wrap: str) -> None:
    for error in said_of_pictures(words.format(limit), wrap, 9):
        assert type(error) is BadReply
        pictures = "1 picture" if limit == 1 else f"{limit} pictures"
        assert error.sentence == f"The model takes at most {pictures} in a conversation, and this one has 9."
        assert error.fix == "Clear the conversation, or send fewer."


@HANDED_ON_AS
@pytest.mark.parametrize("words", BLIND)
def test_a_model_that_cannot_see_is_told_in_many_engines_words(words: str, wrap: str) -> None:
    for error in said_of_pictures(words, wrap):
        assert type(error) is BadReply
        assert error.sentence == "The model `some/model` cannot see pictures."
        assert error.fix == "Choose one that can, or undo the message with the picture."


def test_a_gateway_that_finds_no_model_which_sees_is_no_missing_route() -> None:
    error = answered(404, {"error": {"message": "No endpoints found that support image input"}}, with_pictures())
    assert error.sentence == "The model `some/model` cannot see pictures."


@HANDED_ON_AS
@pytest.mark.parametrize("words", UNREADABLE)
@pytest.mark.parametrize(("count", "which"), [(1, "the picture"), (2, "one of the pictures")])
def test_a_picture_that_the_engine_cannot_read_is_told(words: str, wrap: str, count: int, which: str) -> None:
    who = "The server" if wrap == "{}" else "The model engine behind the server"
    for error in said_of_pictures(words, wrap, count):
        assert type(error) is BadReply
        assert error.sentence == f"{who} cannot read {which}."
        assert "another" in error.fix


def test_a_picture_that_cannot_be_read_is_known_by_its_code_alone() -> None:
    error = answered(400, {"error": {"message": "No.", "code": "invalid_base64_image"}}, with_pictures())
    assert error.sentence == "The server cannot read the picture."


@pytest.mark.parametrize("status", [400, 422, 500, 501])
@pytest.mark.parametrize("words", OF_ANOTHER_KIND)
def test_any_other_refusal_of_a_request_with_a_picture_is_told_in_the_servers_words(words: str, status: int) -> None:
    body = {"error": {"message": words}}
    assert str(answered(status, body, with_pictures(2))) == str(answered(status, body))
    assert f"`{words.replace('`', chr(39))}`" in str(answered(status, body, with_pictures(2)))


@pytest.mark.parametrize("words", [detail for detail, *_ in [*HANDED_ON, *TOO_LONG]])
def test_what_is_not_about_pictures_is_told_as_without_them(words: str) -> None:
    for status in (400, 422, 500, 501):
        body = {"error": {"message": words}}
        assert str(answered(status, body, with_pictures())) == str(answered(status, body))
    assert str(streamed({"message": words}, with_pictures())) == str(streamed({"message": words}))


def test_a_conversation_too_long_by_its_pictures_is_too_long() -> None:
    words = (
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make sure that "
        "`max_model_len` is no smaller than the number of text tokens plus multimodal tokens. For image inputs, the "
        "number of image tokens depends on the number of images, and possibly their aspect ratios as well."
    )
    assert type(answered(400, {"error": {"message": words}}, with_pictures(3))) is TooLong


@pytest.mark.parametrize("words", [*[words.format(2) for words, _ in AT_MOST], *BLIND, *UNREADABLE])
def test_without_a_picture_in_the_request_nothing_is_told_of_pictures(words: str) -> None:
    for error in (answered(400, {"error": {"message": words}}), streamed({"message": words})):
        assert "picture" not in str(error)


@pytest.mark.parametrize("status", [401, 403, 408, 413, 429, 502, 503, 504])
def test_a_status_that_says_what_is_wrong_by_itself_is_believed(status: int) -> None:
    body = {"error": {"message": "this model does not support image input"}}
    assert str(answered(status, body, with_pictures())) == str(answered(status, body))


# The content filter


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "The response was filtered.", "code": "content_filter"}}),
        (400, {"error": {"message": "The prompt triggered Azure OpenAI's content management policy."}}),
        (403, {"detail": "This request violates the safety policy."}),
        (500, {"detail": "Error code: 400 - {'error': {'message': 'Filtered.', 'code': 'content_filter'}}"}),
    ],
)
def test_what_a_content_filter_stops_is_told_as_that(status: int, body: object) -> None:
    assert answered(status, body).sentence == "A content filter stopped the reply."


# Anything

details = st.text() | st.sampled_from(
    [*(detail for detail, *_ in [*HANDED_ON, *TOO_LONG, *AT_MOST]), *BLIND, *UNREADABLE]
)
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | details,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "detail", "message", "errors", "msg", "code", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@given(status=st.integers(400, 599), detail=details, model=st.text(), images=st.integers(0, 9))
def test_any_answer_becomes_one_line_with_a_fix(status: int, detail: str, model: str, images: int) -> None:
    error = answered(status, {"error": {"message": detail}}, RequestContext(URL, model, images=images))
    assert isinstance(error, ServerError)
    assert len(str(error)) < 900


@given(status=st.integers(400, 599), body=json_values)
def test_an_answer_of_any_shape_becomes_one_line_with_a_fix(status: int, body: object) -> None:
    assert isinstance(answered(status, body), ServerError)
    assert isinstance(streamed(body), ServerError)
