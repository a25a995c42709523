import math

import pytest
import torch

from shaping import HELD_BETA, MODES, deviation, shape_advantages, update_means

NAN = float("nan")
BASELINE = {"er": 10.0, "erv": 2.0, "era": 1.0}


def metrics_of(er, erv, era):
    return {"er": torch.tensor(er), "erv": torch.tensor(erv), "era": torch.tensor(era)}


def random_case(seed, B=64):
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(B, generator=g, dtype=torch.float64)
    A[::7] = 0
    metrics = {}
    for name, mu in BASELINE.items():
        metrics[name] = torch.randn(B, generator=g, dtype=torch.float64) * 8 + mu
        metrics[name][torch.rand(B, generator=g) < 0.1] = NAN
    mask = torch.arange(12) < torch.randint(1, 13, (B, 1), generator=g)
    return A, metrics, mask, torch.rand(B, 12, generator=g, dtype=torch.float64) * 3


def test_shaping_matches_the_equations_computed_one_by_one_in_plain_floats():
    A, metrics, _, _ = random_case(0)
    shaped, stats = shape_advantages(A, metrics, BASELINE, kappa=3.0, gain=1.5)
    betas, bonuses = [], []
    for i, a in enumerate(A.tolist()):
        d = {}
        for name, mu in BASELINE.items():
            x = metrics[name][i].item()
            d[name] = 0.0 if math.isnan(x) else max(-5.0, min(5.0, (x - mu) / (abs(mu) + 1e-8)))
        beta = 1 / (1 + math.exp(-1.5 * d["era"]))
        phi = beta * math.tanh(d["er"]) + (1 - beta) * math.tanh(d["erv"])
        betas.append(beta)
        bonuses.append(min(max(0.0, phi), abs(a) / 3.0))
        assert shaped[i].item() == pytest.approx(a + bonuses[-1], abs=1e-12)
    assert stats["beta"] == pytest.approx(sum(betas) / len(betas))
    assert stats["bonus"] == pytest.approx(sum(bonuses) / len(bonuses))
    assert stats["bonus_fraction"] == pytest.approx(sum(b > 0 for b in bonuses) / len(bonuses)) and 0 < stats["bonus"]


def test_the_defaults_are_the_papers_kappa_2_and_gain_2():
    A, metrics, _, _ = random_case(3)
    assert torch.equal(shape_advantages(A, metrics, BASELINE)[0], shape_advantages(A, metrics, BASELINE, 2.0, 2.0)[0])
    assert not torch.equal(shape_advantages(A, metrics, BASELINE)[0], shape_advantages(A, metrics, BASELINE, 2.0, 2.5)[0])


def test_a_deviation_is_relative_to_the_size_of_the_mean_and_ends_at_five():
    assert deviation(torch.tensor([3.0, -1.0]), 2.0).tolist() == pytest.approx([0.5, -1.5])
    assert deviation(torch.tensor([-1.0]), -2.0).tolist() == pytest.approx([0.5])  # above a negative mean is above
    assert deviation(torch.tensor([1e3, -1e3, 10.9, 11.1]), 2.0).tolist() == pytest.approx([5, -5, 4.45, 4.55])
    assert deviation(torch.tensor([11.9, 12.1, -7.9, -8.1]), 2.0).tolist() == pytest.approx([4.95, 5, -4.95, -5])
    assert deviation(torch.tensor([1e-8, 0.0]), 0.0).tolist() == pytest.approx([1.0, 0.0])  # eps, not a division by 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kappa", [1.01, 2.0, 10.0])
def test_no_mode_turns_a_sign_or_leaves_the_bounds(mode, kappa):
    A, metrics, mask, entropy = random_case(1)
    shaped, _ = shape_advantages(A, metrics, BASELINE, kappa=kappa, mode=mode, mask=mask, entropy=entropy)
    a = A if shaped.dim() == 1 else A[:, None].expand(shaped.shape)
    assert (shaped[a == 0] == 0).all()
    assert (shaped.sign() == a.sign()).all()
    assert (shaped >= a).all() and (shaped.abs() <= (1 + 1 / kappa) * a.abs() + 1e-12).all()
    assert (shaped.abs() >= (1 - 1 / kappa) * a.abs() - 1e-12).all()


def test_none_gives_no_bonus_and_the_first_step_neither():
    A, metrics, mask, entropy = random_case(2)
    shaped, stats = shape_advantages(A, metrics, BASELINE, mode="none", mask=mask, entropy=entropy)
    assert torch.equal(shaped, A) and stats == {"bonus_fraction": 0.0, "bonus": 0.0, "beta": None}
    for mode in set(MODES) - {"entropy"}:  # entropy shaping has no running mean to wait for
        shaped, stats = shape_advantages(A, metrics, None, mode=mode, mask=mask, entropy=entropy)
        assert stats == {"bonus_fraction": 0.0, "bonus": 0.0, "beta": None}
        assert torch.equal(shaped, A)


def test_undefined_metrics_and_means_are_neutral():
    # ERV and ERA undefined: beta = 1/2, only the exploration channel counts
    shaped, stats = shape_advantages(torch.tensor([9.0]), metrics_of([12.0], [NAN], [NAN]), BASELINE)
    assert stats["beta"] == 0.5 and shaped.item() == pytest.approx(9 + 0.5 * math.tanh(0.2))
    assert deviation(torch.tensor([NAN]), 10.0).tolist() == [0.0]
    assert deviation(torch.tensor([1.0]), NAN).tolist() == [0.0]
    # a metric that a resumed run's means do not know yet
    shaped, _ = shape_advantages(torch.tensor([9.0]), metrics_of([12.0], [4.0], [1.0]), {"er": 10.0, "era": 1.0})
    assert shaped.item() == pytest.approx(9 + 0.5 * math.tanh(0.2))


def test_ablations_hold_beta():
    metrics = metrics_of([12.0], [3.0], [3.0])
    for mode, beta in (("er", 1.0), ("erv", 0.0), ("equal", 0.5)):
        shaped, stats = shape_advantages(torch.tensor([9.0], dtype=torch.float64), metrics, BASELINE, mode=mode)
        assert stats["beta"] == beta
        assert shaped.item() == pytest.approx(9 + beta * math.tanh(0.2) + (1 - beta) * math.tanh(0.5))
    assert set(HELD_BETA) == {"er", "erv", "equal"} < set(MODES)


def test_shuffled_is_the_method_on_whatever_metrics_it_is_handed():
    A, metrics, _, _ = random_case(4)
    order = torch.randperm(len(A), generator=torch.Generator().manual_seed(0))
    others = {name: x[order] for name, x in metrics.items()}
    shaped, _ = shape_advantages(A, others, BASELINE, mode="shuffled")
    assert torch.equal(shaped, shape_advantages(A, others, BASELINE, mode="verl")[0])
    assert not torch.equal(shaped, shape_advantages(A, metrics, BASELINE, mode="verl")[0])


def test_entropy_mode_is_the_formula_of_cheng_et_al_per_token():
    A, H = torch.tensor([1.0, -0.1]), torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    mask = torch.tensor([[True, True], [True, False]])
    shaped, stats = shape_advantages(A, {}, None, mode="entropy", mask=mask, entropy=H)
    torch.testing.assert_close(shaped, torch.tensor([[1.4, 1.5], [-0.05, -0.1]]))
    assert stats["bonus_fraction"] == 1.0 and stats["beta"] is None
    assert stats["bonus"] == pytest.approx((0.5 + 0.05) / 2)  # the largest of each response, not the last
    shaped, stats = shape_advantages(A, {}, None, mode="entropy", mask=mask.flip(1), entropy=H.flip(1), entropy_scale=0.1)
    torch.testing.assert_close(shaped, torch.tensor([[1.2, 1.1], [-0.1, -0.05]]))
    assert stats["bonus"] == pytest.approx((0.2 + 0.05) / 2)


def test_mu_starts_at_the_first_mean_and_then_mixes():
    mu = update_means(None, {"er": 10.0, "erv": 2.0, "era": NAN})
    assert mu["er"] == 10.0 and mu["erv"] == 2.0 and math.isnan(mu["era"])
    mu = update_means(mu, {"er": 20.0, "erv": NAN, "era": 5.0})  # alpha 0.3, the paper's
    assert mu == {"er": pytest.approx(0.7 * 10 + 0.3 * 20), "erv": 2.0, "era": 5.0}
    assert update_means(mu, {"er": 20.0}, alpha=1.0) == {"er": 20.0}


def test_a_metric_that_is_new_to_the_running_means_starts_at_its_first_mean():
    assert update_means({"er": 10.0}, {"er": 10.0, "norm": 3.0}) == {"er": 10.0, "norm": 3.0}


@pytest.mark.parametrize("bad, message", [
    (dict(mode="verll"), "choose one of verl, none"), (dict(kappa=1.0), "above 1"), (dict(kappa=NAN), "above 1"),
    (dict(mode="entropy"), "needs mask"), (dict(mode="entropy", mask=torch.ones(1, 1)), "needs mask"),
    (dict(mode="entropy", entropy=torch.ones(1, 1)), "needs mask"),
])  # fmt: skip
def test_bad_input_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        shape_advantages(torch.ones(1), metrics_of([1.0], [1.0], [1.0]), BASELINE, **bad)
