import random
import re

import pytest

import toy
from engine import toy_model
from verifier import verify


def left_to_right(question):
    """The value of a left-nested chain: brackets change nothing, each operation applies to all before it."""
    assert re.fullmatch(r"\(*\d+([+*-]\d\)?)+=\?", question)
    first, *rest = re.findall(r"\d+|[+*-]", question)
    value = int(first)
    for op, n in zip(rest[::2], map(int, rest[1::2])):
        value = {"+": value + n, "-": value - n, "*": value * n}[op]
        assert 0 <= value <= 99 and 2 <= n <= 9
    return value


@pytest.mark.parametrize("level", toy.LEVELS)
def test_every_answer_is_the_value_of_its_question(level):
    operators, (low, high) = toy.LEVELS[level]
    for question, answer in toy.problems(level, 50, seed=1):
        assert left_to_right(question) == int(answer)
        assert len(re.findall(r"[+*-]", question)) == operators and question.count("(") == operators - 1
        assert low <= int(re.search(r"\d+", question)[0]) <= high


def test_problems_are_a_function_of_their_arguments_and_keep_out_of_exclude():
    first = toy.problems(2, 30, seed=0)
    assert first == toy.problems(2, 30, seed=0) != toy.problems(2, 30, seed=1)
    banned = frozenset(q for q, _ in first)
    again = toy.problems(2, 30, seed=0, exclude=banned)
    assert len(dict(again)) == 30 and not banned & {q for q, _ in again}
    with pytest.raises(ValueError, match="toy level 9"):
        toy.problems(9, 1, seed=0)


def test_full_working_ends_in_a_box_that_the_verifier_accepts_and_fits_the_length_limit(tokenizer):
    rng = random.Random(0)
    for _ in range(300):
        steps = toy.chain(rng, 8, (2, 60))
        text = toy_model.response(steps)
        assert verify(text, str(steps[-1].value)) and not verify(text, str(steps[-1].value + 1))
        assert len(tokenizer.encode(text)) < toy.MAX_NEW_TOKENS and tokenizer.unk_token_id not in tokenizer.encode(text)


def test_the_worked_example_of_the_docstring():
    steps = [toy.Step(7, "*", 5, 35), toy.Step(35, "-", 7, 28), toy.Step(28, "+", 8, 36)]
    assert toy.question(steps) == "((7*5)-7)+8=?"
    assert toy_model.response(steps) == "7*5=35\n35-7=28\n28+8=36\n\\boxed{36}"
    assert toy_model.response(steps, [True, False, True]) == "7*5=35\n28+8=36\n\\boxed{36}"


def test_the_tokenizer_survives_saving_and_auto_loading(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    toy_model.make_model(tokenizer, 0).save_pretrained(tmp_path)  # AutoTokenizer looks at the model type, too
    tokenizer.save_pretrained(tmp_path)
    for again in (AutoTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(toy.BASE)):
        text = "(7*5)-3=?7*5=35\n\\boxed{32}"
        ids = again.encode(text)
        assert ids == tokenizer.encode(text) and len(ids) == len(text) - len("\\boxed") + 1
        assert again.decode([*ids, again.eos_token_id], skip_special_tokens=True) == text
        assert again.encode("π") == [again.unk_token_id] and again.pad_token_id == again.eos_token_id


def test_the_shipped_base_has_something_to_learn_and_a_way_to_find_it(tokenizer):
    import torch

    from engine.data import load_benchmark
    from eval import Protocol, evaluate, summarise
    from engine.checkpoints import checkpoint_prompting
    from engine.models import load_model
    from engine.prompts import stop_ids
    from rollout import Policy

    assert sum(f.stat().st_size for f in toy.BASE.iterdir()) < 800_000
    model, own = load_model(str(toy.BASE), torch.device("cpu"))
    protocol = Protocol(checkpoint_prompting(toy.BASE)["template"], 8, 1.0, 1.0, toy.MAX_NEW_TOKENS, seed=1, batch=256, stride=4)
    records, _ = evaluate(Policy(model.eval()), own, load_benchmark("toy")["toy-4"], protocol, stop_ids(model, own))
    s = summarise(records)
    assert s["pass@1"] <= 0.30 and s["pass@8"] >= s["pass@1"] + 0.2
    assert s["truncated"] < 0.05


def test_warm_up_learns(tokenizer):
    losses = list(toy_model.warm_up(toy_model.make_model(tokenizer, 0), tokenizer, steps=30, keep=1.0, seed=0, batch=16))
    assert len(losses) == 30 and sum(losses[-5:]) < 0.8 * sum(losses[:5])
