"""The page's JavaScript."""

import re

from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web import app


def test_each_function_that_an_event_calls_exists() -> None:
    settings = Settings()
    connection = Connection(settings)
    events = app.build(settings, connection, Turns(settings, connection)).config["dependencies"]
    connection.close()
    names = [name for event in events if (name := re.fullmatch(r"(\w+)\.(\w+)", str(event["js"])))]
    assert len(names) > 20
    for name in names:
        script = (app.STATIC / f"{name[1]}.js").read_text(encoding="utf-8")
        interface = script.rpartition("\n  return {\n")[2]
        assert re.search(rf"^    {name[2]}[,:]", interface, re.MULTILINE), f"{name[0]} does not exist"
