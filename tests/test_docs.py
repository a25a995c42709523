import doctest
import importlib
import re
from pathlib import Path

import pytest

from verifier import verify

ROOT = Path(__file__).resolve().parent.parent
MODULES = [path.stem for path in ROOT.glob("*.py")] + [f"engine.{path.stem}" for path in ROOT.glob("engine/*.py")]
VERIFIER_PAGE = (ROOT / "docs" / "verifier.md").read_text()


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


def test_every_row_of_the_verifiers_page_has_its_verdict():
    rows = [line for line in VERIFIER_PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    for row in rows:
        found = re.fullmatch(r"\| `(.+?)` \| `(.+?)` \| (right|wrong) \| .+ \|", row)
        gold, response = (found[side].replace(r"\|", "|") for side in (1, 2))  # a table asks for \|
        assert verify(response, gold) is (found[3] == "right"), row


def test_the_example_of_the_verifiers_page_gives_what_it_says():
    found = doctest.testfile(str(ROOT / "docs" / "verifier.md"), module_relative=False)
    assert found.attempted == 4 and found.failed == 0
