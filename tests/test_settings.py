"""Where a setting comes from, and what a bad one gets."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from llama_ui.parsers import shown_url
from llama_ui.settings import OPTIONS, Settings, flag_name, load, table

pytestmark = pytest.mark.loopback  # whether a host is this machine's is found out with a socket

KEY = "LLAMA_STACK_CLIENT_API_KEY"
LOGINS = Path(tempfile.mkdtemp(prefix="logins-"))
atexit.register(shutil.rmtree, LOGINS)
for name in ("alice", "bob", "carol"):
    (LOGINS / name).write_text(f"# who may come in\n\n{name}:it's {name}\n")
# For each option three values as they are written, and what is read from them.
SAMPLES: dict[str, list[tuple[str, Any]]] = {
    "base_url": [(f"http://stack{number}.test:8321", f"http://stack{number}.test:8321") for number in range(3)],
    "api_key": [("key-0", "key-0"), ("key-1", "key-1"), ("key-2", "key-2")],
    "model": [("one/model", "one/model"), ("two", "two"), ("three", "three")],
    "timeout": [("30", 30.0), ("0.5", 0.5), ("3600", 3600.0)],
    "max_visitors": [("1", 1), ("50", 50), ("1000", 1000)],
    "system_prompt": [
        ("You are shakespeare.", "You are shakespeare."),
        ("Be brief.", "Be brief."),
        ("Rhyme.", "Rhyme."),
    ],
    "host": [("0.0.0.0", "0.0.0.0"), ("localhost", "localhost"), ("::1", "::1")],
    "port": [("1", 1), ("7861", 7861), ("65535", 65535)],
    "share": [("true", True), ("off", False), ("YES", True)],
    "auth": [(str(LOGINS / name), ((name, f"it's {name}"),)) for name in ("alice", "bob", "carol")],
    "auth_pairs": [
        ("alice:one", (("alice", "one"),)),
        ("bob: two ", (("bob", " two"),)),
        ("carol:three:four", (("carol", "three:four"),)),
    ],
    "trusted_proxies": [("10.0.0.1", "10.0.0.1"), ("10.0.0.0/8", "10.0.0.0/8"), ("::1,127.0.0.1", "::1,127.0.0.1")],
    "messages_per_minute": [("1", 1), ("60", 60), ("1000", 1000)],
    "replies_at_once": [("1", 1), ("2", 2), ("10", 10)],
    "visitors_per_address": [("1", 1), ("30", 30), ("500", 500)],
    "max_tokens": [("1", 1), ("512", 512), ("100000", 100_000)],
    "max_history_chars": [("1", 1), ("5000", 5000), ("1000000", 1_000_000)],
    "log_format": [("json", "json"), ("logfmt", "logfmt"), ("json", "json")],
    "log_content": [("1", True), ("0", False), ("on", True)],
    "no_local": [("1", True), ("0", False), ("on", True)],
    "local_model": [
        (f"hf://owner/repo/file{number}.gguf", f"hf://owner/repo/file{number}.gguf") for number in range(3)
    ],
    "cache": [("/tmp/one", Path("/tmp/one")), ("/tmp/two", Path("/tmp/two")), ("/tmp/three", Path("/tmp/three"))],
    "max_message_chars": [("1", 1), ("500", 500), ("100000", 100_000)],
    "max_image_side": [("1", 1), ("768", 768), ("2048", 2048)],
    "no_stream": [("yes", True), ("off", False), ("1", True)],
    "check": [("true", True), ("off", False), ("1", True)],
    "json": [("yes", True), ("0", False), ("on", True)],
}
FLAGS = ["share", "log_content", "no_local", "no_stream", "check", "json"]
PUBLIC = [name for name, option in OPTIONS.items() if not option.secret]
BAD = {
    "base_url": [
        "localhost:8321",
        "ftp://stack.test",
        "http://",
        "nonsense",
        "http://stack.test:99999",
        "http://stack.test:abc",
        "http://me:secret@stack.test",
        "http://stack.test?key=secret",
        "http://stack.test#part",
        "http://stack.test:0",
        "http://stack.test/?",
        "http://stack.test/#",
        "http://stack\n.test",
    ],
    "timeout": ["0", "-1", "soon", "nan", "inf", "1000001", "5s"],
    "max_visitors": ["0", "-1", "1.5", "many", "2" * 400],
    "max_image_side": ["0", "-1", "1.5", "10001", "large", "2" * 400],
    "check": ["maybe", "2"],
    "json": ["maybe", "2"],
    "port": ["0", "65536", "-5", "abc", "78.60", "٧٨٦٠", "9" * 400],
    "share": ["maybe", "2"],
    "no_local": ["maybe", "2"],
    "no_stream": ["maybe", "2"],
    "local_model": ["/no/such/file.gguf", "hf://owner/file.gguf", "hf://owner/repo/file.bin", "/no/such\nfile.gguf"],
    "max_message_chars": ["0", "-1", "many", "1.5"],
    "trusted_proxies": ["*", "a-proxy", "10.0.0.1/8", "10.0.0.1;10.0.0.2", ","],
    "messages_per_minute": ["0", "-1", "many"],
    "replies_at_once": ["0", "-1", "many"],
    "visitors_per_address": ["0", "-1", "many"],
    "max_tokens": ["0", "-1", "many"],
    "max_history_chars": ["0", "-1", "many"],
    "log_format": ["xml", "text"],
    "log_content": ["maybe", "2"],
}
EACH_BAD_VALUE = pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def complaint(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """The one line by which `load` refuses."""
    with pytest.raises(SystemExit) as refusal:
        load(*arguments)
    assert refusal.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    assert len(printed.err.splitlines()) == 1
    return printed.err


def test_every_option_is_tested_here() -> None:
    assert SAMPLES.keys() == OPTIONS.keys()


def test_a_file_of_logins_may_begin_with_a_byte_order_mark(tmp_path: Path, env_file: Path) -> None:
    (tmp_path / "team").write_bytes(b"\xef\xbb\xbf# the team: us\r\n\r\nalice:one:two\r\nbob: three\r\n")
    assert load(["--auth", str(tmp_path / "team")], {}, env_file).logins == (("alice", "one:two"), ("bob", " three"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"alice:p\xe4ss", "is a file, but no text in UTF-8"),
        (b"alice:one\nbob:two\nalice:three", "has a user twice"),
        (b"# nobody", "must be pairs of user:password, one a line"),
    ],
)
def test_a_file_of_logins_that_is_none_is_refused_with_a_reason(
    content: bytes, told: str, tmp_path: Path, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "team").write_bytes(content)
    shown = complaint(capsys, ["--auth", str(tmp_path / "team")], {}, env_file)
    assert told in shown and "one" not in shown.replace("one a line", "")


def test_without_anything_set_the_defaults_hold(env_file: Path) -> None:
    settings = load([], {}, env_file)
    assert settings == Settings()
    assert settings.base_url is None
    assert settings.api_key is None
    assert settings.host == "127.0.0.1"
    assert settings.port is None
    assert settings.share is False
    assert settings.no_local is False
    assert settings.max_message_chars == 32_000
    assert settings.timeout == 300.0
    assert (settings.no_stream, settings.check, settings.json) == (False, False, False)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_env_file_wins_over_the_default(name: str, env_file: Path) -> None:
    for written, value in SAMPLES[name]:
        env_file.write_text(f"{OPTIONS[name].variable}='{written}'\n")
        assert getattr(load([], {}, env_file), name) == value


@pytest.mark.parametrize("name", OPTIONS)
def test_the_environment_wins_over_the_env_file(name: str, env_file: Path) -> None:
    variable = OPTIONS[name].variable
    for (written, value), (other, _) in zip(SAMPLES[name], SAMPLES[name][1:], strict=False):
        env_file.write_text(f"{variable}='{other}'\n")
        assert getattr(load([], {variable: written}, env_file), name) == value


@pytest.mark.parametrize("name", PUBLIC)
def test_the_command_line_wins_over_the_environment_and_the_env_file(name: str, env_file: Path) -> None:
    variable = OPTIONS[name].variable
    first, second, third = SAMPLES[name]
    for (written, value), (other, _), (another, _) in [(first, second, third), (second, third, first)]:
        env_file.write_text(f"{variable}='{another}'\n")
        assert getattr(load([flag_name(name), written], {variable: other}, env_file), name) == value
        assert getattr(load([f"{flag_name(name)}={written}"], {variable: other}, env_file), name) == value


@pytest.mark.parametrize("name", OPTIONS)
def test_an_empty_variable_counts_as_not_set(name: str, env_file: Path) -> None:
    variable = OPTIONS[name].variable
    assert load([], {variable: ""}, env_file) == Settings()
    written, value = SAMPLES[name][0]
    env_file.write_text(f"{variable}='{written}'\n")
    assert getattr(load([], {variable: ""}, env_file), name) == value


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("line", ["{}", "{}=", '{}=""'])
def test_an_empty_line_in_the_env_file_counts_as_not_set(name: str, line: str, env_file: Path) -> None:
    env_file.write_text(line.format(OPTIONS[name].variable) + "\n")
    assert load([], {}, env_file) == Settings()


def test_an_empty_system_prompt_on_the_command_line_means_none(env_file: Path) -> None:
    assert load(["--system-prompt", ""], {"LLAMA_UI_SYSTEM_PROMPT": "Be brief."}, env_file).system_prompt == ""


@pytest.mark.parametrize(
    ("arguments", "share"),
    [
        ([], True),
        (["--share"], True),
        (["--share", "--no-local"], True),
        (["--share", "true"], True),
        (["--share", "false"], False),
        (["--share=no"], False),
    ],
)
def test_share_works_with_and_without_a_value(arguments: list[str], share: bool, env_file: Path) -> None:
    assert load(arguments, {"GRADIO_SHARE": "true"}, env_file).share is share


@pytest.mark.parametrize("name", FLAGS)
def test_a_switch_is_switched_on_by_its_name_alone(name: str, env_file: Path) -> None:
    assert load([flag_name(name)], {}, env_file) == Settings(**{name: True})
    told = Settings(share=True, log_content=True, no_local=True, no_stream=True, check=True, json=True)
    assert load([*map(flag_name, FLAGS)], {}, env_file) == told


@pytest.mark.parametrize("arguments", [["--check"], ["--json"], ["--check", "--json"]])
def test_where_the_server_is_to_be_looked_at_a_bad_address_is_left_to_be_told_then(
    arguments: list[str], env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(["--base-url", "nonsense", *arguments], {}, env_file).base_url == "nonsense"
    assert load(arguments, {"LLAMA_STACK_CLIENT_BASE_URL": "nonsense"}, env_file).base_url == "nonsense"
    assert "--port" in complaint(capsys, ["--port", "abc", *arguments], {}, env_file)


@pytest.mark.parametrize(
    "written", ["http://stack.test:8321/", "http://stack.test:8321//", "  http://stack.test:8321 "]
)
def test_a_slash_or_a_space_at_the_end_of_the_address_does_no_harm(written: str, env_file: Path) -> None:
    assert load(["--base-url", written], {}, env_file).base_url == "http://stack.test:8321"


def test_the_address_of_a_server_behind_a_path_is_kept(env_file: Path) -> None:
    assert load(["--base-url", "https://stack.test/llama/"], {}, env_file).base_url == "https://stack.test/llama"


@EACH_BAD_VALUE
def test_a_bad_value_on_the_command_line_is_named_with_its_option(
    name: str, value: str, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, [f"{flag_name(name)}={value}"], {}, env_file)
    assert flag_name(name) in line
    assert repr(shown_url(value) if name == "base_url" else value) in line
    assert "secret" not in line


@EACH_BAD_VALUE
def test_a_bad_value_in_the_environment_is_named_with_its_option_and_variable(
    name: str, value: str, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variable = OPTIONS[name].variable
    line = complaint(capsys, [], {variable: value}, env_file)
    assert flag_name(name) in line
    assert variable in line
    assert repr(shown_url(value) if name == "base_url" else value) in line
    assert "secret" not in line


def test_a_bad_value_in_the_env_file_is_named_with_its_option_and_variable(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_text("GRADIO_SERVER_PORT=front door\n")
    line = complaint(capsys, [], {}, env_file)
    assert "--port" in line
    assert "GRADIO_SERVER_PORT" in line
    assert "'front door'" in line


@pytest.mark.parametrize(
    "arguments",
    [["--nonsense"], ["--nonsense", "1"], ["--bas", "http://stack.test"], ["nonsense"], ["--nonsense\nsense"]],
)
def test_an_unknown_option_gets_one_line_that_names_it(
    arguments: list[str], env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert arguments[0].splitlines()[0] in complaint(capsys, arguments, {}, env_file)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in FLAGS])
def test_an_option_without_its_value_gets_one_line_that_names_it(
    name: str, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flag_name(name) in complaint(capsys, [flag_name(name)], {}, env_file)


def test_the_key_is_not_taken_from_the_command_line(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--api-key" in complaint(capsys, ["--api-key", "sk-secret"], {}, env_file)


@pytest.mark.parametrize("written", ["sk-secret\n", " sk-secret "])
def test_white_space_around_the_key_is_no_part_of_it(written: str, env_file: Path) -> None:
    # A secret read from a file ends with a line break, and no header can carry one.
    assert load([], {KEY: written}, env_file).api_key == "sk-secret"


def test_the_key_is_in_nothing_that_is_printed(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {KEY: "sk-secret"}
    settings = load([], environment, env_file)
    assert settings.api_key == "sk-secret"
    assert "sk-secret" not in f"{settings} {settings!r} {table()}"
    with pytest.raises(SystemExit):
        load(["--help"], environment, env_file)
    assert "sk-secret" not in capsys.readouterr().out
    assert "sk-secret" not in complaint(capsys, ["--port", "abc"], environment, env_file)


def test_help_lists_each_option_with_its_variable(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        load(["--help"], {}, env_file)
    assert end.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in PUBLIC:
        assert flag_name(name) in shown
        assert f"[{OPTIONS[name].variable}]" in shown
    assert KEY in shown
    assert "--api-key" not in shown


def test_help_works_where_the_env_file_and_the_environment_are_bad(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_bytes(b"\xff")
    with pytest.raises(SystemExit) as end:
        load(["--help"], {"GRADIO_SERVER_PORT": "abc"}, env_file)
    assert end.value.code == 0
    assert "--base-url" in capsys.readouterr().out


def test_the_table_for_the_readme_has_each_variable_once() -> None:
    for name, option in OPTIONS.items():
        assert table().count(f"`{option.variable}` |") == 1
        assert (flag_name(name) in table()) is not option.secret


@pytest.mark.parametrize("value", ["pa$$word", "a${HOME}b", "$HOME", "50%", "%s"])
def test_a_dollar_sign_in_the_env_file_stays_as_it_is(value: str, env_file: Path) -> None:
    env_file.write_text(f'{KEY}={value}\nLLAMA_UI_SYSTEM_PROMPT="{value}"\n')
    settings = load([], {"HOME": "/home/somebody"}, env_file)
    assert settings.api_key == value
    assert settings.system_prompt == value


def test_the_env_file_is_read_as_utf_8(env_file: Path) -> None:
    env_file.write_bytes("LLAMA_UI_SYSTEM_PROMPT=Sei höflich 🦙\n".encode())
    assert load([], {}, env_file).system_prompt == "Sei höflich 🦙"


def test_an_env_file_that_is_not_utf_8_gets_one_line_that_names_it(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_bytes(f"{KEY}=sk-secret\nLLAMA_UI_SYSTEM_PROMPT=h".encode() + b"\xf6flich\n")
    line = complaint(capsys, [], {}, env_file)
    assert str(env_file) in line
    assert "sk-secret" not in line


def test_no_env_file_and_a_folder_of_that_name_are_both_fine(env_file: Path) -> None:
    assert load([], {}, env_file) == Settings()
    env_file.mkdir()
    assert load([], {}, env_file) == Settings()


def test_other_lines_in_the_env_file_are_ignored(env_file: Path) -> None:
    env_file.write_text("# a comment\nexport GRADIO_SERVER_PORT=7999\nSOMETHING_ELSE=1\n")
    assert load([], {}, env_file) == Settings(port=7999)


def test_the_settings_are_read_from_what_is_given_and_nothing_else(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7999")
    assert load([], {}, env_file).port is None


@pytest.mark.parametrize("key", ["sk-clé", "sk-“quoted”", "two\nlines"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load([], {"LLAMA_STACK_CLIENT_API_KEY": key}, tmp_path / ".env")
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (2, 1)
    assert "LLAMA_STACK_CLIENT_API_KEY" in told and key not in told
