"""Options that people ask for, each in a run that would be another one without it."""

import json
import sys

import pytest
import torch

import train
from engine.batch import in_batches, joined_rollouts, sample_seed
from engine.checkpoints import checkpoints
from engine.config import TrainConfig, complete_train
from engine.data import Problem, training_prompts
from engine.models import check_bfloat16
from engine.parallel import setup, unsharded
from engine.rewards import Graded
from engine.runs import choose, read_lines, read_metrics
from engine.samples import few_samples
from engine.state import start
from eval import Protocol
from rollout import Policy, generate, score
from train import train_step

SMALL = ["--prompts", "4", "--group", "4", "--max_new_tokens", "60", "--bench", "none"]


def state(*options):
    return start(Policy, choose([*SMALL, *options])[0], setup())


def test_a_few_responses_of_each_step_are_kept_with_what_the_method_made_of_them(tmp_path, capsys):
    train.main([*SMALL, "--steps", "2", "--log_samples", "3", "--show", "1", "--out", str(tmp_path / "run")])
    records = read_lines(tmp_path / "run" / "samples.jsonl")
    assert [record["step"] for record in records] == [1, 1, 1, 2, 2, 2]
    for record in records:
        assert record["question"].endswith("=?") and record["correct"] == (record["answer"] == record["gold"])
        assert record["reward"] == float(record["correct"]) and record["er"] >= 1
        assert record["advantage"] * record["shaped_advantage"] >= 0
        if record["era"] is not None:
            m = record["prefix_ranks"]
            delta = [m[j] - sum(m[:j]) / j for j in range(1, len(m))]
            assert record["erv"] == pytest.approx(sum(delta) / len(delta), abs=2e-3)  # m_j are rounded
    told = capsys.readouterr().out
    assert told.count("-- response") == 2 and records[0]["response"] in told and "-- reward" in told


def test_the_shaped_advantage_of_a_kept_response_is_the_mean_over_its_own_tokens():
    graded = Graded([Problem("1+1=?", "2", "s", "s-0")], ["2"], [None], torch.ones(1), torch.ones(1), {})
    shaped, mask = torch.tensor([[-0.6, -1.0, -1.0, -1.0]]), torch.tensor([[True, False, False, False]])
    (record,) = few_samples(1, 4, graded, {}, torch.zeros(1, 0), torch.tensor([-1.0]), shaped, mask)
    assert record["shaped_advantage"] == pytest.approx(-0.6) and record["advantage"] == -1
    assert record["length"] == 1


def test_no_samples_are_kept_where_none_are_asked_for(tmp_path):
    train.main([*SMALL, "--steps", "1", "--log_samples", "0", "--out", str(tmp_path / "run")])
    assert read_lines(tmp_path / "run" / "samples.jsonl") == []


def test_bfloat16_rounds_what_is_multiplied_and_not_the_weights():
    exact, rounded = state(), state("--bfloat16")
    line, line_rounded = train_step(exact), train_step(rounded)
    assert line["sampler_gap"] < 1e-5 < line_rounded["sampler_gap"] < 0.05  # two ways to round in bfloat16
    assert {p.dtype for p in rounded.policy.parameters()} == {torch.float32}

    # The oracle: one matrix of the model, its factors rounded to 8 bits by hand.
    head = rounded.policy.lm.get_output_embeddings().weight.detach()
    z = torch.randn(3, head.shape[1], generator=torch.Generator().manual_seed(0))
    by_hand = z.bfloat16().double() @ head.bfloat16().double().T
    with unsharded(rounded.policy):
        ours = rounded.policy.logits(z).double()
    torch.testing.assert_close(ours, by_hand, rtol=2**-8, atol=1e-3)  # the product is rounded, too
    assert (z.double() @ head.double().T - by_hand).abs().max() > 1e-3


def test_bfloat16_is_refused_on_a_gpu_where_it_would_do_nothing():
    check_bfloat16(TrainConfig(bfloat16=True), torch.device("cpu"))
    check_bfloat16(TrainConfig(), torch.device("cuda"))
    with pytest.raises(ValueError, match="--bfloat16 is for a CPU"):
        check_bfloat16(TrainConfig(bfloat16=True), torch.device("cuda"))


def test_the_learning_rate_rises_over_the_warm_up_and_then_stays():
    s = state("--warmup_steps", "2", "--lr", "0.001")
    assert [train_step(s)["lr"] for _ in range(3)] == pytest.approx([0.0005, 0.001, 0.001])


def test_sampling_in_batches_gives_the_same_responses(monkeypatch):
    sizes, original = [], train.generate

    def noting(policy, prompts, *rest, **options):
        sizes.append(len(prompts))
        return original(policy, prompts, *rest, **options)

    monkeypatch.setattr(train, "generate", noting)
    whole, parts = state(), state("--sample_batch", "5")  # one prompt of four responses at a time
    lines = [train_step(s) for s in (whole, parts)]
    assert sizes == [4, 1, 1, 1, 1]
    for name in ("reward", "length", "tokens", "truncated"):
        assert lines[0][name] == lines[1][name]
    assert lines[0]["er"] == pytest.approx(lines[1]["er"], rel=1e-5)


def test_an_evaluation_within_training_samples_no_more_at_a_time(tmp_path, monkeypatch):
    (tmp_path / "own.jsonl").write_text('{"question": "2+3=?", "answer": "5"}\n' * 3)
    sizes, original = [], train.evaluate

    def noting(policy, tokenizer, problems, protocol, *rest, **options):
        sizes.append(protocol.batch)
        return original(policy, tokenizer, problems, protocol, *rest, **options)

    monkeypatch.setattr(train, "evaluate", noting)
    options = ["--prompts", "2", "--group", "2", "--max_new_tokens", "8", "--steps", "1", "--eval_n", "2"]
    for more, out in ((["--sample_batch", "2"], "few"), ([], "all")):
        train.main([*options, "--bench", str(tmp_path / "own.jsonl"), *more, "--out", str(tmp_path / out)])
    assert sizes == [2, 2, 256, 256]  # before and after


def test_rollouts_joined_below_each_other_score_as_they_were_sampled(policy, tokenizer):
    prompts = [tokenizer.encode(q) for q in ("1+2=?", "((7*5)-7)+8=?", "3*3=?")]
    seeds = [sample_seed(i, j) for i in range(3) for j in range(2)]
    sizes, parts = [], []
    for some, own in in_batches(prompts, seeds, 4):
        sizes.append((len(some), len(own)))
        parts.append(generate(policy, some, own, 30, {tokenizer.eos_token_id}, keep_states=True))
    assert sizes == [(2, 4), (1, 2)] and [len(s) for _, s in in_batches(prompts, seeds)] == [6]
    assert [len(p) for p, _ in in_batches(prompts, seeds, 1)] == [1, 1, 1]
    assert len({part.prompt_width for part in parts}) == 2
    r = joined_rollouts(parts)
    logp, entropy, states = score(policy, r)
    torch.testing.assert_close(logp, r.logprobs, atol=1e-4, rtol=0)
    torch.testing.assert_close(states, r.states, atol=1e-4 * states.abs().max().item(), rtol=0)
    assert r.texts(tokenizer) == [text for part in parts for text in part.texts(tokenizer)]
    assert r.finished.tolist() == [x for part in parts for x in part.finished.tolist()]


def test_training_and_evaluation_ask_with_the_system_message_and_chat_options(tokenizer, monkeypatch):
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if deep is defined %}*{% endif %}="
    monkeypatch.setattr(tokenizer, "chat_template", template)
    config = complete_train(
        TrainConfig(template="chat", system="(8)", chat_options='{"deep": true}', max_prompt_tokens=400)
    )
    (_, ids), *_ = training_prompts(config, tokenizer, room=512, say=print)
    text = tokenizer.decode(ids)
    assert text.startswith("(8)") and text.endswith("*=")
    protocol = Protocol.of(config, n=1, top_p=1.0, batch=8)
    assert (protocol.template, protocol.system, protocol.chat_options) == ("chat", "(8)", '{"deep": true}')


def test_the_best_checkpoint_by_the_evaluations_on_the_way_stays_beside_the_newest(tmp_path, monkeypatch):
    shares = iter([0.2, 0.9, 0.3, 0.4])

    def measured(s, run, samples):
        if samples == 1:
            summary = {"pass@1": next(shares)}
            run.log_evaluation({"step": s.step, "n": 1, "benchmarks": {"toy": summary}})

    monkeypatch.setattr(train, "benchmark", measured)
    options = ["--prompts", "4", "--group", "4", "--max_new_tokens", "30", "--steps", "5", "--eval_every", "1"]
    train.main([*options, "--keep_best", "--keep", "1", "--save_every", "100", "--out", str(tmp_path / "run")])
    assert [step for step, _ in checkpoints(tmp_path / "run")] == [2, 5]
    assert next(shares, None) is None  # after each step but the last


class Writer:
    """What torch.utils.tensorboard.SummaryWriter does, as far as it is asked to."""

    def __init__(self, folder):
        self.numbers = written

    def add_scalar(self, name, value, step):
        self.numbers[name, step] = value

    def flush(self):
        pass


written = {}


def test_every_number_of_the_log_goes_to_tensorboard(tmp_path, monkeypatch):
    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    written.clear()
    train.main([*SMALL, "--steps", "1", "--tensorboard", "--out", str(tmp_path / "run")])
    (line,) = read_metrics(tmp_path / "run")
    flat = {name: value for name, value in line.items() if name not in ("step", "seconds") and value is not None}
    flat |= {f"seconds/{phase}": value for phase, value in line["seconds"].items()}
    assert written == {(name, 1): value for name, value in flat.items()}


def test_without_the_package_tensorboard_the_run_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SystemExit, match="pip install tensorboard"):
        train.main([*SMALL, "--steps", "1", "--tensorboard", "--out", str(tmp_path / "run")])


def test_a_parquet_file_with_columns_of_other_names_trains_and_evaluates_by_options_alone(tmp_path, capsys):
    import eval as evaluation
    from datasets import Dataset

    rows = [{"task": {"text": f"{a}+{a}=?"}, "solution": 2 * a} for a in range(2, 12)]
    path = str(tmp_path / "own.parquet")
    Dataset.from_list(rows).to_parquet(path)
    fields = ["--question", "task.text", "--answer", "solution"]
    train.main([*SMALL, "--steps", "1", "--data", path, *fields, "--template", "plain", "--kl_coef", "0",
                "--out", str(tmp_path / "run")])  # fmt: skip
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [1]
    short = ["--bench", path, "--model", str(tmp_path / "run" / "checkpoint-1"), "--max_new_tokens", "20"]
    evaluation.main([*short, *fields, "--out", str(tmp_path / "done")])
    assert json.loads((tmp_path / "done" / "results.json").read_text())["benchmarks"]["own"]["problems"] == 10
    with pytest.raises(SystemExit, match="no field 'question'; the row has: task, solution"):
        evaluation.main([*short, "--out", str(tmp_path / "other")])


@pytest.mark.parametrize("write", ["csv", "json"])
def test_csv_and_json_files_are_read(tmp_path, write):
    from datasets import Dataset

    from engine.data import load_training

    path = str(tmp_path / f"own.{write}")
    getattr(Dataset.from_list([{"question": "1+1=?", "answer": "2"}]), f"to_{write}")(path)
    (problem,) = load_training(path)
    assert (problem.question, problem.answer, problem.row["answer"]) == ("1+1=?", "2", problem.row["answer"])
