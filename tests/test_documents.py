"""The documents agree with the code, the pins and the files."""

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from llama_ui.settings import OPTIONS, load, table
from tests.support.app_process import ROOT

README = (ROOT / "README.md").read_text()
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / ".env.example", *sorted((ROOT / "docs").glob("*.md"))]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
TABLE_COMMAND = '.venv/bin/python -c "from llama_ui.settings import table; print(table())"'
REGISTRIES = r"pypi\.org|pythonhosted|huggingface\.co|\bhf\.co|npmjs|docker\.io|ghcr\.io|--(extra-)?index-url"
MACHINE_PATHS = r"(?<![\w.~])/(home|root|Users|work|tmp|opt|mnt)/|[A-Z]:\\"


def pin(package: str) -> str:
    match = re.search(rf"^{package}==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert match, f"requirements.txt does not pin {package}"
    return match[1]


def test_the_front_matter_of_a_space_agrees_with_the_pins() -> None:
    opening, front, _ = README.split("---\n", 2)
    fields = {name: value.strip().strip('"') for name, value in (line.split(":", 1) for line in front.splitlines())}
    assert opening == "", "the front matter must be at the very top"
    assert fields["sdk"] == "gradio"
    assert fields["sdk_version"] == pin("gradio")
    assert fields["python_version"] == (ROOT / ".python-version").read_text().strip() == "3.12"
    assert (ROOT / fields["app_file"]).is_file()
    assert {"title", "emoji", "colorFrom", "colorTo", "pinned", "suggested_hardware"} <= fields.keys()
    assert len(fields["short_description"]) <= 60, "a Space refuses a longer one"


def test_the_settings_table_is_up_to_date() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    in_document = text.split("<!-- settings -->\n")[1].split("\n<!-- /settings -->")[0]
    assert in_document == table(), f"replace the table in docs/settings.md with the output of: {TABLE_COMMAND}"


@pytest.mark.parametrize("name", OPTIONS)
def test_the_example_env_file_has_each_setting_with_its_help(name: str) -> None:
    option = OPTIONS[name]
    assert f"\n#{option.variable}=" in ENV_EXAMPLE, "add the line, commented out, below its help"
    comments = " ".join(ENV_EXAMPLE.replace("\n# ", " ").split())
    assert option.help[1:] in comments, f"its help is: {option.help}"


@pytest.mark.loopback
def test_the_example_env_file_sets_nothing_and_each_line_is_valid_once_uncommented(tmp_path: Path) -> None:
    assert dotenv_values(ROOT / ".env.example") == {}
    (tmp_path / ".env").write_text(re.sub(r"(?m)^#(?=\w+=)", "", ENV_EXAMPLE))
    load([], {}, tmp_path / ".env")


@each_document
def test_links_and_files_named_in_a_document_exist(document: Path) -> None:
    text = document.read_text()
    links = [*re.findall(r"\]\(([^)#]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    missing = [link for link in links if not link.startswith("https://") and not (document.parent / link).exists()]
    named = re.findall(r"`((?:llama_ui|tests|docs|bench|deploy)/[\w./-]*)`", text)
    assert missing + [name for name in named if not (ROOT / name).exists()] == []


def test_the_picture_of_the_rooms_has_every_room() -> None:
    picture = (ROOT / "docs" / "CONTRIBUTING.md").read_text().split("```")[1].splitlines()
    inside = {line.split()[0] for line in picture if line.startswith("  ")}
    paths = [path for path in (ROOT / "llama_ui").iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert inside == {f"{path.name}/" if path.is_dir() else path.name for path in paths}
    assert [line for line in picture if line[:1].strip() and not (ROOT / line.split()[0]).exists()] == []


@each_document
def test_a_document_names_no_registry_and_no_path_of_a_machine(document: Path) -> None:
    assert re.findall(f"{REGISTRIES}|{MACHINE_PATHS}", document.read_text()) == []


@each_document
def test_the_make_targets_named_in_a_document_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= targets


def test_each_threat_names_its_defence_and_existing_tests() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs" / "SECURITY.md").read_text().splitlines() if "`tests/" in line]
    assert len(rows) > 15
    for threat, defence, tests in rows:
        assert threat.strip("| ") and defence.strip()
        names = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert names
        for file, test in names:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"
