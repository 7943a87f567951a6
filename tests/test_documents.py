"""What the documents say agrees with the code, the pins and the files."""

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from llama_ui.settings import OPTIONS, table
from tests.support.app_process import ROOT

README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / ".env.example", *sorted((ROOT / "docs").glob("*.md"))]
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
TABLE_COMMAND = '.venv/bin/python -c "from llama_ui.settings import table; print(table())"'
REGISTRIES = r"pypi\.org|pythonhosted|huggingface\.co|\bhf\.co|npmjs|docker\.io|ghcr\.io|--(extra-)?index-url"
MACHINE_PATHS = r"(?<![\w.~])/(home|root|Users|work|tmp|opt|mnt)/|[A-Z]:\\"


def pin(package: str) -> str:
    found = re.search(rf"^{package}==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert found, f"requirements.txt does not pin {package}"
    return found[1]


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


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


def test_the_settings_table_is_the_one_that_the_code_prints() -> None:
    shown = README.split("<!-- settings -->\n")[1].split("\n<!-- /settings -->")[0]
    assert shown == table(), f"renew it between its two markers in README.md with: {TABLE_COMMAND}"


@pytest.mark.parametrize("name", OPTIONS)
def test_the_example_env_file_has_each_setting_with_its_help(name: str) -> None:
    option = OPTIONS[name]
    assert f"\n#{option.variable}=" in ENV_EXAMPLE, "add the line, commented out, below its help"
    comments = " ".join(ENV_EXAMPLE.replace("\n# ", " ").split())
    assert option.help[1:] in comments, f"its help is: {option.help}"


def test_the_example_env_file_sets_nothing_until_its_lines_are_uncommented() -> None:
    assert dotenv_values(ROOT / ".env.example") == {}


@pytest.mark.loopback
def test_each_line_of_the_example_env_file_is_valid_once_uncommented() -> None:
    for name, option in OPTIONS.items():
        found = re.search(rf"^#{option.variable}=(.*)$", ENV_EXAMPLE, re.MULTILINE)
        assert found, name
        if found[1]:
            option.parse(found[1].strip('"'))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_exist(document: Path) -> None:
    text = document.read_text()
    links = [*re.findall(r"\]\(([^)#]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    missing = [link for link in links if not link.startswith("https://") and not (document.parent / link).exists()]
    named = re.findall(r"`((?:llama_ui|tests|docs|bench)/[\w./-]*)`", text)
    assert missing + [name for name in named if not (ROOT / name).exists()] == []


def test_the_layout_shows_the_files_that_there_are() -> None:
    lines = section("The layout").split("```")[1].splitlines()
    shown = {line.split()[0] for line in lines if line.startswith("  ")}
    paths = [path for path in (ROOT / "llama_ui").iterdir() if path.name[:2] != "__"]
    assert shown == {f"{path.name}/" if path.is_dir() else path.name for path in paths}
    assert [line for line in lines if line[:1].strip() and not (ROOT / line.split()[0]).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
@pytest.mark.parametrize("unwanted", [REGISTRIES, MACHINE_PATHS], ids=["registry", "path"])
def test_documents_name_no_registry_and_no_path_of_a_machine(document: object, unwanted: str) -> None:
    assert re.findall(unwanted, (ROOT / str(document)).read_text()) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_make_commands_that_a_document_names_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|[A-Z]=\S+ )make ([a-z]+)", document.read_text(), re.MULTILINE))
    assert named <= targets


def test_each_threat_names_what_stops_it_and_tests_that_there_are() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs" / "SECURITY.md").read_text().splitlines() if "`tests/" in line]
    assert len(rows) > 15
    for threat, stopped, shown in rows:
        assert threat.strip("| ") and stopped.strip()
        for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown):
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"
        assert "::" in shown
