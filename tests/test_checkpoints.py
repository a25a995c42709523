"""Checkpoints on a disk that is full, in a process that is killed; what they hold."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch

import toy
from engine import checkpoints as files
from engine.checkpoints import checkpoint_prompting, checkpoints, clean, load_state, save_checkpoint
from engine.models import load_model
from engine.parallel import World
from rollout import Policy

WORLD = World(0, 1, torch.device("cpu"))
BASELINE = {"er": 1.0, "erv": 2.0, "era": float("nan")}


def adam(policy):
    """An AdamW that has made a step."""
    optimizer = torch.optim.AdamW(policy.parameters())
    for p in policy.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    return optimizer


def save(policy, tokenizer, folder, step, keep=3):
    state = {"step": step, "baseline": BASELINE}
    run = {"step": step, "template": "abel"}
    return save_checkpoint(folder, policy, adam(policy), tokenizer, run, state, keep, WORLD)


def test_a_checkpoint_holds_the_state_template_and_random_numbers(policy, tokenizer, tmp_path):
    torch.manual_seed(5)
    path = save(policy, tokenizer, tmp_path, 7)
    want = torch.rand(3)
    assert checkpoints(tmp_path) == [(7, path)] and checkpoint_prompting(path)["template"] == "abel"
    torch.manual_seed(6)
    fresh = torch.optim.AdamW(policy.parameters())
    state = load_state(path, policy, fresh, WORLD)
    assert state["step"] == 7 and str(state["baseline"]) == str(BASELINE)
    assert torch.equal(torch.rand(3), want)
    for held, kept in zip(adam(policy).state.values(), fresh.state.values()):
        assert held.keys() == kept.keys() and all(torch.equal(held[k], kept[k]) for k in held)


def test_a_full_disk_leaves_the_older_checkpoints_and_no_rubbish(policy, tokenizer, tmp_path, monkeypatch):
    old = save(policy, tokenizer, tmp_path, 1, keep=1)

    def full(*args):
        asked.append(args)
        raise OSError(errno.ENOSPC, "No space left on device")

    for module, name in ((files, "flush"), (torch, "save")):
        asked = []
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OSError, match="No space"):
                save(policy, tokenizer, tmp_path, 2, keep=1)
        assert len(asked) == 1
        assert [p.name for p in tmp_path.iterdir()] == [old.name]
    assert load_state(old, policy, torch.optim.AdamW(policy.parameters()), WORLD)["step"] == 1


def test_weights_that_cannot_be_written_are_an_os_error_that_tells_the_space_left(policy, tokenizer, tmp_path):
    from safetensors import SafetensorError  # not an OSError

    def full(folder, **options):
        raise SafetensorError("I/O error: No space left on device")

    policy.lm.save_pretrained = full
    with pytest.raises(OSError, match="checkpoint-2 cannot be written, .* MiB are free there: .*No space left"):
        save(policy, tokenizer, tmp_path, 2)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_save_left_is_no_checkpoint_and_is_cleaned(policy, tokenizer, tmp_path):
    save(policy, tokenizer, tmp_path, 3)
    (tmp_path / ".checkpoint-torn").mkdir()
    (tmp_path / "checkpoint-9x").mkdir()
    assert [step for step, _ in checkpoints(tmp_path)] == [3]
    clean(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-3", "checkpoint-9x"]


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_no_half_of_it(policy, tokenizer, tmp_path, monkeypatch):
    save(policy, tokenizer, tmp_path, 1)

    def killed(folder, **options):
        (folder / "config.json").unlink(missing_ok=True)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", killed)
        with pytest.raises(SystemExit):
            save(policy, tokenizer, tmp_path, 2, keep=1)
    assert [step for step, _ in checkpoints(tmp_path)] == [2]
    clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_a_checkpoint_of_another_layout_is_refused_in_one_sentence(policy, tokenizer, tmp_path):
    path = save(policy, tokenizer, tmp_path, 1)
    about = json.loads((path / "run.json").read_text())
    for layout in (None, 99):  # before layouts had a number; of a later version
        (path / "run.json").write_text(json.dumps({**about, "layout": layout} if layout else {"step": 1}))
        with pytest.raises(ValueError, match="another version of this program.*--model .*checkpoint-1") as refused:
            load_state(path, policy, torch.optim.AdamW(policy.parameters()), WORLD)
        assert "\n" not in str(refused.value)


def test_a_generation_config_that_contradicts_itself_does_not_stop_a_save(tokenizer, tmp_path):
    base = Path(toy.BASE)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, tmp_path / name)
    odd = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [0, 3], "pad_token_id": 0}
    (tmp_path / "generation_config.json").write_text(json.dumps(odd))
    model, own = load_model(str(tmp_path), torch.device("cpu"))
    path = save(Policy(model), own, tmp_path, 1)
    assert json.loads((path / "generation_config.json").read_text())["eos_token_id"] == [0, 3]
