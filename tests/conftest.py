"""What several tests share: the repository on the path, and a small random model in the toy's format."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_OFFLINE"] = "1"  # a missing model is an error at once, not after retries
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: two threads mostly wait for each other, for long if busy


@pytest.fixture(scope="session")
def tokenizer():
    from engine import toy_model

    return toy_model.make_tokenizer()


@pytest.fixture
def policy(tokenizer):
    """A random model, sharpened so that some responses end by themselves and others do not."""
    import torch

    from engine import toy_model
    from rollout import Policy

    model = toy_model.make_model(tokenizer, seed=0).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(3)
    return Policy(model)


@pytest.fixture
def one_thread():
    """Small SVDs and eigensolves take ten times longer with two BLAS threads on busy cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
