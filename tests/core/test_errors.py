"""The exceptions: the tree in the docstring is the tree in the code."""

import inspect

from llama_ui.core import errors
from llama_ui.core.errors import ChatError, NoServer


def test_the_tree_in_the_docstring_has_every_exception_below_its_base_class() -> None:
    def tree(kind: type[ChatError], depth: int = 0) -> list[tuple[int, str]]:
        below = [entry for inner in kind.__subclasses__() for entry in tree(inner, depth + 1)]
        return [(depth, kind.__name__), *below]

    lines = inspect.cleandoc(errors.__doc__ or "").splitlines()
    drawing = [line for line in lines if line.startswith("ChatError") or "──" in line]
    assert [(len(line.rpartition(" ")[0]) // 4 + ("── " in line), line.split()[-1]) for line in drawing] == tree(
        ChatError
    )


def test_an_error_reads_as_its_sentence_and_its_fix() -> None:
    error = NoServer("No server answers.", "Start one.")
    assert (error.sentence, error.fix, str(error)) == (
        "No server answers.",
        "Start one.",
        "No server answers. Start one.",
    )
    assert str(ChatError("It is late.", "")) == "It is late."
