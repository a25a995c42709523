"""Dual-channel shaping: the rank metrics of a response become a small, bounded addition to its advantage.

The idea. A response is reinforced a little more if its hidden states explored more directions than usual (ER), or
gained them faster than usual (ERV), which the paper reads as exploiting what was found. Which of the two counts is
decided by ERA: where that growth speeds up more than usual, exploration, where less, exploitation.

    mu_k                                                      running mean of metric x_k in {ER, ERV, ERA} over steps
    d_k  = clamp( (x_k - mu_k) / (|mu_k| + eps), -5, 5 )      relative deviation of this response, eps = 1e-8
    beta = sigmoid( g d_ERA )                                 meta-controller: the weight of exploration, gain g = 2
    Phi  = beta tanh(d_ER) + (1 - beta) tanh(d_ERV)           dual channel: exploration, exploitation
    A'   = A + min( max(0, Phi), |A| / kappa )                kappa = 2

A' keeps the sign of A: the addition is never negative and at most |A| / kappa with kappa > 1. So a wrong answer is
punished less, by half at most, and never praised; where A is 0, A' is 0. At the first step there is no mu to compare
with, hence no bonus. A metric that is undefined (NaN: the response is too short) is a deviation of 0.

How it differs from the paper's release. That ships with the bonus switched off; switched on, Phi goes into the reward,
signed and unclipped, and the running means start at zero. Here it is what the equations say (docs/release.md).

Controls. To ask what the signal does, and not just the size of the bonus, `mode` changes one thing:

    none      A' = A: plain GRPO
    er, erv   beta held at 1, at 0: one channel alone             equal   beta held at 1/2: no controller
    shuffled  the caller hands in the metrics of other responses: bonuses of the same sizes, without their signal
    entropy   Phi_t = a H_t, with H_t the entropy of the policy at token t in nats and a = 0.4, in place of Phi
              (Cheng et al., arXiv:2506.14758)

A channel of one's own: its measurement is an entry of rank.METRICS; its deviation is then in `d` below, by that name.
"""

import math

import torch

EPS = 1e-8  # a running mean of 0 divides nothing by 0
MODES = ("verl", "none", "er", "erv", "equal", "shuffled", "entropy")
HELD_BETA = {"er": 1.0, "erv": 0.0, "equal": 0.5}


def deviation(x, mu):
    """d_k, float64 [B]: how far the metric x [B] of each response lies from its running mean mu (a number), relatively.

    The clamp keeps one odd response, or a mu close to 0, from deciding beta alone: at |d| = 5 the tanh of a channel is
    0.9999 already. An undefined metric, or an undefined mu, is no deviation: 0.

    >>> deviation(torch.tensor([12.0, 9.0, math.nan]), 10.0)
    tensor([ 0.2000, -0.1000,  0.0000], dtype=torch.float64)
    """
    relative = (x.double() - mu) / (abs(mu) + EPS)
    return relative.clamp(-5, 5).nan_to_num(nan=0.0)


def shape_advantages(
    advantages, metrics, baseline, kappa=2.0, gain=2.0, mode="verl", mask=None, entropy=None, entropy_scale=0.4
):
    """A' in the dtype of A and of its shape, but [B, T] with mode "entropy", which tells tokens apart; and stats.

    advantages [B]; metrics {name: [B]}, as rank.rank_metrics gives them; baseline {name: mu_k}, the running means, or
    None before the first batch; mask [B, T] bool, entropy [B, T] in nats: for mode "entropy" only. stats: the share of
    responses with a bonus; its mean (of tokens, the largest); beta's mean, or None. ValueError: what cannot be used.

    >>> metrics = {"er": torch.tensor([12.0, 8.0]), "erv": torch.tensor([3.0, 2.0]), "era": torch.tensor([1.0, 1.0])}
    >>> shape_advantages(torch.tensor([1.0, -1.0]), metrics, baseline={"er": 10.0, "erv": 2.0, "era": 1.0})
    (tensor([ 1.3297, -1.0000]), {'bonus_fraction': 0.5, 'bonus': 0.1648..., 'beta': 0.5})
    """
    if mode not in MODES:
        raise ValueError(f"shaping {mode!r}: choose one of {', '.join(MODES)}")
    if not kappa > 1:
        raise ValueError(f"kappa {kappa}: must be above 1, or the bonus could turn the sign of an advantage")
    if mode == "entropy":
        return entropy_shaping(advantages, mask, entropy, kappa, entropy_scale)
    if mode == "none" or baseline is None:
        return advantages, {"bonus_fraction": 0.0, "bonus": 0.0, "beta": None}

    # How unusual is each response, by each metric, for this model at this time?
    d = {name: deviation(x, baseline.get(name, math.nan)) for name, x in metrics.items()}  # {name: [B]}

    # Is it gaining speed? Then exploration counts; is it slowing down, exploitation. Some controls hold the weight.
    beta = torch.sigmoid(gain * d["era"])  # [B]
    if mode in HELD_BETA:
        beta = torch.full_like(beta, HELD_BETA[mode])

    # Two channels, each between -1 and 1, mixed by that weight.
    Phi = beta * torch.tanh(d["er"]) + (1 - beta) * torch.tanh(d["erv"])  # [B]

    # Only what is better than usual counts, and never more than a share of the advantage itself.
    bonus = bounded(Phi, advantages, kappa)
    return advantages + bonus, stats_of(bonus) | {"beta": beta.mean().item()}


def entropy_shaping(advantages, mask, entropy, kappa, scale):
    """A'_t = A + min( a H_t, |A| / kappa ) on the tokens of `mask`, [B, T]: a token's own uncertainty as its bonus."""
    if mask is None or entropy is None:
        raise ValueError("shaping 'entropy' works on tokens: it needs mask [B, T] and entropy [B, T]")
    A = advantages[:, None].expand(mask.shape)  # [B, T]
    bonus = bounded(scale * entropy * mask, A, kappa)
    return A + bonus, stats_of(bonus.amax(1)) | {"beta": None}


def bounded(Phi, advantages, kappa):
    """min( max(0, Phi), |A| / kappa ), in the shape and dtype of A."""
    wanted = Phi.clamp(min=0).to(advantages.dtype)
    return torch.minimum(wanted, advantages.abs() / kappa)


def stats_of(bonus):  # [B]
    return {"bonus_fraction": (bonus > 0).double().mean().item(), "bonus": bonus.double().mean().item()}


def update_baseline(baseline, means, alpha=0.3):
    """The running means {name: mu_k} after a batch with `means` {name: mean of the metric over the batch}.

        mu_k <- (1 - alpha) mu_k + alpha mean_k               the first batch: mu_k = mean_k

    They are read before they are updated: a response is compared with what came before it. A metric that no response of
    the batch has (NaN) leaves its mu alone; a mu that is missing or NaN takes the batch's mean.

    >>> update_baseline({"er": 10.0}, {"er": 20.0}, alpha=0.25)
    {'er': 12.5}
    """
    new = {}
    for name, mean in means.items():
        mu = math.nan if baseline is None else baseline.get(name, math.nan)
        if math.isnan(mu):
            new[name] = mean
        elif math.isnan(mean):
            new[name] = mu
        else:
            new[name] = (1 - alpha) * mu + alpha * mean
    return new
