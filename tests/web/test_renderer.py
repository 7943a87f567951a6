"""The edits of Gradio's scripts: each finds its place, and the page gets the edited ones."""

import httpx
import pytest

from llama_ui.web import renderer
from llama_ui.web.renderer import SCRIPTS, Script
from tests.support import SECONDS


def original(script: Script) -> tuple[str, str]:
    """The name and the text of one of Gradio's scripts."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in renderer.ASSETS.glob("*.js")}
    ((name, text),) = [(name, text) for name, text in texts.items() if script.marker in text]
    return name, text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.marker)
def test_each_edit_has_one_place_in_gradio_s_script(script: Script) -> None:
    _, text = original(script)
    for old, new in script.edits.items():
        assert text.count(old) == 1, f"This is not in Gradio's script, or several times: {old}"
        assert new not in text, f"Gradio does this itself, drop the edit: {new}"


def test_all_edits_are_applied_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    edited = renderer.edited_scripts()
    assert caplog.text == ""
    for script in SCRIPTS:
        name, _ = original(script)
        assert all(new in edited[name] for new in script.edits.values())


def test_a_script_in_which_an_edit_has_no_place_stays_as_it_is_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script("marker", "this is not shown", {"a": "b", "missing": "x", "also missing": "y"})
    assert script.edit("1 a 2") == "1 a 2"
    assert script.edit("1 a missing missing") == "1 a missing missing"
    (first, second) = caplog.messages
    assert first == second == "This version of Gradio has another 'missing' in its page: this is not shown."


def test_a_script_that_is_not_there_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(renderer, "SCRIPTS", [Script("a marker of no script", "this is not shown", {})])
    assert renderer.edited_scripts() == {}
    assert caplog.messages == ["This version of Gradio has no script with 'a marker of no script': this is not shown."]


@pytest.mark.loopback
def test_the_page_gets_the_edited_scripts_and_asks_whether_they_have_changed(url: str) -> None:
    for name, text in renderer.edited_scripts().items():
        address = f"{url}assets/{name}"
        response = httpx.get(address, timeout=SECONDS)
        assert response.text == text
        assert response.headers["content-type"].startswith("text/javascript")
        assert response.headers["cache-control"] == "no-cache"
        assert "content-encoding" in response.headers
        again = httpx.get(address, headers={"if-none-match": response.headers["etag"]}, timeout=SECONDS)
        assert (again.status_code, again.content) == (304, b"")
        assert httpx.get(address, headers={"if-none-match": '"other"'}, timeout=SECONDS).status_code == 200


@pytest.mark.loopback
def test_other_scripts_are_gradio_s(url: str) -> None:
    edited = renderer.edited_scripts()
    others = [path for path in sorted(renderer.ASSETS.glob("*.js")) if path.name not in edited]
    for path in others[:3]:
        assert httpx.get(f"{url}assets/{path.name}", timeout=SECONDS).text == path.read_text(encoding="utf-8")
