import math

import pytest
import torch

from grpo import NORMALISATIONS, equal_groups, group_advantages, k3, policy_loss, token_logprobs, token_weights


def test_group_advantages_match_a_hand_worked_example():
    A = group_advantages(torch.tensor([1.0, 0, 0, 0, 1, 1, 0, 0]), 4)
    std1, std2 = math.sqrt(0.75 / 3), math.sqrt(1.0 / 3)  # n - 1
    want = [0.75 / (std1 + 1e-6)] + [-0.25 / (std1 + 1e-6)] * 3 + [0.5 / (std2 + 1e-6)] * 2 + [-0.5 / (std2 + 1e-6)] * 2
    torch.testing.assert_close(A, torch.tensor(want))


def test_equal_rewards_give_advantage_exactly_zero_even_where_their_mean_rounds():
    R = torch.full((8,), 0.7)
    assert R.mean() != R[0]  # the trap: (R - mean) / (std + 1e-6) is 0.056 here
    assert group_advantages(R, 8).tolist() == [0.0] * 8
    assert equal_groups(R, 8).all()


def test_without_std_scaling_the_advantage_is_the_centred_reward():
    A = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), 4, scale_std=False)
    assert A.tolist() == [0.75, -0.25, -0.25, -0.25]


@pytest.mark.parametrize("rewards, size", [([1.0, 0.0], 1), ([1.0, 0.0, 1.0], 2), ([[1.0, 0.0]], 2)])
def test_groups_without_comparison_are_refused(rewards, size):
    with pytest.raises(ValueError, match="group"):
        group_advantages(torch.tensor(rewards), size)


def test_groups_of_two_are_the_smallest():
    A = group_advantages(torch.tensor([1, 0, 1, 1]), 2)  # integers, too
    torch.testing.assert_close(A, torch.tensor([0.5, -0.5, 0.0, 0.0]) / (math.sqrt(0.5) + 1e-6))


def test_advantages_keep_the_dtype_of_a_float_input():
    assert group_advantages(torch.tensor([1.0, 0.0], dtype=torch.float64), 2).dtype == torch.float64
    assert group_advantages(torch.tensor([1, 0]), 2).dtype == torch.float32


def test_the_1e_6_beside_the_std_is_there():
    R = torch.tensor([1e-6, 0.0], dtype=torch.float64)  # std 7.07e-7, smaller than it
    assert group_advantages(R, 2)[0].item() == pytest.approx(0.5e-6 / (1e-6 / math.sqrt(2) + 1e-6))


def test_some_groups_are_equal_and_some_are_not():
    assert equal_groups(torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]), 2).tolist() == [True, False, True]


def test_token_logprobs_and_entropy_match_float64():
    logits = torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(0)) * 5
    targets = torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(1))
    p = logits.double().softmax(-1)
    logp, entropy = token_logprobs(logits, targets)
    torch.testing.assert_close(logp.double(), p.gather(-1, targets[..., None])[..., 0].log(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy.double(), torch.special.entr(p).sum(-1), atol=1e-5, rtol=1e-5)
    without, zeros = token_logprobs(logits, targets, entropy=False)
    assert torch.equal(without, logp) and not zeros.any()


def test_loss_and_gradient_match_a_hand_worked_example():
    # Two responses of two tokens, the last token of the second not sampled; A = 1 and -1; ratios 1.5, 1, 0.5.
    old = torch.log(torch.tensor([[0.2, 0.5], [0.4, 0.9]]))
    logp = torch.log(torch.tensor([[0.3, 0.5], [0.2, 0.1]])).requires_grad_()
    mask = torch.tensor([[True, True], [True, False]])
    w = token_weights(mask, "token", tokens=3, responses=2, max_new_tokens=2)
    loss, stats = policy_loss(logp, old, torch.tensor([1.0, -1.0]), w)
    # J: min(1.5, 1.2) = 1.2; 1; min(-0.5, -0.8) = -0.8. loss = -(1.2 + 1 - 0.8) / 3
    assert loss.item() == pytest.approx(-1.4 / 3)
    assert stats["clip_fraction"].item() == pytest.approx(2 / 3)
    d = [math.log(0.2 / 0.3), 0.0, math.log(0.4 / 0.2)]
    assert stats["kl"].item() == pytest.approx(sum(math.exp(x) - x - 1 for x in d) / 3, rel=1e-5)
    loss.backward()
    torch.testing.assert_close(logp.grad, torch.tensor([[0.0, -1 / 3], [0.0, 0.0]]))  # clipped tokens do not move


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_its_sums_match_the_equations_written_out_token_by_token(seed):
    g = torch.Generator().manual_seed(seed)
    B, T = 6, 5
    old, ref = (-3 * torch.rand(B, T, generator=g, dtype=torch.float64) for _ in range(2))
    logp = old + 0.5 * torch.randn(B, T, generator=g, dtype=torch.float64)
    H = torch.rand(B, T, generator=g, dtype=torch.float64)
    A = 3 * torch.randn(B, generator=g, dtype=torch.float64)  # of sizes other than 1, and of both signs
    A[0] = 0.0
    weights = torch.rand(B, T, generator=g, dtype=torch.float64) * (torch.rand(B, T, generator=g) < 0.8)
    low, high, c_H, c_KL = 0.2, 0.3, 0.07, 0.4
    loss, stats = policy_loss(logp, old, A, weights, low, high, H, c_H, ref, c_KL)
    want = {"loss": 0.0, "clip_fraction": 0.0, "kl": 0.0, "kl_reference": 0.0}
    for i in range(B):
        for t in range(T):
            w, l, a = weights[i, t].item(), logp[i, t].item(), A[i].item()
            r = math.exp(l - old[i, t].item())
            J = min(r * a, max(1 - low, min(1 + high, r)) * a)
            d_old, d_ref = old[i, t].item() - l, ref[i, t].item() - l
            KL = math.exp(d_ref) - d_ref - 1
            want["loss"] += w * (-J + c_KL * KL - c_H * H[i, t].item())
            want["clip_fraction"] += w * ((a > 0 and r > 1 + high) or (a < 0 and r < 1 - low))
            want["kl"] += w * (math.exp(d_old) - d_old - 1)
            want["kl_reference"] += w * KL
    assert loss.item() == pytest.approx(want.pop("loss"), rel=1e-12)
    assert {name: value.item() for name, value in stats.items()} == {k: pytest.approx(v, rel=1e-12) for k, v in want.items()}
    per_token, _ = policy_loss(logp, old, A[:, None].expand(B, T), weights, low, high, H, c_H, ref, c_KL)
    assert per_token.item() == loss.item()


def test_each_end_of_the_clip_range_counts_as_clipped_only_where_the_advantage_points_beyond_it():
    old, w = torch.zeros(1, 1), torch.ones(1, 1)
    clipped = lambda r, a: policy_loss(torch.tensor([[r]]).log(), old, torch.tensor([a]), w)[1]["clip_fraction"].item()
    assert [clipped(1.3, a) for a in (2.0, -2.0, 0.0)] == [1, 0, 0]
    assert [clipped(0.7, a) for a in (2.0, -2.0, 0.0)] == [0, 1, 0]
    assert [clipped(r, a) for r in (1.15, 0.85) for a in (2.0, -2.0)] == [0, 0, 0, 0]  # inside: default 0.2


def test_a_ratio_that_is_just_at_an_end_of_the_clip_range_is_not_clipped_yet():
    logp = torch.tensor([[2.0], [0.5]]).log()
    ends = dict(clip_low=0.5, clip_high=1.0)
    assert torch.equal(logp.exp(), torch.tensor([[2.0], [0.5]]))  # exactly
    _, stats = policy_loss(logp, torch.zeros(2, 1), torch.tensor([1.0, -1.0]), torch.ones(2, 1), **ends)
    assert stats["clip_fraction"].item() == 0
    _, stats = policy_loss(logp, torch.zeros(2, 1), torch.tensor([1.0, -1.0]), torch.ones(2, 1), 0.49, 0.99)
    assert stats["clip_fraction"].item() == 2


def test_k3_is_the_kl_divergence_in_the_mean_and_never_negative():
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    KL = k3(p.log(), q.log())
    assert (KL >= 0).all() and k3(torch.ones(1), torch.ones(1)).item() == 0
    assert (p * KL).sum().item() == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-5)


def test_clip_high_and_clip_low_are_separate():
    old, w = torch.zeros(1, 1), torch.ones(1, 1)
    up, down = torch.tensor([[1.25]]).log(), torch.tensor([[0.75]]).log()
    loss = lambda logp, a: policy_loss(logp, old, torch.tensor([a]), w, clip_low=0.2, clip_high=0.28)[0].item()
    assert loss(up, 1.0) == pytest.approx(-1.25)  # below 1.28: not clipped
    assert loss(down, -1.0) == pytest.approx(0.8)  # below 1 - 0.2: clipped


def test_kl_and_entropy_terms_enter_with_their_coefficients():
    logp, ref, entropy, w = torch.tensor([[-1.0]]), torch.tensor([[-2.0]]), torch.tensor([[0.7]]), torch.ones(1, 1)
    loss, stats = policy_loss(
        logp, logp, torch.zeros(1), w, entropy=entropy, entropy_coef=0.1, ref_logp=ref, kl_coef=0.5
    )
    k3 = math.exp(-1) + 1 - 1  # d = ref - logp = -1
    assert loss.item() == pytest.approx(0.5 * k3 - 0.1 * 0.7)
    assert stats["kl_reference"].item() == pytest.approx(k3)


@pytest.mark.parametrize("normalise, want", [
    ("token", [[1 / 3, 1 / 3], [1 / 3, 0]]),
    ("sequence", [[1 / 4, 1 / 4], [1 / 2, 0]]),
    ("constant", [[1 / 20] * 2, [1 / 20, 0]]),
])  # fmt: skip
def test_token_weights(normalise, want):
    mask = torch.tensor([[True, True], [True, False]])
    torch.testing.assert_close(
        token_weights(mask, normalise, tokens=3, responses=2, max_new_tokens=10), torch.tensor(want)
    )


def test_a_response_without_tokens_weighs_nothing_in_any_normalisation():
    mask = torch.tensor([[False, False], [True, True]])
    for normalise in NORMALISATIONS:
        weights = token_weights(mask, normalise, tokens=2, responses=2, max_new_tokens=2)
        assert weights[0].tolist() == [0.0, 0.0] and (weights[1] > 0).all()
    with pytest.raises(ValueError, match=f"choose one of {', '.join(NORMALISATIONS)}"):
        token_weights(mask, "tokens", 2, 2, 2)


def test_what_lies_outside_the_mask_changes_nothing():
    mask = torch.tensor([[True, False]])
    w = token_weights(mask, "token", 1, 1, 2)
    nan = float("nan")
    for junk in (5.0, nan, -math.inf):
        logp = torch.tensor([[-1.0, junk]], requires_grad=True)
        loss, stats = policy_loss(
            logp, torch.tensor([[-1.5, nan]]), torch.ones(1), w, entropy=torch.tensor([[1.0, nan]]), entropy_coef=0.1
        )
        loss.backward()
        assert loss.item() == pytest.approx(-1.2 - 0.1)
        assert math.isfinite(stats["kl"].item()) and logp.grad[0, 1] == 0


@pytest.mark.parametrize("shape", [(3,), (2, 3, 1), ()])
def test_advantages_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="advantages"):
        policy_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(shape), torch.ones(2, 3))


def test_stats_carry_no_gradient():
    logp = torch.zeros(1, 1, requires_grad=True)
    _, stats = policy_loss(logp, logp.detach() - 0.1, torch.ones(1), torch.ones(1, 1), ref_logp=logp.detach(), kl_coef=0.1)
    assert not any(value.requires_grad for value in stats.values())
