"""The page's JavaScript and CSS."""

import re

from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web import app

TEMPLATES = app.STATIC.with_name("templates")


def assert_exists(name: str) -> None:
    """That a script has this function, as `module.function`, in its interface."""
    module, function = name.split(".")
    script = (app.STATIC / f"{module}.js").read_text(encoding="utf-8")
    interface = script.rpartition("\n  return {")[2]
    assert re.search(rf"(^|[ {{]){function}[,:}}]", interface, re.MULTILINE), f"{name} does not exist"


def test_each_function_that_an_event_calls_exists() -> None:
    settings = Settings()
    connection = Connection(settings)
    events = app.build(settings, connection, Turns(settings, connection)).config["dependencies"]
    connection.close()
    names = [str(event["js"]) for event in events if re.fullmatch(r"\w+\.\w+", str(event["js"]))]
    assert len(names) > 20
    for name in names:
        assert_exists(name)


def test_each_function_that_a_button_names_exists() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.jinja"))
    names = re.findall(r'data-do="([\w.]+)"', pages)
    assert len(names) > 15
    for name in names:
        assert_exists(name)
