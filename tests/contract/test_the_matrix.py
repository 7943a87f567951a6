"""The matrices in the documents are what the other contract tests, which run before this one, have found."""

import re

import pytest

from tests.contract import matrix, test_llama_cpp, test_servers
from tests.support.app_process import ROOT

pytestmark = pytest.mark.contract


@pytest.mark.parametrize(
    ("document", "name", "columns"),
    [("README.md", "servers", matrix.COLUMNS), ("docs/api.md", "options", ["Chat route", *matrix.OPTIONS])],
)
def test_a_matrix_matches_the_results(
    request: pytest.FixtureRequest, document: str, name: str, columns: list[str]
) -> None:
    rows = [*(generation.row for generation in test_servers.GENERATIONS), test_llama_cpp.ROW]
    table = matrix.table(rows, columns)
    if table is None:
        pytest.skip("not all of the tests before have run")
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    section = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
    if request.config.getoption("--write-matrix"):
        changed = re.sub(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _: section, text, flags=re.DOTALL)
        path.write_text(changed, encoding="utf-8")
    else:
        assert section in text
