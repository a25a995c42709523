import math

import pytest
import torch

from shaping import MODES, deviations, dual_channel, shape_advantages, update_baseline

NAN = float("nan")
BASELINE = (10.0, 2.0, 1.0)


def random_case(seed, B=64):
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(B, generator=g, dtype=torch.float64)
    A[::7] = 0
    metrics = torch.randn(3, B, generator=g, dtype=torch.float64) * 8 + torch.tensor(BASELINE)[:, None]
    metrics[torch.rand(3, B, generator=g) < 0.1] = NAN
    mask = torch.arange(12) < torch.randint(1, 13, (B, 1), generator=g)
    return A, metrics, mask, torch.rand(B, 12, generator=g, dtype=torch.float64) * 3


def shape(mode, A, metrics, mask, entropy, **other):
    order = torch.randperm(len(A), generator=torch.Generator().manual_seed(1)) if mode == "shuffled" else None
    return shape_advantages(A, metrics, BASELINE, mode=mode, mask=mask, entropy=entropy, order=order, **other)


def test_shaping_matches_the_equations_computed_one_by_one_in_plain_floats():
    A, metrics, _, _ = random_case(0)
    shaped, stats = shape_advantages(A, metrics, BASELINE, kappa=3.0, gain=1.5)
    for i, (a, *m) in enumerate(zip(A.tolist(), *metrics.tolist())):
        d = [0.0 if math.isnan(x) else max(-5.0, min(5.0, (x - mu) / (abs(mu) + 1e-8))) for x, mu in zip(m, BASELINE)]
        beta = 1 / (1 + math.exp(-1.5 * d[2]))
        phi = beta * math.tanh(d[0]) + (1 - beta) * math.tanh(d[1])
        assert shaped[i].item() == pytest.approx(a + min(max(0.0, phi), abs(a) / 3.0), abs=1e-12)
    assert 0 < stats["bonus_fraction"] < 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kappa", [1.01, 2.0, 10.0])
def test_no_mode_turns_a_sign_or_leaves_the_bounds(mode, kappa):
    A, metrics, mask, entropy = random_case(1)
    shaped, _ = shape(mode, A, metrics, mask, entropy, kappa=kappa)
    a = A if shaped.dim() == 1 else A[:, None].expand(shaped.shape)
    assert (shaped[a == 0] == 0).all()
    assert (shaped.sign() == a.sign()).all()
    assert (shaped >= a).all() and (shaped.abs() <= (1 + 1 / kappa) * a.abs() + 1e-12).all()
    assert (shaped.abs() >= (1 - 1 / kappa) * a.abs() - 1e-12).all()


def test_none_gives_no_bonus_and_the_first_step_neither():
    A, metrics, mask, entropy = random_case(2)
    shaped, stats = shape("none", A, metrics, mask, entropy)
    assert torch.equal(shaped, A) and stats["bonus_fraction"] == 0
    for mode in set(MODES) - {"entropy"}:  # entropy shaping has no running mean to wait for
        order = torch.arange(len(A)) if mode == "shuffled" else None
        shaped, stats = shape_advantages(A, metrics, None, mode=mode, mask=mask, entropy=entropy, order=order)
        assert stats == {"bonus_fraction": 0.0, "bonus": 0.0, "beta": None}
        assert (shaped if shaped.dim() == 1 else shaped[:, 0]).equal(A)


def test_undefined_metrics_are_neutral():
    # ERV and ERA undefined: beta = 1/2, only the exploration channel speaks
    phi, beta = dual_channel(([12.0], [NAN], [NAN]), BASELINE)
    assert beta.item() == 0.5 and phi.item() == pytest.approx(0.5 * math.tanh(0.2))
    assert deviations(([NAN],) * 3, BASELINE).tolist() == [[0.0]] * 3
    assert deviations(([1.0],) * 3, (NAN,) * 3).tolist() == [[0.0]] * 3


def test_ablations_hold_beta():
    m = ([12.0], [1.0], [3.0])
    d_er, d_erv = math.tanh(0.2), math.tanh(-0.5)
    for mode, beta in (("er", 1.0), ("erv", 0.0), ("equal", 0.5)):
        phi, b = dual_channel(m, BASELINE, mode)
        assert b.item() == beta and phi.item() == pytest.approx(beta * d_er + (1 - beta) * d_erv)


def test_shuffled_moves_phi_and_clips_it_by_its_new_owner():
    A = torch.tensor([0.1, 4.0], dtype=torch.float64)
    metrics = torch.tensor([[10.0, 20.0], [2.0, 4.0], [1.0, 1.0]])  # Phi: 0 and tanh(1)
    shaped, _ = shape_advantages(A, metrics, BASELINE, mode="shuffled", order=torch.tensor([1, 0]))
    assert shaped.tolist() == pytest.approx([0.1 + 0.05, 4.0])


def test_entropy_mode_is_the_formula_of_cheng_et_al_per_token():
    A, H = torch.tensor([1.0, -0.1]), torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    mask = torch.tensor([[True, True], [True, False]])
    shaped, stats = shape_advantages(A, (), None, mode="entropy", mask=mask, entropy=H)
    torch.testing.assert_close(shaped, torch.tensor([[1.4, 1.5], [-0.05, -0.1]]))
    assert stats["bonus_fraction"] == 1.0 and stats["beta"] is None


def test_release_mode_touches_the_last_sampled_token_only_and_reads_undefined_as_zero():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    metrics = (torch.tensor([20.0, 20.0]), torch.tensor([NAN, 4.0]), torch.tensor([1.0, NAN]))
    shaped, _ = shape_advantages(torch.tensor([8.0, 8.0]), metrics, BASELINE, mode="release", mask=mask)
    assert shaped[0].tolist()[:2] == [8.0, 8.0] and shaped[1].tolist()[1:] == [8.0, 8.0]
    # response 0: ERV 0.0, d_ERV = -1; beta = 1/2 · response 1: ERA 0.0, d_ERA = -1
    beta = 1 / (1 + math.exp(2.0))
    assert shaped[0, 2].item() == 8.0  # (tanh 1 - tanh 1) / 2 = 0
    assert shaped[1, 0].item() == pytest.approx(8.0 + math.tanh(1))
    assert dual_channel([m[1:] for m in metrics], BASELINE, "release")[1].item() == pytest.approx(beta)


def test_baseline_starts_at_the_first_mean_and_then_mixes():
    mu = update_baseline(None, (10.0, 2.0, NAN))
    assert mu.tolist()[:2] == [10.0, 2.0] and math.isnan(mu[2])
    mu = update_baseline(mu, (20.0, NAN, 5.0), alpha=0.3)
    assert mu.tolist() == pytest.approx([0.7 * 10 + 0.3 * 20, 2.0, 5.0])


@pytest.mark.parametrize("bad", [
    dict(mode="verll"), dict(kappa=1.0), dict(mode="entropy"), dict(mode="release"),
    dict(mode="shuffled"), dict(order=torch.tensor([0])),
])  # fmt: skip
def test_bad_input_is_refused(bad):
    with pytest.raises(ValueError):
        shape_advantages(torch.ones(1), ([1.0],) * 3, BASELINE, **bad)
