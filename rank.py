"""Effective rank (ER) of hidden states, and its velocity (ERV) and acceleration (ERA) along a response.

While a model writes, its final layer passes through hidden states z_1..z_T, points in D dimensions. ER counts the
directions in which they spread; ERV and ERA say how fast that count grows, and whether its growth speeds up. Sources:
Roy & Vetterli, EUSIPCO 2007 (ER); arXiv:2509.23808, section 3. For Z [n, D], centred, with singular values sigma_k:

    S = sum_k sigma_k     p_k = sigma_k / S     ER(Z) = exp(-sum_k p_k ln p_k)     1 <= ER <= max(1, min(n - 1, D))

Prefix j holds the first j s + 1 states: j strides of s, and one because centring takes one rank away. K prefixes fit.

    m_j     = ER(z_1..z_{j s + 1})           j = 1..K                                              2, 4, 6
    delta_j = m_j - mean(m_1..m_{j-1})       j = 2..K    how far the rank is above its own past       2, 3
    ERV     = mean of delta_j                j = 2..K    needs 2 s + 1 states                        2.5
    ERA     = mean of delta_j - delta_{j-1}  j = 3..K    needs 3 s + 1 states                        1

What ER = 12 means. The entropy of p is that of a fair die with 12 faces: the states spread as much as if they did so
evenly over 12 directions, however many more they touch faintly.

Why rows are centred. An offset that all states share is no direction that the response explores, yet it would be by
far the largest sigma and hide the others. So ER is the rank of the cloud of states around its mean.

Differs from the paper's release: spectra are float64 (rounding of float32 counts as rank), and what is undefined is NaN
instead of 0.
"""

import warnings
from dataclasses import dataclass

import torch

from engine.spectra import on_float64_device, prefix_spectra


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
    centred = z - z.mean(0)
    sigma = torch.linalg.svdvals(centred)  # [min(n, D)]
    S = sigma.sum()
    # No spread at all: p would be 0 / 0.
    if S == 0:
        return torch.ones_like(S)
    p = sigma / S
    entropy = torch.special.entr(p).sum()  # entr(p) = -p ln p, and 0 at p = 0
    return entropy.exp()


def prefix_ranks(z, stride):
    """m_1..m_K of one response z [T, D] floating: [K] float64 on the CPU, K = (T - 1) // stride.

    A prefix has one row more than j strides, because centring n rows leaves n - 1 that are independent. So m_j can
    rise to j s, and does if every state turns into a new direction.

    >>> prefix_ranks(torch.eye(7), stride=2).round(decimals=9)  # seven states, each in a direction of its own
    tensor([2., 4., 6.], dtype=torch.float64)
    """
    K = (len(z) - 1) // stride
    ranks = [effective_rank(z[: j * stride + 1]) for j in range(1, K + 1)]
    return torch.tensor(ranks, dtype=torch.float64)


def rank_changes(m):
    """delta_2..delta_K of prefix ranks m [..., K]: [..., K - 1]. Beyond a response's last prefix m, delta are NaN."""
    K = m.shape[-1]
    j = torch.arange(1, K + 1, device=m.device)
    mean = m.cumsum(-1) / j  # [..., K]: of m_1..m_j
    return m[..., 1:] - mean[..., :-1]  # each rank against the mean that ends just before it


def velocity(m):
    """ERV of prefix ranks m [..., K]: [...]. NaN if there are fewer than two.

    >>> velocity(torch.tensor([2.0, 4.0, 6.0]))  # delta = 4 - 2, 6 - 3; the acceleration is 3 - 2
    tensor(2.5000)
    """
    return rank_changes(m).nanmean(-1)


def acceleration(m):
    """ERA of prefix ranks m [..., K]: [...]. NaN if there are fewer than three.

    A mean of differences telescopes: ERA = (delta_K - delta_2) / (K - 2). A rank that grows at a steady pace,
    m_j = c j, has ERA = c / 2 whatever the length of the response, while its ERV = c (K + 2) / 4 grows with it.
    """
    return rank_changes(m).diff().nanmean(-1)


@dataclass(frozen=True)
class Measured:
    """B responses as a metric sees them."""

    hidden: torch.Tensor  # [B, T, D] floating: the states; anything at all where mask is False
    mask: torch.Tensor  # [B, T] bool: which states count, in order
    whole: torch.Tensor  # [B] float64: ER of each whole response
    prefixes: torch.Tensor  # [B, K] float64: m_j, NaN beyond the last; where only one prefix fits, m_1 may be NaN


# A metric is one entry: name, and function of Measured -> [B] float64, NaN where undefined. Logs, running means and
# evaluation go through the names, so a new measurement of the hidden states is a line here and nothing else, such as
#     "size": lambda batch: mean_states(batch.hidden, batch.mask).norm(dim=1),
METRICS = {
    "er": lambda batch: batch.whole,
    "erv": lambda batch: velocity(batch.prefixes),
    "era": lambda batch: acceleration(batch.prefixes),
}


def rank_metrics(hidden, mask, stride=40, window=None, method="auto"):
    """METRICS of every response: {name: [B] float64}, from hidden [B, T, D] floating and mask [B, T] bool.

    stride   s, states between prefixes
    window   None: ERV and ERA are of the whole response (the equations). W: of its last W states (the release: 512)
    method   how engine.spectra computes: "exact"; "fast", to 1e-6; "auto", the cheaper of the two

    The result is that of `effective_rank` and `prefix_ranks` on the states where the mask is True, which is how it is
    tested: engine/spectra.py need not be read. The other states may hold anything. No such state: ER is 1. NaN or Inf:
    NaN in all metrics, and a RuntimeWarning. ValueError: wrong shape or dtype, stride < 1, window < 2 strides.

    >>> metrics = rank_metrics(torch.eye(7)[None], torch.ones(1, 7, dtype=torch.bool), stride=2)  # m = 2, 4, 6
    >>> [round(metrics[name].item(), 9) for name in ("er", "erv", "era")]
    [6.0, 2.5, 1.0]
    """
    hidden, mask = on_float64_device(hidden), on_float64_device(mask)
    whole, prefixes, finite = prefix_spectra(hidden, mask, stride, window, method)
    bad = [i for i, fine in enumerate(finite.tolist()) if not fine]
    if bad:
        warnings.warn(f"NaN or Inf in responses {bad}: their metrics are NaN", RuntimeWarning, stacklevel=2)
    batch = Measured(hidden, mask, whole, prefixes)
    metrics = {}
    for name, metric in METRICS.items():
        metrics[name] = metric(batch).where(finite, float("nan"))
    return metrics


def mean_states(hidden, mask):
    """Mean state of each response, [B, D] float64, NaN if it has none; hidden [B, T, D] floating, mask [B, T] bool."""
    hidden, mask = on_float64_device(hidden), on_float64_device(mask)
    sums = []
    # 16 responses at a time, because blanking out the rest copies the states
    for states, keep in zip(hidden.split(16), mask.split(16)):
        blanked = states.masked_fill(~keep[..., None], 0)
        sums.append(blanked.sum(1, dtype=torch.float64))
    count = mask.sum(1, keepdim=True)  # [B, 1]
    return torch.cat(sums) / count


def dataset_metrics(means, stride=40):
    """METRICS of a whole set, [1] each: mean states of its responses, means [N, D], as one trajectory (section 4)."""
    mask = torch.ones(1, len(means), dtype=torch.bool, device=means.device)
    return rank_metrics(means[None], mask, stride)
