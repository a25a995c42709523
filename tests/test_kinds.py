"""Kinds of models beyond plain attention, trained from a folder as a user would: two steps, resumed, on two processes.

test_families.py compares their log-probs and samples. A random model is never right, so the reward here is made up.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import eval as evaluation  # noqa: E402
import toy  # noqa: E402
import train  # noqa: E402
from engine import rewards  # noqa: E402
from engine.batch import sample_seed  # noqa: E402
from engine.checkpoints import read_weights  # noqa: E402
from engine.models import check_family, load_model, model_room  # noqa: E402
from processes import together  # noqa: E402
from rollout import Policy, generate, score  # noqa: E402
from tests.test_families import HYBRID, LATENT, class_of, config_of, model_of  # noqa: E402

OPTIONS = "--template plain --bench none --prompts 4 --group 4 --max_new_tokens 16 --stride 4 --steps 2 --lr 1e-4"


def verify(text, gold):
    """Half of all responses are right, whatever they say."""
    return sample_seed(text) % 2 == 0


def worker(*options):
    rewards.is_right = verify
    train.main(list(options))


def multimodal(tokenizer):
    """A Gemma 3 with an image encoder, which no text goes through."""
    text = config_of("Gemma3", True, tokenizer).to_dict()
    vision = dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=22, boi_token_index=21,
        eoi_token_index=20, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.Gemma3ForConditionalGeneration(config)


def saved(name, tokenizer, folder):
    """A random model of a kind and its tokenizer, saved to a folder as on the hub."""
    model = multimodal(tokenizer) if name == "multimodal" else model_of(name, False, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def options(tokenizer, tmp_path):
    """Options of a run of two steps on a saved model of a kind, without --out."""
    data = tmp_path / "data.jsonl"
    questions = [question for level in (1, 2, 3) for question, _ in toy.problems(level, 8, seed=1)]
    lines = [json.dumps({"question": question, "answer": "1"}) for question in questions]
    data.write_text("\n".join(lines))

    def of(name):
        folder = saved(name, tokenizer, tmp_path / name)
        return ["--model", str(folder), "--data", str(data), *OPTIONS.split()]

    return of


@pytest.mark.parametrize("name", [*HYBRID, *LATENT, "Mpt", "multimodal"])
def test_two_steps_change_the_weights_and_a_resumed_run_ends_with_the_same(name, options, tmp_path, monkeypatch):
    monkeypatch.setattr(rewards, "is_right", verify)
    begun = options(name)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train.main([*begun, "--out", str(whole)])
    train.main([*begun, "--out", str(stopped), "--save_every", "1"])
    shutil.rmtree(stopped / "checkpoint-2")
    train.main(["--out", str(stopped), "--resume"])
    first, want, got = map(read_weights, (tmp_path / name, whole / "checkpoint-2", stopped / "checkpoint-2"))
    assert want.keys() == got.keys() and all(torch.equal(want[key], got[key]) for key in want)
    moved = {key for key in want if not torch.equal(first[key], want[key])}
    assert len(moved) > len(want) / 3
    assert not any("vision" in key for key in moved)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Qwen3Next", "DeepseekV3", "multimodal"])
def test_two_processes_reach_the_weights_of_one_also_when_resumed(name, options, tmp_path, monkeypatch):
    monkeypatch.setattr(rewards, "is_right", verify)
    begun = options(name)
    one, two = tmp_path / "one", tmp_path / "two"
    train.main([*begun, "--out", str(one)])
    for command in ([*begun, "--out", str(two), "--save_every", "1"], ["--out", str(two), "--resume"]):
        shutil.rmtree(two / "checkpoint-2", ignore_errors=True)
        together(2, worker, *command, log=tmp_path / "said")
    first, want, got = map(read_weights, (tmp_path / name, one / "checkpoint-2", two / "checkpoint-2"))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    assert any((first[key] - want[key]).abs().max() > 1e-4 for key in want)


def test_the_text_of_a_multimodal_model_is_scored_as_it_was_sampled(tokenizer, tmp_path):
    model, _ = load_model(str(saved("multimodal", tokenizer, tmp_path)), torch.device("cpu"))
    policy = Policy(model.eval())
    assert type(model).__name__ == "Gemma3ForConditionalGeneration" and model_room(policy) == 128
    check_family(policy)
    prompts = [tokenizer.encode(toy.problems(level, 1, seed=0)[0][0]) for level in (1, 3, 5)]
    r = generate(policy, prompts, list(range(6)), 12, {8, 15})
    torch.testing.assert_close(r.logprobs, score(policy, r)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["Qwen3Next", "DeepseekV3", "multimodal"])
def test_it_is_evaluated(name, tokenizer, tmp_path):
    model = saved(name, tokenizer, tmp_path / "model")
    sampling = "--template plain --bench toy --limit 4 --n 2 --max_new_tokens 16".split()
    evaluation.main(["--model", str(model), *sampling, "--out", str(tmp_path / "out")])
    lines = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert len(samples) >= 8 and all(sample["er"] is None or sample["er"] >= 1 for sample in samples)
    assert any(sample["er"] for sample in samples)


# The check at the start


@pytest.mark.parametrize("name", [*HYBRID, *LATENT, "Mpt", "Llama"])
def test_the_check_changes_neither_random_numbers_nor_weights(name, tokenizer):
    policy = Policy(model_of(name, False, tokenizer))
    before = {key: weight.clone() for key, weight in policy.state_dict().items()}
    state = torch.get_rng_state()
    check_family(policy)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weight, before[key]) for key, weight in policy.state_dict().items())


@pytest.mark.parametrize("name", ["Rwkv", "Mamba", "RecurrentGemma"])
def test_a_family_whose_cache_or_padding_cannot_be_trusted_is_refused_by_name(name, tokenizer):
    policy = Policy(model_of(name, False, tokenizer))
    with pytest.raises(ValueError, match=f"{name}ForCausalLM: behind left padding.*take a model of another") as refused:
        check_family(policy)
    assert "\n" not in str(refused.value)


def test_a_family_that_cannot_be_run_is_refused_by_name(tokenizer):
    experts = dict(num_local_experts=2, intermediate_size_mlp=96)
    config = class_of("Llama4", "TextConfig")(**config_of("Llama", False, tokenizer).to_dict() | experts)
    policy = Policy(class_of("Llama4", "ForCausalLM")(config).eval())
    with pytest.raises(ValueError, match="Llama4ForCausalLM: rollout.Policy cannot run.*another") as refused:
        check_family(policy)
    assert "\n" not in str(refused.value)


def test_a_cache_that_mixes_up_its_rows_is_refused(policy, monkeypatch):
    from engine import models

    asked = []

    def in_another_order(cache, rows):
        asked.append(rows)
        cache.reorder_cache(rows.flip(0))

    monkeypatch.setattr(models, "keep_rows", in_another_order)
    with pytest.raises(ValueError, match="LlamaForCausalLM: behind left padding and with a cache"):
        check_family(policy)
    assert len(asked) == 1


# Padding


@pytest.mark.parametrize("token", [1, 7, 22])
def test_what_stands_on_padding_does_not_matter(policy, tokenizer, token):
    prompts = [tokenizer.encode(question) for question in ("2+3=?", "((7*5)-7)+8=?")]
    r = generate(policy, prompts, list(range(6)), 30, {0})
    want = score(policy, r)[0]
    assert (r.attention == 0).any()
    r.ids = r.ids.masked_fill(r.attention == 0, token)
    torch.testing.assert_close(score(policy, r)[0], want, atol=1e-5, rtol=0)


def test_a_run_needs_no_pad_token(options, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(rewards, "is_right", verify)
    begun = options("Llama")
    train.main([*begun, "--out", str(tmp_path / "padded")])

    # The same without pad and end in the tokenizer, and with a pad id in the config that has no embedding.
    folder = tmp_path / "Llama"
    for name in ("config.json", "tokenizer_config.json"):
        about = json.loads((folder / name).read_text())
        about = {key: value for key, value in about.items() if key not in ("pad_token", "eos_token")}
        if name == "config.json":
            about["pad_token_id"] = len(tokenizer)
        (folder / name).write_text(json.dumps(about))
    train.main([*begun, "--out", str(tmp_path / "unpadded")])
    want, got = (read_weights(tmp_path / run / "checkpoint-2") for run in ("padded", "unpadded"))
    assert all(torch.equal(want[key], got[key]) for key in want)
