import doctest
import importlib

import pytest

MODULES = ["rank", "shaping", "grpo", "rollout", "verifier", "toy", "engine.data", "engine.parallel", "eval", "train"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0
