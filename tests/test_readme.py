"""The README: its commands have options that exist, its worked response has the numbers of the code."""

import re
import shlex
import sys

import pytest
import torch
from conftest import ROOT

from engine.config import TrainConfig, complete_train, parse, parse_eval

README = (ROOT / "README.md").read_text()
BLOCKS = [block.replace("\\\n", " ") for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)]
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
COMMANDS += re.findall(r"`(python studies/[^`]*)`", README)


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = [c for c in COMMANDS if "pytest" in c]
    assert command in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_a_file_and_options_that_exist(command, monkeypatch):
    sys.path.insert(0, str(ROOT / "studies"))
    for part in command.split(" && "):
        words = shlex.split(part)
        script = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
        if script is None:
            assert words[:2] in (["python3", "-m"], [".venv/bin/pip", "install"], [".venv/bin/python", "-m"])
            continue
        name, options = words[script], words[script + 1 :]
        assert (ROOT / name).exists()
        if name == "train.py":
            assert complete_train(parse(TrainConfig, "", options))
        elif name == "eval.py":
            assert parse_eval(options)
        else:
            module = __import__(name.removesuffix(".py").removeprefix("studies/"))
            assert module.parse(options) if options else module.main  # without options there is nothing to misspell


def test_every_function_and_test_that_the_readme_names_exists():
    functions = re.findall(r"`(rank|shaping|grpo|rollout|verifier|train)\.(\w+)`", README)
    tests = re.findall(r"`(tests/\w+\.py)::(\w+)`", README)
    assert len(functions) > 10 and len(tests) > 7
    for file, name in [(f"{module}.py", name) for module, name in functions] + tests:
        found = re.search(rf"^(def {name}\(|{name} = )", (ROOT / file).read_text(), re.MULTILINE)
        assert name == "py" or found, f"{file} has no {name}"


def worked_response(folder=ROOT / "toy_base"):
    """The lines of the README's example: from the text of a response to its shaped advantage."""
    from engine.models import load_model
    from rank import prefix_ranks, rank_metrics
    from rollout import Policy
    from shaping import deviation, shape_advantages

    question, response = "(((7*5)-7)+8)*2=?", "7*5=35\n35-7=28\n28+8=36\n36*2=72\n\\boxed{72}"
    stride, A, mu = 4, 1.620, {"er": 18.2, "erv": 5.0, "era": 0.65}
    model, tokenizer = load_model(str(folder), torch.device("cpu"))
    prompt, answer = tokenizer.encode(question), [*tokenizer.encode(response), tokenizer.eos_token_id]
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        _, _, z = Policy(model.eval())(ids, torch.ones_like(ids), targets=ids[:, len(prompt) :])  # [1, T, D]
    metrics = rank_metrics(z, torch.ones(z.shape[:2], dtype=torch.bool), stride)
    n = range(stride + 1, len(answer) + 1, stride)
    m = prefix_ranks(z[0], stride)
    er, erv, era = (metrics[name].item() for name in ("er", "erv", "era"))
    assert er == pytest.approx(m[-1].item())  # here the last prefix is the whole response

    lines = ["| j | states | new text | m_j | delta_j |", "|---|---|---|---|---|"]
    for j, end in enumerate(n):
        new = tokenizer.decode(answer[max(0, end - stride) if j else 0 : end]).replace("\n", " ↵ ")
        delta = f"{m[j] - m[:j].mean():.2f}" if j else ""
        lines.append(f"| {j + 1} | {end} | `{new.strip()}` | {m[j]:.2f} | {delta} |")
    d = [deviation(metrics[name], mu[name]).item() for name in mu]
    large = torch.tensor([9.0], dtype=torch.float64)  # an advantage that cuts nothing off: the bonus is Phi
    phi = (shape_advantages(large, metrics, mu)[0] - large).item()
    shaped, stats = shape_advantages(torch.tensor([A]), metrics, mu)
    shaped, beta = shaped.item(), stats["beta"]
    words = (
        f"So ER = {er:.2f}, ERV = {erv:.2f} and ERA = {era:.3f}. Against running means of 18.2, 5.0 and 0.65 these are "
        f"deviations of {d[0]:+.3f}, {d[1]:+.3f} and {d[2]:+.3f}; beta = {beta:.3f}, Phi = {phi:.3f}, which is below "
        f"|A| / 2 = {A / 2:.3f}; A' = {shaped:.3f}."
    )
    return "\n".join(lines), words


def test_the_worked_response_has_the_numbers_of_the_code():
    table, words = worked_response()
    assert table in README
    assert " ".join(words.split()) in " ".join(README.split())
