"""The studies: what they claim as identities, how they count, and that they run and resume."""

import doctest
import importlib.util
import json
import math
import shlex
import sys

import ablation
import ablation_table
import decoupling
import plot
import pytest
import release
import reorder
import torch
from conftest import ROOT
from processes import ForkedRun

from rank import effective_rank, rank_metrics
from shaping import MODES, deviation, shape_advantages


@pytest.mark.parametrize("module", [plot, ablation_table], ids=lambda m: m.__name__)
def test_examples_in_docstrings_run(module):
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


# reorder: ER(P Z) = ER(Z), while ERV and ERA depend on the order


def test_er_does_not_depend_on_the_order_of_the_states_and_erv_and_era_do():
    z = torch.randn(50, 12, generator=torch.Generator().manual_seed(0)).cumsum(0)
    index = reorder.orders(z, random=10)  # [16, 50]
    metrics = rank_metrics(z[index], torch.ones(index.shape, dtype=torch.bool), stride=4)
    er, erv, era = (metrics[name] for name in ("er", "erv", "era"))
    assert torch.equal(index.sort(1).values, torch.arange(50).expand(16, 50))  # each order is a permutation
    torch.testing.assert_close(er, er[:1].expand_as(er), rtol=1e-9, atol=0)
    assert erv.unique().numel() == era.unique().numel() == 16
    assert erv.max() > 1.1 * erv.min()


def test_greedy_orders_of_points_on_a_line():
    z = torch.tensor([[0.0], [10.0], [1.0], [6.0]])
    assert reorder.greedy(z, farthest=False).tolist() == [0, 2, 3, 1]
    assert reorder.greedy(z, farthest=True).tolist() == [0, 1, 3, 2]


# ablation: paired differences, by hand


def record(reward, pass1, pass8, length=30.0):
    curves = {k: [] for k in ablation.CURVES} | {"reward": reward}
    curves |= {"er": [20.0] * len(reward), "entropy": [0.1] * len(reward), "length": [length] * len(reward)}
    return {"pass@1": pass1, "pass@8": pass8, "curves": curves, "seconds": 1.0}


def test_paired_differences_by_hand():
    none = {str(s): record([x, x], {"a": x, "b": 0.0}, {"a": 1.0, "b": 1.0}) for s, x in enumerate((0.2, 0.5, 0.8))}
    verl = {str(s): record([x, x], {"a": x, "b": 0.0}, {"a": 1.0, "b": 1.0}) for s, x in enumerate((0.3, 0.7, 1.1))}
    verl["9"] = record([0.0], {"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0})  # no partner: left out
    area = ablation_table.differences({"none": none, "verl": verl}, lambda r: ablation_table.measures(r)["area"])
    # d = 0.1, 0.2, 0.3: mean 0.2, std 0.1, t_{0.975, 2} = 4.3027, so 0.2 -+ 4.3027 * 0.1 / sqrt(3) = 0.2 -+ 0.24841
    assert area == {"verl": pytest.approx((0.2, -0.04841, 0.44841), abs=1e-5)}
    assert ablation_table.measures(none["2"]) == pytest.approx(
        {"area": 0.8, "pass@1": 0.4, "pass@8": 1.0, "er": 20.0, "entropy": 0.1, "length": 30.0}
    )


def test_table_marks_intervals_that_exclude_zero():
    levels = {"toy-1": 1.0, "toy-2": 1.0}
    runs = {f"none/{s}": record([0.5], levels, levels, 30 + s) for s in range(3)}
    runs |= {f"er/{s}": record([0.5], levels, levels, 32 + s + 0.1 * s) for s in range(3)}  # d = 2, 2.1, 2.2
    text = ablation_table.markdown("default", {"base": record([], levels, levels), "runs": runs})
    assert "| none | 50.0 [50.0, 50.0] |" in text and "+2.10 [+1.85, +2.35]* |" in text
    assert "1 of these 10 intervals exclude 0" in text


def test_the_arms_are_the_modes_of_shaping_and_one_that_can_only_be_shown(tmp_path, monkeypatch, capsys):
    assert sorted(ablation.parse([])[2]) == sorted(MODES)
    with pytest.raises(SystemExit):
        ablation.parse(["--arms", "release"])
    assert "choose from" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    kept = {"base": record([], {"a": 0.1}, {"a": 0.2}), "runs": {"none/0": record([0.5], {"a": 0.3}, {"a": 0.4})}}
    for arm, shown in (("verl", False), ("release", True)):
        kept["runs"][f"{arm}/0"] = record([0.6], {"a": 0.3}, {"a": 0.4})
        (tmp_path / "ablation-default.json").write_text(json.dumps(kept))
        ablation_table.report(tmp_path, ["default"])
        text = (tmp_path / "ablation.md").read_text()
        assert f"| {arm} - none | +10.0 " in text
        assert ("cannot be run any more" in " ".join(text.split())) == shown


def test_the_published_tables_are_those_of_the_published_results(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    results = ROOT / "studies/results"
    for name in ablation.SETTINGS:
        (tmp_path / f"ablation-{name}.json").write_text((results / f"ablation-{name}.json").read_text())
    ablation_table.report(tmp_path, list(ablation.SETTINGS))
    assert (tmp_path / "ablation.md").read_text() == (results / "ablation.md").read_text()


def test_ablation_resumes_with_what_is_missing(tmp_path, monkeypatch, capsys):
    asked = []

    def fake(setting, arm, seed, options):
        asked.append((arm, seed))
        if (arm, seed) == ("verl", 1) and len(asked) < 6:
            raise RuntimeError("train.py: killed")
        return record([] if arm == "base" else [0.1, 0.2], {"toy-1": 0.5}, {"toy-1": 0.5})

    monkeypatch.setattr(ablation, "one", fake)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    command = ["--settings", "default", "--arms", "verl", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="killed"):
        ablation.main(command)
    assert asked == [("base", 0), ("none", 0), ("verl", 0), ("none", 1), ("verl", 1)]
    ablation.main(command)
    assert asked[5:] == [("verl", 1)]
    assert "no picture" in capsys.readouterr().out and (tmp_path / "ablation.md").exists()
    with pytest.raises(SystemExit, match="give another --out"):
        ablation.main([*command, "--train", "--steps 3"])


def test_one_run_of_the_ablation(tmp_path, monkeypatch):
    forked = ForkedRun(tmp_path)
    monkeypatch.setattr(ablation, "subprocess", forked.module)
    headroom = ablation.SETTINGS["headroom"]
    small = {
        "train": f"{headroom.train} --steps 2 --prompts 2 --group 2 --mini_batches 1",
        "eval": f"{headroom.eval} --limit 1",
    }
    run = ablation.one(headroom, "shuffled", 0, small)
    assert len(run["curves"]["reward"]) == 2 and list(run["pass@8"]) == [f"{k}-operators" for k in ablation.CHAINS]
    assert run["commands"][0].startswith("python train.py --shaping shuffled") and "torch" in run["versions"]
    assert len(forked.commands) == 2


def test_headroom_trains_on_nothing_that_it_tests(tmp_path):
    ablation.write_chains(tmp_path, seed=0, train=20, test=5)
    files = {f.stem: [json.loads(x)["question"] for x in f.read_text().splitlines()] for f in tmp_path.iterdir()}
    trained = set(files.pop("train"))
    assert len(trained) == 80 and len(files) == 4
    assert not any(trained & set(asked) for asked in files.values())


# plot: grouping, and life without matplotlib


def write_run(folder, reward, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"shaping": "verl", "lr": 1e-4, "out": str(folder)} | config))
    lines = [json.dumps({"step": i, "reward": r, "beta": None}) for i, r in enumerate(reward, 1)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 9')  # the last line is torn
    return plot.read(folder)


def test_runs_that_differ_in_the_seed_alone_are_grouped(tmp_path):
    runs = [write_run(tmp_path / str(s), [0.1 * s, 0.5], seed=s) for s in (1, 3)]
    runs.append(write_run(tmp_path / "none", [0.3], seed=1, shaping="none"))
    groups = plot.group(runs)
    assert {label: len(rs) for label, rs in groups.items()} == {"verl": 2, "none": 1}
    steps, mean, low, high = plot.curve(groups["verl"], "reward")
    assert (steps, mean, low, high) == ([1, 2], pytest.approx([0.2, 0.5]), [0.1, 0.5], pytest.approx([0.3, 0.5]))
    assert list(plot.group([*runs, write_run(tmp_path / "lr", [0.3], lr=1.0)])) == [
        "verl, lr 0.0001", "none, lr 0.0001", "verl, lr 1.0"
    ]  # fmt: skip


def test_options_that_a_resumed_run_may_change_make_no_other_configuration(tmp_path):
    runs = [write_run(tmp_path / str(keep), [0.1], keep=keep, save_every=keep, threads=keep) for keep in (1, 2)]
    assert [len(grouped) for grouped in plot.group(runs).values()] == [2]


def test_plot_draws_or_says_what_is_missing(tmp_path, monkeypatch):
    write_run(tmp_path / "a", [0.1, 0.5])
    with pytest.raises(SystemExit, match="has no config.json"):
        plot.main([str(tmp_path)])
    with monkeypatch.context() as m:
        m.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(SystemExit, match="pip install matplotlib"):
            plot.main([str(tmp_path / "a"), "--out", str(tmp_path / "a.png")])
    pytest.importorskip("matplotlib")
    plot.main([str(tmp_path / "a"), "--out", str(tmp_path / "a.png")])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# release: each choice, by hand


def test_release_puts_the_bonus_on_the_last_token():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    assert release.on_last_token(torch.tensor([0.5, 0.25]), mask).tolist() == [[0, 0, 0.5], [0.25, 0, 0]]


def test_release_adds_the_signed_bonus_to_the_reward():
    R, Phi = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([-0.4, 0.9, 0.1, -0.1])
    # R + Phi = 0.6, 0.9 and 0.1, -0.1: each pair lies 1 / sqrt(2) of its std to both sides of its mean
    side = math.sqrt(0.5)
    shaped = release.in_the_reward(R, Phi, group=2)
    torch.testing.assert_close(shaped, torch.tensor([-side, side, side, -side]), rtol=0, atol=1e-4)


def test_the_signed_bonus_is_that_of_the_equations_before_it_is_clipped():
    metrics = {"er": torch.tensor([12.0, 7.0]), "erv": torch.tensor([3.0, 1.0]), "era": torch.tensor([1.5, 1.0])}
    mu = {"er": 10.0, "erv": 2.0, "era": 1.0}
    Phi = release.signed_bonus(metrics, mu)
    large = torch.full((2,), 9.0, dtype=torch.float64)
    shaped, _ = shape_advantages(large, metrics, mu)
    torch.testing.assert_close(Phi.clamp(min=0), shaped - large)
    # The second has d = -0.3, -0.5, 0, so beta = 1/2
    assert Phi[1].item() == pytest.approx((math.tanh(-0.3) + math.tanh(-0.5)) / 2)


def test_release_gives_a_response_the_states_of_others():
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]).bool()
    # Group 0 is whole for two tokens, group 1 for one; then row i serves both responses of group i
    assert release.of_other_responses(mask, group=2).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1]]


def test_with_12_prompts_of_4_responses_4_of_48_get_their_own_states():
    rows = release.of_other_responses(torch.ones(48, 1, dtype=torch.bool), group=4)[:, 0]
    assert (rows == torch.arange(48)).nonzero()[:, 0].tolist() == [0, 1, 2, 3]


def test_releases_running_means_start_at_zero_and_lag():
    means = [{"er": 10.0}, {"er": 20.0}, {"er": 30.0}, {"er": 40.0}]
    none, *mus = release.lagging_means(means)
    assert none is None
    assert [mu["er"] for mu in mus] == pytest.approx([0.0, 0.3 * 10, 0.7 * 3 + 0.3 * 20])
    assert deviation(torch.tensor([10.0]), mus[0]["er"]).item() == 5  # as large as the clamp lets it be


def test_release_takes_an_undefined_metric_for_a_strong_deviation():
    metrics = {"era": torch.tensor([2.0, math.nan])}
    zeros = release.undefined_as_zero(metrics)["era"]
    assert zeros.tolist() == [2, 0]
    assert deviation(zeros, 2.0).tolist() == pytest.approx([0, -1])
    assert deviation(metrics["era"], 2.0).tolist() == [0, 0]


def test_float32_gram_matrix_is_worse_than_float64():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(101, 40, generator=g, dtype=torch.float64)
    u = torch.linalg.qr(rows - rows.mean(0))[0]  # [101, 40] orthonormal, centred
    sigma = torch.logspace(0, -4, 40, dtype=torch.float64)
    p = sigma / sigma.sum()
    exact = torch.special.entr(p).sum().exp()
    z = u * sigma + 3.0  # off the origin; ER is known
    assert (effective_rank(z) / exact - 1).abs() < 1e-9
    assert (release.float32_rank(z.float() @ z.float().T) / exact - 1).abs() > 1e-3
    mask = torch.ones(1, 101, dtype=torch.bool)
    low, right = release.float32_metrics(z[None], mask, 10, window=101), rank_metrics(z[None], mask, 10)
    for name in low:
        assert (low[name] / right[name] - 1).abs() > 1e-4
    assert (low["er"] / right["er"] - 1).abs() < 0.01  # yet the same quantity


def test_float32_metrics_are_the_metrics_where_rounding_does_not_hurt():
    z = torch.eye(12)[None] * 4  # of the last 7 states, prefixes of 3, 5 and 7 have ranks 2, 4 and 6
    mask = torch.ones(1, 12, dtype=torch.bool)
    found = release.float32_metrics(z, mask, stride=2, window=7)
    assert found["er"].item() == pytest.approx(11, rel=1e-5)
    # The Gram matrix has an eigenvalue of 0. Some CPUs make it 1e-6, a sigma of 1e-3: 0.2% of ERA.
    assert found["erv"].item() == pytest.approx(2.5, rel=1e-3) and found["era"].item() == pytest.approx(1, rel=4e-3)
    mask[:, 5:] = False  # two prefixes: no acceleration
    assert release.float32_metrics(z, mask, stride=2, window=7)["era"].isnan()


# trl: our side of the comparison


def test_our_side_learns_from_the_reward_that_trl_has(tmp_path, monkeypatch):
    place = importlib.util.spec_from_file_location("trl_study", ROOT / "studies/trl.py")  # `trl` is the library
    trl_study = importlib.util.module_from_spec(place)
    monkeypatch.setattr(sys, "path", list(sys.path))
    place.loader.exec_module(trl_study)
    asked = []

    def reward(text):
        asked.append(text)
        return 0.0

    monkeypatch.setattr(trl_study, "reward", reward)
    monkeypatch.setattr(trl_study, "PROMPTS", 2)
    trl_study.make_model(tmp_path, "full", width=64, layers=1)
    tokens, clocks, before = trl_study.ours(tmp_path, "full", 1, 1)
    assert tokens == [2 * trl_study.GROUP * 64] and len(asked) == 2 * trl_study.GROUP
    assert len(clocks) == 2 and before > 0


# decoupling: correlations, and the whole at small size


def test_the_entropy_of_token_frequencies_counts_how_often_each_occurs():
    assert decoupling.frequency_entropy(torch.tensor([7, 7, 7])) == 0
    assert decoupling.frequency_entropy(torch.tensor([1, 2, 3, 1, 2, 3])) == pytest.approx(math.log(3))


def test_partial_correlation_removes_what_length_explains():
    g = torch.Generator().manual_seed(0)
    length, a, b = torch.randn(3, 4000, generator=g, dtype=torch.float64)
    x, y = length**3 + a, length**2 + length + b
    assert decoupling.correlation(x, y) > 0.3
    assert abs(decoupling.correlation(x, y, length)) < 0.05
    assert decoupling.correlation(x + b, y, length) > 0.6  # what they share beside length stays: 1 / sqrt(2)


def test_decoupling_runs_and_its_command_for_a_real_model_is_parsed(tmp_path):
    decoupling.main(["--operators", "4", "--each", "8", "--window", "12", "--reordered", "3", "--orders", "4",
                     "--max_new_tokens", "60", "--out", str(tmp_path)])  # fmt: skip
    found = json.loads((tmp_path / "decoupling.json").read_text())
    assert len(found["rows"]) == 32 and len(found["reordered"]) == 3
    assert found["correlations"]["all responses"]["er, erv"]["r"][0] > 0.5
    text = decoupling.__doc__.replace("\\\n", " ").splitlines()
    command = next(line for line in text if "math500" in line)
    assert decoupling.parse(shlex.split(command)[2:]).window == 512
