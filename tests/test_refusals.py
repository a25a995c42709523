"""What cannot work is said in one line and nothing is begun: a model beyond the memory, or broken; a port in use."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import eval as evaluation
import train
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


# Models that are broken, or of a kind that cannot be trained


@pytest.fixture
def model(policy, tokenizer, tmp_path):
    """A folder with a small random model in several weight files; its name, relative, is in what is said."""
    folder = tmp_path / "model"
    policy.lm.save_pretrained(folder, max_shard_size="200KB")
    tokenizer.save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def told(main, model, out):
    """What a program says when it refuses to begin on a model: one line."""
    options = ["--model", str(model), "--template", "plain", "--max_new_tokens", "30", "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main([*options, "--data", "toy"] if main is train.main else [*options, "--bench", "toy"])
    assert isinstance(ended.value.code, str) and "\n" not in ended.value.code  # a text: exit code 1
    assert not out.exists()
    return ended.value.code


def cut(model):
    shard = min(model.glob("*.safetensors"))
    os.truncate(shard, shard.stat().st_size - 1000)
    return "its weights cannot be read.*not fully covered.*copy or download the model again"


def emptied(model):
    os.truncate(min(model.glob("*.safetensors")), 0)
    return "its weights cannot be read.*copy or download the model again"


def without_a_shard(model):
    shard = min(model.glob("*.safetensors"))
    shard.unlink()
    return f"its weights cannot be read.*{shard.name}.*copy or download the model again"


def without_weights(model):
    for shard in model.glob("*.safetensors*"):
        shard.unlink()
    return "its weights cannot be read.*no file named model.safetensors.*copy or download the model again"


def without_one_weight(model):
    index = json.loads((model / "model.safetensors.index.json").read_text())
    name = "model.layers.1.mlp.up_proj.weight"
    shard = model / index["weight_map"].pop(name)
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    weights = load_file(shard)
    del weights[name]
    save_file(weights, shard, {"format": "pt"})
    return f"1 of its weights are not in its files, such as {name}: copy or download"


def of_other_shapes(model):
    change(model / "config.json", intermediate_size=100)
    return "its weights cannot be read"


def cut_legacy_weights(model):
    without_weights(model)
    torch.save({"model.norm.weight": torch.ones(64)}, model / "pytorch_model.bin")
    os.truncate(model / "pytorch_model.bin", 700)
    return "its weights cannot be read.*copy or download the model again"


def without_config(model):
    (model / "config.json").unlink()
    return "no config.json in "


def with_a_cut_config(model):
    (model / "config.json").write_text('{"model_type": ')
    return "not a valid JSON file"


def with_a_config_that_contradicts_itself(model):
    change(model / "config.json", num_attention_heads=5)
    return r"64.*5.*\(transformers"


def with_a_cut_tokenizer(model):
    os.truncate(model / "tokenizer.json", 200)
    return "its tokenizer cannot be read.*download its tokenizer files again"


def of_an_unknown_kind(model):
    change(model / "config.json", model_type="nonesuch")
    return "model type `nonesuch`.*transformers"


def with_code_of_its_own(model):
    change(model / "config.json", model_type="nonesuch", auto_map={"AutoConfig": "own.Config"})
    return "custom code"


def of_another_purpose(model):
    change(model / "config.json", model_type="t5")
    return "no causal language model.*T5Config.*another model"


BROKEN = [
    cut, emptied, without_a_shard, without_weights, without_one_weight, of_other_shapes, cut_legacy_weights,
    without_config, with_a_cut_config, with_a_config_that_contradicts_itself, with_a_cut_tokenizer,
    of_an_unknown_kind, with_code_of_its_own,
    of_another_purpose,
]  # fmt: skip


@pytest.mark.parametrize("main", [train.main, evaluation.main], ids=["train", "eval"])
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_model_is_refused_in_one_line_with_the_cause(main, broken, model, tmp_path):
    cause = broken(model)
    said = told(main, model, tmp_path / "run")
    assert re.match(rf"(train|eval)\.py: .*{model}.*{cause}", said), said


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "fp8", "mxfp4"])
@pytest.mark.parametrize("main", [train.main, evaluation.main], ids=["train", "eval"])
def test_quantised_weights_are_refused_with_their_method(main, method, model, tmp_path):
    change(model / "config.json", quantization_config={"quant_method": method, "bits": 4, "group_size": 32})
    said = told(main, model, tmp_path / "run")
    assert re.search(rf"quantised \({method}\).*take the model that it was made from", said)


def test_a_name_that_is_no_folder_says_what_was_looked_for(tmp_path):
    missing = tmp_path / "nonesuch"
    assert f"no folder {missing}" in told(train.main, missing, tmp_path / "run")


def test_a_family_whose_cache_cannot_be_trusted_stops_the_program_in_one_line(tokenizer, tmp_path):
    config = transformers.RwkvConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, eos_token_id=0)
    torch.manual_seed(0)
    model = transformers.RwkvForCausalLM(config)
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    for main in (train.main, evaluation.main):
        assert "RwkvForCausalLM: behind left padding" in told(main, tmp_path / "model", tmp_path / "run")
