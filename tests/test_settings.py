"""Where a setting is read from, and the error for a bad value."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_ui.parsers import redact_url
from llama_ui.settings import OPTIONS, Settings, flag_name, load
from tests.support.app_process import ROOT

pytestmark = pytest.mark.loopback  # `host` binds a socket

KEY = "LLAMA_STACK_CLIENT_API_KEY"
ON_COMMAND_LINE = [name for name, option in OPTIONS.items() if not option.env_only]
FLAGS = ["share", "log_content", "no_local", "no_stream", "check", "json"]
# For an option of each type a text and its value; LOGINS stands for a file, made by `samples`.
LOGINS = "alice:one:two"
SAMPLES: dict[str, tuple[str, Any]] = {
    "base_url": (" https://stack.test/llama// ", "https://stack.test/llama"),
    "api_key": (" sk-key\n", "sk-key"),
    "provider_data": ('{"key": "sk-key"}', {"key": "sk-key"}),
    "timeout": ("0.5", 0.5),
    "max_visitors": ("10000", 10_000),
    "system_prompt": ("You are shakespeare.", "You are shakespeare."),
    "host": ("::1", "::1"),
    "port": ("65535", 65535),
    "share": ("YES", True),
    "auth": (LOGINS, (("alice", "one:two"),)),
    "auth_pairs": ("# team\n\nbob: two ", (("bob", " two"),)),
    "trusted_proxies": ("::1,10.0.0.0/8", "::1,10.0.0.0/8"),
    "max_tokens": ("512", 512),
    "log_format": ("json", "json"),
    "local_model": ("hf://owner/repo/file.gguf", "hf://owner/repo/file.gguf"),
    "cache": ("models", Path("models")),
}
NUMBERS = ["0", "-1", "1.5", "many", "٧٨٦٠", "9" * 5000]
BAD = {
    "base_url": ["localhost:8321", "ftp://a", "http://", "http://a:0", "http://a?secret#"],
    "timeout": ["0", "-1", "soon", "nan", "inf", "1000001", "5s"],
    "host": ["not-this-machine.invalid", "203.0.113.1"],
    "port": [*NUMBERS, "65536"],
    "max_visitors": [*NUMBERS, "10001"],
    "max_tokens": NUMBERS,
    "share": ["maybe", "2"],
    "local_model": [__file__, "hf://owner/file.gguf", "hf://owner/repo/file.bin", "/no/such\nfile.gguf"],
    "trusted_proxies": ["*", "a-proxy", "10.0.0.1/8", "10.0.0.1;10.0.0.2", ","],
    "log_format": ["xml"],
}


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.fixture
def samples(tmp_path: Path) -> dict[str, tuple[str, Any]]:
    (tmp_path / "team").write_text(LOGINS)
    return SAMPLES | {"auth": (str(tmp_path / "team"), SAMPLES["auth"][1])}


def error_line(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """The one line on stderr with which `load` exits."""
    with pytest.raises(SystemExit) as exit:
        load(*arguments)
    assert exit.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    assert len(printed.err.splitlines()) == 1
    return printed.err


def test_without_any_source_the_defaults_apply(env_file: Path) -> None:
    env_file.mkdir()  # which is then no source either
    assert load([], {}, env_file) == Settings()


@pytest.mark.parametrize("name", SAMPLES)
def test_an_option_is_read_from_the_env_file_the_environment_and_the_command_line(
    name: str, samples: dict[str, tuple[str, Any]], env_file: Path
) -> None:
    text, value = samples[name]
    variable = OPTIONS[name].variable
    assert getattr(load([], {variable: text}, env_file), name) == value
    if name in ON_COMMAND_LINE:
        assert getattr(load([f"{flag_name(name)}={text}"], {}, env_file), name) == value
    env_file.write_text(f"{variable}='{text}'\n")
    assert getattr(load([], {}, env_file), name) == value


def test_the_command_line_wins_over_the_environment_and_that_over_the_env_file(env_file: Path) -> None:
    env_file.write_text("GRADIO_SERVER_PORT=7001\n")
    assert load([], {}, env_file).port == 7001
    assert load([], {"GRADIO_SERVER_PORT": "7002"}, env_file).port == 7002
    assert load(["--port", "7003"], {"GRADIO_SERVER_PORT": "7002"}, env_file).port == 7003


def test_an_empty_variable_counts_as_unset(env_file: Path) -> None:
    env_file.write_text('GRADIO_SERVER_PORT=7001\nLLAMA_UI_MODEL=\nLLAMA_UI_TIMEOUT=""\nLLAMA_UI_SYSTEM_PROMPT\n')
    assert load([], {"GRADIO_SERVER_PORT": "", KEY: ""}, env_file) == Settings(port=7001)
    assert load(["--system-prompt", ""], {"LLAMA_UI_SYSTEM_PROMPT": "Be brief."}, env_file).system_prompt == ""


def test_the_path_of_a_model_file_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)  # the local stack has another working directory
    assert load(["--local-model", "mine.gguf"], {}).local_model == str(tmp_path / "mine.gguf")


def test_a_better_model_is_given_by_its_name() -> None:
    assert load(["--local-model", "smollm2-360m"], {}).local_model == "smollm2-360m"
    assert load([], {"LLAMA_UI_LOCAL_MODEL": "SmolLM2-1.7B"}).local_model == "smollm2-1.7b"


def test_flags_need_no_value_and_can_be_switched_off(env_file: Path) -> None:
    assert load([*map(flag_name, FLAGS)], {}, env_file) == Settings(**dict.fromkeys(FLAGS, True))
    assert load(["--share", "false"], {"GRADIO_SHARE": "true"}, env_file).share is False
    assert load(["--share=no", "--no-local"], {"GRADIO_SHARE": "true"}, env_file) == Settings(no_local=True)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])
def test_a_bad_value_is_quoted_in_one_line_with_its_option_and_variable(
    name: str, value: str, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variable = OPTIONS[name].variable
    on_command_line = error_line(capsys, [f"{flag_name(name)}={value}"], {}, env_file)
    in_environment = error_line(capsys, [], {variable: value}, env_file)
    for line in (on_command_line, in_environment):
        assert flag_name(name) in line
        assert repr(redact_url(value) if name == "base_url" else value) in line
        assert "secret" not in line
    assert variable in in_environment


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--nonsense=1"], "--nonsense"),
        (["--bas", "http://stack.test"], "--bas"),
        (["--nonsense\nsense"], "--nonsense"),
        (["--port"], "--port"),
    ],
)
def test_an_unknown_option_or_a_missing_value_is_reported_in_one_line(
    arguments: list[str], named: str, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in error_line(capsys, arguments, {}, env_file)


def test_the_key_is_not_accepted_on_the_command_line_and_never_printed(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "sk-secret" not in error_line(capsys, ["--api-key=sk-secret"], {}, env_file)
    settings = load([], {KEY: "sk-secret"}, env_file)
    assert settings.api_key == "sk-secret"
    assert "sk-secret" not in repr(settings)
    assert "sk-secret" not in error_line(capsys, ["--port", "abc"], {KEY: "sk-secret"}, env_file)


@pytest.mark.parametrize("key", ["sk-clé", "sk-“quoted”", "two\nlines"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_printed(
    key: str, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_line(capsys, [], {KEY: key}, env_file)
    assert KEY in line and key not in line


@pytest.mark.parametrize(
    "text", ["'sk-key'", '"sk-key"', "Bearer sk-key", "bearer  sk-key\n", "Authorization: Bearer sk-key"]
)
def test_a_key_may_be_written_as_people_copy_it(text: str, env_file: Path) -> None:
    assert load([], {KEY: text}, env_file).api_key == "sk-key"


def test_the_variables_of_ogx_are_read_after_those_of_llama_stack(env_file: Path) -> None:
    ogx = {"OGX_CLIENT_BASE_URL": "http://ogx.test", "OGX_CLIENT_API_KEY": "sk-ogx"}
    settings = load([], ogx, env_file)
    assert (settings.base_url, settings.api_key) == ("http://ogx.test", "sk-ogx")
    settings = load([], ogx | {KEY: "sk-key", "LLAMA_STACK_CLIENT_BASE_URL": "http://stack.test"}, env_file)
    assert (settings.base_url, settings.api_key) == ("http://stack.test", "sk-key")


def test_provider_data_is_a_json_object_that_is_never_printed(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "LLAMA_STACK_CLIENT_PROVIDER_DATA"
    settings = load([], {name: '{"openai_api_key": "sk-secret"}'}, env_file)
    assert settings.provider_data == {"openai_api_key": "sk-secret"}
    assert "sk-secret" not in repr(settings)
    for text in ("sk-secret", '["sk-secret"]', '{"sk-secret"'):
        line = error_line(capsys, [], {name: text}, env_file)
        assert name in line and "is not a JSON object like" in line and "sk-secret" not in line


def test_a_url_may_have_a_user_name_and_a_password_which_are_never_printed(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(["--base-url", "http://me:secret@stack.test/"], {}, env_file)
    assert settings.base_url == "http://me:secret@stack.test"
    assert "secret" not in repr(settings)
    assert "secret" not in error_line(capsys, ["--base-url", "ftp://me:secret@stack.test"], {}, env_file)


def test_a_logins_file_may_start_with_a_byte_order_mark(tmp_path: Path, env_file: Path) -> None:
    (tmp_path / "team").write_bytes(b"\xef\xbb\xbf# the team\r\n\r\nalice:one:two\r\nbob: three\r\n")
    settings = load(["--auth", str(tmp_path / "team")], {"LLAMA_UI_AUTH": "carol:four"}, env_file)
    assert settings.logins == (("alice", "one:two"), ("bob", " three"), ("carol", "four"))
    assert "three" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"alice:p\xe4ss", "is a file, but not UTF-8 text"),
        (b"alice:pass\nbob:word\nalice:pass", "has the same user twice"),
        (b"# nobody", "must have one user:password per line"),
        (b"alice:", "must have one user:password per line"),
    ],
)
def test_a_bad_logins_file_is_refused_with_a_reason_and_without_its_content(
    content: bytes, reason: str, tmp_path: Path, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "team").write_bytes(content)
    line = error_line(capsys, ["--auth", str(tmp_path / "team")], {}, env_file)
    assert reason in line and "alice" not in line


def test_help_lists_every_option_with_its_variable_even_if_the_sources_are_bad(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_bytes(b"\xff")
    with pytest.raises(SystemExit) as exit:
        load(["--help"], {"GRADIO_SERVER_PORT": "abc"}, env_file)
    assert exit.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in ON_COMMAND_LINE:
        assert flag_name(name) in text
        assert f"[{OPTIONS[name].variable}]" in text
    assert KEY in text and "--api-key" not in text


@pytest.mark.parametrize("value", ["pa$$word", "a${HOME}b", "$HOME", "50%", "%s", "höflich 🦙"])
def test_the_env_file_is_utf_8_and_read_without_interpolation(value: str, env_file: Path) -> None:
    env_file.write_text(
        f'# comment\nexport GRADIO_SERVER_PORT=7999\nOTHER=1\nLLAMA_UI_SYSTEM_PROMPT="{value}"\n', encoding="utf-8"
    )
    assert load([], {"HOME": "/home/somebody"}, env_file) == Settings(port=7999, system_prompt=value)


def test_an_env_file_in_another_encoding_is_reported_in_one_line(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_bytes(f"{KEY}=sk-secret\nLLAMA_UI_SYSTEM_PROMPT=h".encode() + b"\xf6flich\n")
    line = error_line(capsys, [], {}, env_file)
    assert str(env_file) in line and "sk-secret" not in line


def test_a_user_without_a_home_can_start_the_app(tmp_path: Path) -> None:
    code = "import pwd; pwd.getpwuid = lambda _: {}[0]; from llama_ui.settings import Settings; print(Settings().cache)"
    variables = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    started = subprocess.run([sys.executable, "-c", code], env=variables, cwd=ROOT, capture_output=True, text=True)
    assert (started.stdout, started.stderr) == (f"{tmp_path}/llama-ui cache\n", "")
