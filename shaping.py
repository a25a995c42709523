"""Dual-channel shaping: the rank metrics of a response become a small, bounded addition to its advantage.

The idea. A response gets a bonus if its ER and its ERV, taken together, are above what was usual in the steps before.
The paper calls a high ER exploration and a high ERV exploitation. ERA sets their weights.

    mu_k                                                      running mean over steps of x_k, in {ER, ERV, ERA}
    d_k  = clamp( (x_k - mu_k) / (|mu_k| + eps), -5, 5 )      relative deviation, eps = 1e-8
    beta = sigmoid( g d_ERA )                                 meta-controller: the weight of exploration, g = 2
    Phi  = beta tanh(d_ER) + (1 - beta) tanh(d_ERV)           dual channel: exploration, exploitation
    A'   = A + min( max(0, Phi), |A| / kappa )                kappa = 2 (arXiv:2509.23808)

Why ERA sets the weights. A high ERA favours ER: the paper wants exploration before the model grows overconfident. A low
one favours ERV. The paper also expects ERA to be independent of length. That holds where rank grows steadily; on the
toy it falls with length (README, section 5).

Why the bonus is bounded. It is smaller than |A|, so A' keeps the sign of A: a response below its group's mean is
punished less, and never praised. Where A = 0, as in a group of equal rewards, there is no bonus. Nor is there one in
the first step, which has no mu. README, section 6, works an example through.

How it differs from the paper's release: the command that it ships switches the bonus off (docs/release.md).

The modes. A first reader can skip the controls, each of which changes one thing to see what does the work.

    verl      the method above
    none      A' = A: plain GRPO
    er, erv   beta held at 1, at 0: one channel alone
    equal     beta held at 1/2: no controller
    shuffled  as verl, with the metrics dealt out at random among the responses by the caller
    entropy   Phi_t = a H_t, the entropy at token t and a = 0.4 (Cheng et al., arXiv:2506.14758); needs no mu
"""

import math

import torch

EPS = 1e-8  # no division by 0 where a running mean is 0
MODES = ("verl", "none", "er", "erv", "equal", "shuffled", "entropy")
HELD_BETA = {"er": 1.0, "erv": 0.0, "equal": 0.5}


def deviation(x, mu_k):
    """d_k, float64 [B], of a metric x [B] from its running mean mu_k (a number); 0 where either is undefined (NaN).

    >>> deviation(torch.tensor([12.0, 9.0, math.nan]), 10.0)
    tensor([ 0.2000, -0.1000,  0.0000], dtype=torch.float64)
    """
    relative = (x.double() - mu_k) / (abs(mu_k) + EPS)
    # The clamp is the paper's: a mu close to 0 makes d huge. It decides little: tanh(5) and sigmoid(10) exceed 0.9999.
    clamped = relative.clamp(-5, 5)
    return clamped.nan_to_num(nan=0.0)


def shape_advantages(
    advantages, metrics, mu, kappa=2.0, gain=2.0, mode="verl", mask=None, entropy=None, entropy_scale=0.4
):
    """A' in the dtype of A, [B] (with mode "entropy" [B, T]), and a dict of the bonus to log.

    advantages [B]; metrics {name: [B]}; mu {name: mu_k}, None before the first step; mask [B, T] bool and entropy
    [B, T] in nats for mode "entropy". ValueError: no such mode; kappa not above 1.

    >>> metrics = {"er": torch.tensor([12.0, 8.0]), "erv": torch.tensor([3.0, 2.0]), "era": torch.tensor([1.0, 1.0])}
    >>> shape_advantages(torch.tensor([1.0, -1.0]), metrics, mu={"er": 10.0, "erv": 2.0, "era": 1.0})
    (tensor([ 1.3297, -1.0000]), {'bonus_fraction': 0.5, 'bonus': 0.1648..., 'beta': 0.5})
    """
    if mode not in MODES:
        raise ValueError(f"shaping {mode!r}: choose one of {', '.join(MODES)}")
    if not kappa > 1:
        raise ValueError(f"kappa {kappa}: must be above 1, or the bonus could turn the sign of an advantage")
    if mode == "entropy":
        return entropy_shaping(advantages, mask, entropy, kappa, entropy_scale)
    if mode == "none" or mu is None:
        return advantages, {"bonus_fraction": 0.0, "bonus": 0.0, "beta": None}

    # How far is each response from what was usual, in each metric?
    d = {name: deviation(x, mu.get(name, math.nan)) for name, x in metrics.items()}  # {name: [B]}

    # Is its ERA above what was usual? Then exploration counts more; if not, exploitation.
    beta = torch.sigmoid(gain * d["era"])  # [B]
    if mode in HELD_BETA:
        beta = torch.full_like(beta, HELD_BETA[mode])

    # Two channels, each between -1 and 1, mixed by that weight. For a third, add tanh(d[name]), weighted.
    Phi = beta * torch.tanh(d["er"]) + (1 - beta) * torch.tanh(d["erv"])  # [B]

    # Only what is above usual counts, and never more than a share of the advantage.
    bonus = bounded(Phi, advantages, kappa)
    return advantages + bonus, stats_of(bonus) | {"beta": beta.mean().item()}


def bounded(Phi, advantages, kappa):
    """min( max(0, Phi), |A| / kappa ), in the shape and dtype of A."""
    wanted = Phi.clamp(min=0).to(advantages.dtype)
    return torch.minimum(wanted, advantages.abs() / kappa)


def stats_of(bonus):
    """What is logged of bonuses [B]: the share above 0, and the mean."""
    return {"bonus_fraction": (bonus > 0).double().mean().item(), "bonus": bonus.double().mean().item()}


def update_means(mu, means, alpha=0.3):
    """The running means {name: mu_k} after a step with `means` {name: mean over the step's responses, may be NaN}.

        mu_k <- (1 - alpha) mu_k + alpha mean_k               the first step: mu_k = mean_k

    >>> update_means({"er": 10.0}, {"er": 20.0}, alpha=0.25)
    {'er': 12.5}
    """
    new = {}
    for name, mean in means.items():
        old = math.nan if mu is None else mu.get(name, math.nan)
        if math.isnan(old):
            new[name] = mean
        elif math.isnan(mean):
            new[name] = old
        else:
            new[name] = (1 - alpha) * old + alpha * mean
    return new


# A first reader can skip this control.


def entropy_shaping(advantages, mask, entropy, kappa, scale):
    """A'_t = A + min( a H_t, |A| / kappa ) on the tokens of `mask`, [B, T], and stats of the largest of each row."""
    if mask is None or entropy is None:
        raise ValueError("shaping 'entropy' works on tokens: it needs mask [B, T] and entropy [B, T]")
    A = advantages[:, None].expand(mask.shape)  # [B, T]
    bonus = bounded(scale * entropy * mask, A, kappa)
    return A + bonus, stats_of(bonus.amax(1)) | {"beta": None}
