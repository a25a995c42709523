"""README and docs: commands have options that exist, names and links lead somewhere, numbers are those of the code."""

import re
import shlex
import sys

import pytest
import torch
from conftest import ROOT

from engine.config import TrainConfig, complete_train, parse, parse_eval
from grpo import group_advantages, policy_loss

README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
TEXT = "\n".join(PAGES.values())
BLOCKS = [block.replace("\\\n", " ") for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)]
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
COMMANDS += re.findall(r"`(python (?:studies|bench|train|eval)[^`]*)`", TEXT)


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
        elif name.startswith("bench/"):  # which parse within main
            source = (ROOT / name).read_text()
            assert all(f'"{word}"' in source for word in options if word.startswith("--"))
        else:
            module = __import__(name.removesuffix(".py").removeprefix("studies/"))
            assert module.parse(options) if options else module.main  # without options there is nothing to misspell


def test_every_function_and_test_that_the_readme_names_exists():
    functions = re.findall(r"`(rank|shaping|grpo|rollout|verifier|train)\.(\w+)`", TEXT)
    tests = re.findall(r"`(tests/\w+\.py)::(\w+)`", TEXT)
    assert len(functions) > 10 and len(tests) > 7
    for file, name in [(f"{module}.py", name) for module, name in functions] + tests:
        found = re.search(rf"^(def {name}\(|{name} = )", (ROOT / file).read_text(), re.MULTILINE)
        assert name in ("py", "sh") or found, f"{file} has no {name}"


def test_every_link_and_picture_leads_to_a_file():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith("https://"):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_the_rewards_and_losses_of_the_readme_run():
    """The reward of docs/own.md has its parts; the README's lines of GRPO give grpo.py's numbers."""
    (grpo_lines,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (reward_lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/own.md").read_text(), re.DOTALL)
    names = {}
    exec(reward_lines, names)  # the README's own code
    parts = names["boxed_and_short"]("1+1=?", r"It is \boxed{2}.", "2", {})
    assert parts == {"right": 1.0, "boxed": 0.1, "short": pytest.approx(-16 / 10_000)}

    R = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    logp, old = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0)) * 0.3
    weights = torch.full((4, 1), 0.25)
    names = {"torch": torch, "R": R, "logp": logp, "old_logp": old, "weights": weights}
    first, *others = grpo_lines.strip().splitlines()
    exec(first, names)
    names["A"] = names["A"].T  # [G, 1]: repeated for every token
    exec("\n".join(others), names)
    loss, _ = policy_loss(logp, old, group_advantages(R[0], 4), weights)
    assert names["loss"].item() == pytest.approx(loss.item())


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
    shown = re.findall(r"^\| \d+ \| \d+ \| `.*$", README, re.MULTILINE)  # the first and the last rows
    assert len(shown) == 5 and set(shown) <= set(table.splitlines())
    assert " ".join(words.split()) in " ".join(README.split())
