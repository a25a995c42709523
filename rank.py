"""Effective rank (ER) of hidden states, and its velocity (ERV) and acceleration (ERA) along a response.

The idea. The hidden states z_1..z_T of a response are points in D dimensions. ER counts the directions in which they
spread. Its "velocity" ERV and "acceleration" ERA say how it grows along the response.

For Z [n, D], whose rows are centred, with singular values sigma_k (Roy & Vetterli, EUSIPCO 2007):

    S = sum_k sigma_k     p_k = sigma_k / S     ER(Z) = exp(-sum_k p_k ln p_k)     1 <= ER <= max(1, min(n - 1, D))

ER = 12 means: p has the entropy of a fair die with 12 faces.

Velocity and acceleration come from the ranks of prefixes, each s states longer than the last (arXiv:2509.23808,
section 3). s is the stride.

                                                            example: s = 2, prefixes of 3, 5 and 7 states
    m_j     = ER(z_1..z_{j s + 1})           j = 1..K       m = 2, 4, 6
    delta_j = m_j - mean(m_1..m_{j-1})       j = 2..K       delta_2 = 4 - 2 = 2, delta_3 = 6 - 3 = 3
    ERV     = mean(delta_j)                  j = 2..K       2.5
    ERA     = mean(delta_j - delta_{j-1})    j = 3..K       1

K = floor((T - 1) / s). ERA telescopes to (delta_K - delta_2) / (K - 2), so the first and the last change decide it.
A prefix has j s + 1 states and not j s, because centring takes one rank away: j s + 1 centred states can have rank j s.
The names mislead a little, as delta_j compares m_j with the mean of *all* earlier ranks, not with m_{j-1}. If rank
grows steadily, m_j = c j, then delta_j = c j / 2. So ERV = c (K + 2) / 4 grows with length, and ERA = c / 2 does not.

`effective_rank` and `prefix_ranks` are the definition; engine/spectra.py computes the same numbers faster.

How it differs from the paper's release. Spectra are float64, because float32 errors look like further directions. A
metric that is undefined is NaN, and not 0.
"""

from dataclasses import dataclass

import torch

from engine.spectra import on_float64_device, prefix_spectra, sum_where, warn_of_non_finite


def effective_rank(z):
    """ER of the rows of z [n, D] floating: [] float64. Rows that are all equal, or a single one, have ER 1.

    ValueError: z is not floating [n, D] with n, D >= 1, or holds NaN or Inf.

    >>> effective_rank(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))  # p = 3/4, 1/4
    tensor(1.7548, dtype=torch.float64)
    """
    if z.ndim != 2 or not z.is_floating_point() or 0 in z.shape:
        raise ValueError(f"z must be floating [n, D] with n, D >= 1, got {z.dtype} {list(z.shape)}")
    z = on_float64_device(z).double()
    if not z.isfinite().all():
        raise ValueError(f"z {list(z.shape)} holds NaN or Inf: leave such states out")

    # Centre. An offset that all states share is no spread; left in, it would have the largest sigma.
    centred = z - z.mean(0)
    sigma = torch.linalg.svdvals(centred)  # [min(n, D)]
    S = sigma.sum()
    if S == 0:  # no spread at all: p would be 0 / 0
        return torch.ones_like(S)
    p = sigma / S
    entropy = torch.special.entr(p).sum()  # entr(p) = -p ln p, and 0 at p = 0
    return entropy.exp()


def prefix_ranks(z, stride):
    """m_1..m_K of one response z [T, D] floating: [K] float64 on the CPU, K = (T - 1) // stride.

    >>> prefix_ranks(torch.eye(7), stride=2).round(decimals=9)  # each state in a direction of its own
    tensor([2., 4., 6.], dtype=torch.float64)
    """
    K = (len(z) - 1) // stride
    ranks = []
    for j in range(1, K + 1):
        prefix = z[: j * stride + 1]
        ranks.append(effective_rank(prefix))
    return torch.tensor(ranks, dtype=torch.float64)


def rank_changes(m):
    """delta_2..delta_K, [..., K - 1], of prefix ranks m [..., K] floating, which end in NaN for shorter responses."""
    K = m.shape[-1]
    j = torch.arange(1, K + 1, device=m.device)
    mean = m.cumsum(-1) / j  # [..., K]: of m_1..m_j
    return m[..., 1:] - mean[..., :-1]  # each rank against the mean of those before it


def velocity(m):
    """ERV of prefix ranks m [..., K] floating: [...]. NaN if there are fewer than two.

    >>> velocity(torch.tensor([2.0, 4.0, 6.0]))
    tensor(2.5000)
    """
    return rank_changes(m).nanmean(-1)


def acceleration(m):
    """ERA of prefix ranks m [..., K] floating: [...]. NaN if there are fewer than three."""
    return rank_changes(m).diff().nanmean(-1)


@dataclass(frozen=True)
class Measured:
    """B responses and their ranks."""

    hidden: torch.Tensor  # [B, T, D] floating: the states
    mask: torch.Tensor  # [B, T] bool: which states count
    whole: torch.Tensor  # [B] float64: ER of each whole response
    prefixes: torch.Tensor  # [B, K] float64: m_1.. (with a window, of the last W states), then NaN


# A metric: a function of Measured -> [B] float64. A new line is averaged and logged, and Phi in shaping.py may use it:
#     "size": lambda batch: mean_states(batch.hidden, batch.mask).norm(dim=1),
METRICS = {
    "er": lambda batch: batch.whole,
    "erv": lambda batch: velocity(batch.prefixes),
    "era": lambda batch: acceleration(batch.prefixes),
}


def rank_metrics(hidden, mask, stride=40, window=None, method="auto"):
    """METRICS of every response: {name: [B] float64}, from hidden [B, T, D] floating and mask [B, T] bool.

    stride   s, states between prefixes
    window   None: the whole response. W: ERV and ERA see the last W states (release: 512); they need W > 2 s, W > 3 s
    method   "exact"; "fast", to 1e-6; "auto", the cheaper of the two

    NaN or Inf in a response: its metrics are NaN, and a RuntimeWarning. ValueError: wrong shape or dtype, stride < 1,
    window <= 2 strides.

    >>> metrics = rank_metrics(torch.eye(7)[None], torch.ones(1, 7, dtype=torch.bool), stride=2)  # m = 2, 4, 6
    >>> [round(metrics[name].item(), 9) for name in ("er", "erv", "era")]
    [6.0, 2.5, 1.0]
    """
    hidden, mask = on_float64_device(hidden), on_float64_device(mask)
    # effective_rank [B] and prefix_ranks [B, K], padded with NaN, of all responses at once.
    whole, prefixes, finite = prefix_spectra(hidden, mask, stride, window, method)
    warn_of_non_finite(finite)
    batch = Measured(hidden, mask, whole, prefixes)
    metrics = {}
    for name, metric in METRICS.items():
        metrics[name] = metric(batch).where(finite, float("nan"))
    return metrics


# A first reader can skip the rest: metrics of a whole set of responses, which are only logged.


def mean_states(hidden, mask):
    """Mean state of each response, [B, D] float64, NaN if it has none; hidden [B, T, D] floating, mask [B, T] bool."""
    hidden, mask = on_float64_device(hidden), on_float64_device(mask)
    count = mask.sum(1, keepdim=True)  # [B, 1]
    return sum_where(hidden, mask) / count


def dataset_metrics(means, stride=40):
    """METRICS of one trajectory, the mean states of many responses, means [N, D]: [1] each (paper, section 4).

    Its stride counts responses, and is not that of the tokens of a response.
    """
    mask = torch.ones(1, len(means), dtype=torch.bool, device=means.device)
    return rank_metrics(means[None], mask, stride)
