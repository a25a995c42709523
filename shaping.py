"""Dual-channel shaping: rank metrics of a response become a small, bounded addition to its advantage.

How it differs from the paper's release. Its training script leaves the bonus out, and where it is on, it reaches the
last token only, measured against an average that starts at zero and lags by two steps. Here it is what the equations
say: every token, an average that starts at the first batch's mean, no bonus before there is one. Mode "release" keeps
the release's choices for comparison (README: departures).

    mu_k                                                      running mean of metric x_k in {ER, ERV, ERA} over steps
    d_k  = clamp( (x_k - mu_k) / (|mu_k| + eps), -5, 5 )      relative deviation of this response, eps = 1e-8
    beta = sigmoid( g d_ERA )                                 meta-controller, gain g = 2
    Phi  = beta tanh(d_ER) + (1 - beta) tanh(d_ERV)           exploration and exploitation channel
    A'   = A + min( max(0, Phi), |A| / kappa )                kappa = 2

A' keeps the sign of A, because the addition is at most |A| / kappa and kappa > 1; it is 0 where A is 0. An undefined
metric (NaN: the response is too short for it) is neutral: d_k = 0, hence beta = 1/2 or a silent channel. To add another
channel, add its deviation in `dual_channel` and its weight in `controller`.
"""

import torch

EPS = 1e-8
MODES = ("verl", "none", "er", "erv", "equal", "shuffled", "entropy", "release")


def deviations(metrics, baseline):
    """d_ER, d_ERV, d_ERA, float64 [3, B]: 0 where the metric or its running mean is undefined (NaN)."""
    x = torch.stack([torch.as_tensor(k, dtype=torch.float64) for k in metrics])  # [3, B]
    mu = torch.stack([torch.as_tensor(k, dtype=torch.float64) for k in baseline])[:, None].to(x.device)  # [3, 1]
    return ((x - mu) / (mu.abs() + EPS)).clamp(-5, 5).nan_to_num(nan=0.0)


def controller(mode, d_era, gain):
    """beta [B], the weight of exploration. The ablations hold it: "er" at 1, "erv" at 0, "equal" at 1/2."""
    fixed = {"er": 1.0, "erv": 0.0, "equal": 0.5}
    return torch.full_like(d_era, fixed[mode]) if mode in fixed else torch.sigmoid(gain * d_era)


def dual_channel(metrics, baseline, mode="verl", gain=2.0):
    """Phi and beta, float64 [B] each, of responses with `metrics` (er, erv, era: [B] each)."""
    if mode == "release":  # its undefined metrics are 0.0, hence a strong deviation
        metrics = [torch.as_tensor(k).nan_to_num(nan=0.0) for k in metrics]
    d_er, d_erv, d_era = deviations(metrics, baseline)
    beta = controller(mode, d_era, gain)
    return beta * d_er.tanh() + (1 - beta) * d_erv.tanh(), beta


def shape_advantages(advantages, metrics, baseline, kappa=2.0, gain=2.0, mode="verl", mask=None, entropy=None,
                     entropy_scale=0.4, order=None):  # fmt: skip
    """A' in the dtype of A, and stats. Shape of A, but [B, T] in the two modes that tell tokens apart.

    advantages [B] or [B, T]; metrics: (er, erv, era), [B] each, e.g. rank.RankMetrics; baseline: the three mu_k, or
    None before the first batch has been seen, when there is no bonus. kappa > 1, else ValueError.
    "none": A' = A · "er", "erv", "equal": beta held at 1, 0, 1/2 ·
    "shuffled": Phi of response order[i] goes to response i, `order` [B] int64 into `metrics`: same sizes, no signal ·
    "entropy": A_t + min(a H_t, |A_t| / kappa), with H = entropy [B, T] in nats, a = entropy_scale, where mask [B, T]
    bool (Cheng et al., arXiv:2506.14758) · "release": the bonus on the last token of mask [B, T] bool.
    stats: bonus_fraction, the share of responses with a non-zero bonus; bonus, its mean over responses (for a response
    with several, its largest); beta, its mean, or None where none is used.

    >>> er, erv, era = torch.tensor([[12.0, 8.0], [3.0, 2.0], [1.0, 1.0]])
    >>> shape_advantages(torch.tensor([1.0, -1.0]), (er, erv, era), baseline=(10.0, 2.0, 1.0))
    (tensor([ 1.3297, -1.0000]), {'bonus_fraction': 0.5, 'bonus': 0.1648..., 'beta': 0.5})
    """
    if mode not in MODES:
        raise ValueError(f"shaping {mode!r}: choose one of {', '.join(MODES)}")
    if not kappa > 1:
        raise ValueError(f"kappa {kappa}: must be above 1, or the bonus could turn the sign of an advantage")
    if mode in ("entropy", "release") and (mask is None or (mode == "entropy" and entropy is None)):
        raise ValueError(f"shaping {mode!r} works on tokens: it needs mask [B, T], and entropy mode entropy [B, T]")
    if (mode == "shuffled") != (order is not None):
        raise ValueError(f"shaping {mode!r} with order {order}: shuffled needs an order [B], no other mode takes one")
    A = advantages
    if mode in ("entropy", "release") and A.dim() == 1:
        A = A[:, None].expand(mask.shape)  # [B, T]
    if mode == "none" or (baseline is None and mode != "entropy"):
        return A, {"bonus_fraction": 0.0, "bonus": 0.0, "beta": None}
    beta = None
    if mode == "entropy":
        Phi = entropy_scale * entropy * mask
    else:
        Phi, beta = dual_channel(metrics, baseline, mode, gain)
        Phi = Phi if order is None else Phi[order]
        Phi = Phi if A.dim() == 1 else Phi[:, None]
        if mode == "release":
            last = torch.arange(mask.shape[1], device=mask.device) == mask.sum(1, keepdim=True) - 1  # [B, T]
            Phi = Phi * last
    bonus = torch.minimum(Phi.clamp(min=0).to(A.dtype), A.abs() / kappa)
    largest = bonus if bonus.dim() == 1 else bonus.amax(1)
    stats = {"bonus_fraction": (largest > 0).double().mean().item(), "bonus": largest.double().mean().item()}
    return A + bonus, stats | {"beta": None if beta is None else beta.mean().item()}


def update_baseline(baseline, batch_means, alpha=0.3):
    """mu <- (1 - alpha) mu + alpha batch_mean for each of (er, erv, era), float64 [3]; the first batch's means if None.

    A batch in which a metric is undefined everywhere (NaN) leaves its mu alone; a mu still undefined takes the mean.
    """
    new = torch.stack([torch.as_tensor(k, dtype=torch.float64) for k in batch_means])
    if baseline is None:
        return new
    mu = torch.stack([torch.as_tensor(k, dtype=torch.float64) for k in baseline]).to(new.device)
    mixed = (1 - alpha) * mu + alpha * new
    return torch.where(mu.isnan(), new, torch.where(new.isnan(), mu, mixed))
