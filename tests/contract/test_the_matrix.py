"""The server matrix in the README is what the other contract tests, which run before this one, have found."""

import re

import pytest

from tests.contract import matrix, test_llama_cpp, test_servers
from tests.support.app_process import ROOT

pytestmark = pytest.mark.contract


def test_the_server_matrix_in_the_readme_matches_the_results(request: pytest.FixtureRequest) -> None:
    table = matrix.table([*(generation.row for generation in test_servers.GENERATIONS), test_llama_cpp.ROW])
    if table is None:
        pytest.skip("not all of the tests before have run")
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    section = f"<!-- servers -->\n{table}\n<!-- /servers -->"
    if request.config.getoption("--write-matrix"):
        changed = re.sub(r"<!-- servers -->.*<!-- /servers -->", lambda _: section, text, flags=re.DOTALL)
        readme.write_text(changed, encoding="utf-8")
    else:
        assert section in text
