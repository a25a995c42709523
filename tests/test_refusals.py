"""What cannot work is said before anything is loaded: a model beyond the memory, a port that is taken."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.models import check_memory
from engine.parallel import World

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def huge(tmp_path):
    """A folder with the configuration of a Llama of 405 billion parameters, and no weights."""
    config = dict(
        architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=16384, intermediate_size=53248,
        num_hidden_layers=126, num_attention_heads=128, num_key_value_heads=8, vocab_size=128256,
        tie_word_embeddings=False,
    )  # fmt: skip
    (tmp_path / "huge").mkdir()
    (tmp_path / "huge" / "config.json").write_text(json.dumps(config))
    return tmp_path / "huge"


def own_messages(done):
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("train.py: ")]


def test_a_model_beyond_the_memory_is_refused_with_what_it_needs_and_what_there_is(huge):
    with pytest.raises(ValueError) as refused:
        check_memory(str(huge), World(0, 1, torch.device("cpu")))
    assert "405.85 billion parameters on 1 processes need 6047.7 GiB" in str(refused.value)  # 16 bytes each
    free = 1024 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) / 2**30
    told = float(str(refused.value).split(" GiB are free")[0].split()[-1])
    assert told == pytest.approx(free, abs=2)


def test_a_reference_model_needs_more_and_other_processes_less(huge, monkeypatch):
    def needed(size, reference=False, local=1):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
        with pytest.raises(ValueError) as refused:
            check_memory(str(huge), World(0, size, torch.device("cpu")), reference)
        return float(str(refused.value).split(" need ")[1].split()[0])

    assert needed(1, reference=True) / needed(1) == pytest.approx(20 / 16, rel=1e-3)
    assert needed(4, local=1) / needed(1) == pytest.approx((16 / 4 + 4) / 16, rel=1e-3)  # and a copy to sample with
    assert needed(4, local=4) / needed(1) == pytest.approx((16 / 4 + 4) * 4 / 16, rel=1e-3)


def test_training_refuses_it_before_anything_is_loaded(huge, tmp_path):
    options = ["--model", str(huge), "--data", "toy", "--template", "plain", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, ROOT / "train.py", *options], capture_output=True, text=True, timeout=120)
    (told,) = own_messages(done)
    assert "405.85 billion parameters" in told and "GiB are free" in told and "--nproc_per_node" in told
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_one_clear_message(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        world = dict(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        done = subprocess.run(
            [sys.executable, ROOT / "train.py", "--out", tmp_path / "run"],
            capture_output=True, text=True, timeout=120, env={**os.environ, **world},
        )  # fmt: skip
    (told,) = own_messages(done)
    assert "MASTER_PORT in use" in told and port in told
