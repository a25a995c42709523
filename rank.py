"""Effective rank (ER) of hidden states, its velocity (ERV) and acceleration (ERA) along a response.

Differs from the paper's release: spectra are float64 (a float32 Gram matrix has a noise floor of 3e-4 sigma_max, which
ER counts as rank), undefined is NaN instead of 0, and one matrix serves all prefixes instead of one per prefix.

Z is [n, D], rows centred, with singular values sigma_1..sigma_r (Roy & Vetterli 2007; arXiv 2509.23808, section 3):

    S = sum_k sigma_k     p_k = sigma_k / S     ER(Z) = exp(-sum_k p_k ln p_k)          1 <= ER <= max(1, min(n - 1, D))
    m_j = ER(first j s + 1 rows), j = 1..K      delta_j = m_j - mean(m_1..m_{j-1}), j = 2..K
    ERV = mean_j delta_j                        ERA = (delta_K - delta_2) / (K - 2)

Helmert rows h_n = sqrt(n / (n + 1)) (z_{n+1} - mean(z_1..z_n)), n = 1..T-1, are an orthogonal transform of the centred
rows, and the first m of them need the first m + 1 states only. So ER of a prefix is ER of the first m rows of one
H [T-1, D]: the sigma^2 are the eigenvalues of a leading block of M = H H^T or, once m > D, of the [D, D] sum of
h_n^T h_n. Eigenvalues below 1e-14 of the largest are rounding and count as 0, so sigma below 1e-7 sigma_max
is lost (bfloat16 states stay far above). Zero rows change nothing, so they pad.

  exact  an eigensolve per prefix. Flops 2 T D min(T, D) + sum_j 4/3 min(j s, D)^3: as K T^3 / 3 while T <= D, and
         linear in T beyond, 4/3 D^3 per prefix.
  fast   Q = 40 Cholesky factorisations for all prefixes. As ln det(I + M / u^2) = sum_k ln(1 + sigma_k^2 / u^2),

             sum_q w_q ln det(I + M / u_q^2) = S          sum_q v_q ln det(I + M / u_q^2) = sum_k sigma_k ln sigma_k

         once w and v are fitted, to 2e-9, to sum_q w_q ln(1 + x^2 / u_q^2) = x and = x ln x for x in 1e-6..1 (plain
         quadrature of the integrals over u takes twice the nodes). The log-determinant of a leading block is a partial
         sum of log-pivots. Flops 2 T^2 D + Q T^3 / 3, whatever K; for T far above D, Q D^3 / 3 per prefix.
"""

import functools
import itertools
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

CHUNK = {"cpu": 64 << 20, "cuda": 1 << 30}  # bytes of float64 states in work at once; the peak is some 5 times that
PANEL = 96  # columns per step of the symmetric product and of the Cholesky factorisation
EIGENSOLVE = 6  # time of a symmetric eigensolve over that of a Cholesky factorisation, measured on CPU, m = 500..1500
TINY = torch.finfo(torch.float64).tiny


class RankMetrics(NamedTuple):
    """er, erv, era: [B] float64 each."""
    er: torch.Tensor
    erv: torch.Tensor
    era: torch.Tensor


def _device_with_float64(x):
    return x.detach() if x.device.type in CHUNK else x.detach().cpu()


def _helmert(z, length):
    """z [b, T, D], length [b] -> H [b, T-1, D] float64, scaled to order 1, zero from row length on; finite [b]."""
    z = z - z[:, :1].double()  # constant rows become exact zeros
    scale = torch.linalg.vector_norm(z, float("inf"), dim=(1, 2), keepdim=True)
    finite = scale.isfinite()
    n = torch.arange(1, z.shape[1], device=z.device, dtype=z.dtype)[:, None]  # [T-1, 1]
    h = z[:, 1:].sub_(z.cumsum(1)[:, :-1].div_(n)).mul_((n / (n + 1)).sqrt() / scale.clamp_min(TINY))
    return h.masked_fill_((n >= length[:, None, None]) | ~finite, 0), finite[:, 0, 0]


def _lower_product(a):
    """a [b, m, r] -> [b, m, m]: a a^T on and below the diagonal, which is all that the solvers read."""
    product = a.new_zeros(a.shape[0], a.shape[1], a.shape[1])
    for i in range(0, a.shape[1], PANEL):
        product[:, i:, i:i + PANEL] = a[:, i:] @ a[:, i:i + PANEL].mT
    return product


def _exact(gram, sizes):
    """gram [b, m, m] -> [b, K]: ER of its leading blocks by eigenvalues."""
    ranks = []
    for m in sizes:
        lam = torch.linalg.eigvalsh(gram[:, :m, :m])  # [b, m]
        sigma = lam.where(lam > 1e-14 * lam[:, -1:], 0).sqrt()
        p = sigma / sigma.sum(1, keepdim=True).clamp_min(TINY)
        ranks.append(torch.special.entr(p).sum(1).exp())
    return torch.stack(ranks, 1)


@functools.cache
def _nodes(count=40):
    """u [Q] and its weights (w, v) [Q, 2]: least squares of the error relative to x."""
    x = torch.logspace(-6, 0, 3000, dtype=torch.float64)[:, None]
    u = torch.logspace(-7, 0.9, count, dtype=torch.float64)
    columns = (x / u).square().log1p() / x
    norm = columns.norm(dim=0)
    goal = torch.cat([torch.ones_like(x), x.log()], 1)
    return u, torch.linalg.lstsq(columns / norm, goal, rcond=1e-16, driver="gelsd").solution / norm[:, None]


def _log_pivots(gram, shift):
    """gram [b, m, m], shift [q] -> [b, q, m]: log-pivots of gram + shift I by a left-looking Cholesky in panels."""
    b, m, _ = gram.shape
    low, pivots = gram.new_empty(b, len(shift), m, m), []
    for i in range(0, m, PANEL):
        j = min(i + PANEL, m)
        panel = gram[:, None, i:, i:j] - low[..., i:, :i] @ low[..., i:j, :i].mT  # [b, q, m - i, j - i]
        panel.diagonal(dim1=-2, dim2=-1).add_(shift[:, None])
        top = torch.linalg.cholesky_ex(panel[..., :j - i, :])[0]
        pivots.append(2 * top.diagonal(dim1=-2, dim2=-1).log())
        low[..., j:, i:j] = torch.linalg.solve_triangular(top.mT, panel[..., j - i:, :], upper=True, left=False)
    return torch.cat(pivots, 2)


def _fast(gram, sizes):
    """gram [b, m, m] -> [b, K]: ER of its leading blocks by log-determinants."""
    u, weights = (x.to(gram.device) for x in _nodes())
    ends = torch.tensor(sizes, device=gram.device) - 1
    trace = gram.diagonal(dim1=-2, dim2=-1).cumsum(1)[:, ends]  # [b, K]
    gram = gram / trace[:, -1:, None].clamp_min(TINY)  # sigma <= 1
    sums, step = 0, max(1, CHUNK[gram.device.type] // (8 * gram.numel()))
    for v, w in zip(u.split(step), weights.split(step)):
        logdet = (_log_pivots(gram, v.square()) - 2 * v.log()[:, None]).cumsum(2)[..., ends]  # [b, q, K]
        sums = sums + torch.einsum("bqk,qc->cbk", logdet, w)
    ranks = (sums[0].log() - sums[1] / sums[0]).exp()
    below = ~ranks.isfinite() | (trace <= 1e-6 * trace[:, -1:])  # a prefix too small beside the whole for the nodes
    for k in below.any(0).nonzero()[:, 0].tolist():
        ranks[:, k] = _exact(gram, [sizes[k]])[:, 0].where(below[:, k], ranks[:, k])
    return ranks


def _block_ranks(h, sizes, method):
    """h [b, T-1, D], ascending sizes [K] in 0..T-1 -> [b, K]: ER of the first `size` rows."""
    d, large = h.shape[2], sizes[-1]
    apart = d ** 3 * (1 + sum(m > d for m in sizes))  # one factorisation [D, D] per prefix beyond D and one up to it
    if method == "auto":
        eigen = EIGENSOLVE * sum(min(m, d) ** 3 for m in sizes)
        method = "fast" if h.is_cuda or eigen > len(_nodes()[0]) * min(large ** 3, apart) else "exact"
    if method == "fast" and large ** 3 <= apart:
        d = large  # one factorisation for all
    solve = _fast if method == "fast" else _exact
    ranks = h.new_ones(h.shape[0], len(sizes))
    short = [k for k, m in enumerate(sizes) if 0 < m <= d]
    if short:
        gram = _lower_product(h[:, :sizes[short[-1]]])
        ranks[:, short] = solve(gram, [sizes[k] for k in short])
    scatter, done = 0, 0
    for k, m in enumerate(sizes):
        if m > d:
            scatter, done = scatter + _lower_product(h[:, done:m].mT), m  # [b, D, D]
            ranks[:, k] = solve(scatter, [d])[:, 0]
    return ranks


def prefix_effective_rank(z, ends: Sequence[int]):
    """z [T, D] floating, ends [K] row counts in 1..T -> [K] float64: ER of z[:n] for each n in ends, method exact.

    ER is 1 where every singular value is 0: one row, constant rows. ValueError: wrong shape or ends, NaN or Inf.

    >>> prefix_effective_rank(torch.eye(4), [1, 2, 3, 4]).round(decimals=9)  # n unit vectors: n - 1 equal sigma
    tensor([1., 1., 2., 3.], dtype=torch.float64)
    """
    if z.ndim != 2 or not z.is_floating_point() or 0 in z.shape:
        raise ValueError(f"z must be floating [T, D] with T, D >= 1, got {z.dtype} {list(z.shape)}")
    if not all(1 <= n <= len(z) for n in ends):
        raise ValueError(f"ends must lie in 1..{len(z)}, got {list(ends)}")
    z = _device_with_float64(z)
    if not z.isfinite().all():
        raise ValueError(f"z {list(z.shape)} holds NaN or Inf")
    sizes = sorted({0, *(n - 1 for n in ends)})
    h, _ = _helmert(z[None], torch.tensor([len(z)], device=z.device))
    return _block_ranks(h, sizes, "exact")[0, [sizes.index(n - 1) for n in ends]]


def effective_rank(z):
    """z [n, D] floating -> [] float64: effective rank of its centred rows, as prefix_effective_rank(z, [n])[0]."""
    return prefix_effective_rank(z, [len(z)])[0]


def _changes(m, k):
    """m [b, J] prefix ranks, of which the first k [b] count -> ERV, ERA [b]."""
    nan = m.new_full(k.shape, float("nan"))
    if m.shape[1] < 2:
        return nan, nan
    delta = m[:, 1:] - m.cumsum(1)[:, :-1] / torch.arange(1, m.shape[1], device=m.device)  # [b, J-1], from delta_2 on
    last = (k - 2).clamp_min(0)[:, None]
    erv = delta.cumsum(1).gather(1, last)[:, 0] / (k - 1)
    era = (delta.gather(1, last)[:, 0] - delta[:, 0]) / (k - 2)
    return erv.where(k >= 2, nan), era.where(k >= 3, nan)


def _tail_rows(mask, length, count):
    """mask [b, T], length [b] -> [b, count]: where the last `count` True are, or all of them, then the first again."""
    rows = mask.byte().argsort(dim=1, descending=True, stable=True)  # True first, in order
    place = torch.arange(count, device=mask.device) + (length[:, None] - count).clamp_min(0)
    return rows.gather(1, place.where(place < length[:, None], 0))


def _metrics(hidden, mask, chunk, t, stride, window, method):
    """Responses `chunk` [b], at most t states, the same number of strides -> (er, erv, era) [3, b], finite [b]."""
    mask = mask[chunk]
    length = mask.sum(1)
    h, finite = _helmert(hidden[chunk[:, None], _tail_rows(mask, length, t)], length)
    if window is None or t <= window:
        prefixes = range(stride, t - 1, stride) if t > 2 * stride else ()  # one prefix alone says nothing
        m = _block_ranks(h, [*prefixes, t - 1], method)  # a last, partial stride ends at ER
        return torch.stack([m[:, -1], *_changes(m, (length - 1) // stride)]), finite | (length == 0)
    er = _block_ranks(h, [t - 1], method)[:, 0]
    h, _ = _helmert(hidden[chunk[:, None], _tail_rows(mask, length, window)], length)
    m = _block_ranks(h, [*range(stride, window, stride)], method)
    return torch.stack([er, *_changes(m, (length.clamp_max(window) - 1) // stride)]), finite


def rank_metrics(hidden, mask, stride=40, window=None, method="auto", threads=None):
    """hidden [B, T, D] floating, mask [B, T] bool -> RankMetrics of the states where mask is True, in order.

    stride   s, states between prefixes
    window   None: ERV and ERA see the whole response (the equations); W: its last W states (the release: 512). ER
             always sees the whole. ERV needs 2 s + 1 states, ERA 3 s + 1: with fewer they are NaN
    method   "exact", "fast" (to 1e-6), or "auto": fast on CUDA (reckoned, not measured), the cheaper on CPU (measured):
             exact up to some 26 prefixes and wherever T is far above D
    threads  on CPU, this many share the responses, each with one BLAS thread (two BLAS threads make small eigensolves
             3 to 30 times slower); default torch.get_num_threads(). If that is above 1, it is 1 meanwhile, for the
             whole process, and put back

    States where mask is False may hold anything. No True state: ER = 1. NaN or Inf in a response: its metrics are NaN
    and a RuntimeWarning names it. ValueError: wrong shape or dtype, stride < 1, window < 2 strides, unknown method.

    >>> er, erv, era = rank_metrics(torch.eye(7)[None], torch.ones(1, 7, dtype=torch.bool), stride=2)  # m = 2, 4, 6
    >>> [round(x.item(), 9) for x in (er, erv, era)]
    [6.0, 2.5, 1.0]
    """
    if hidden.ndim != 3 or not hidden.is_floating_point() or 0 in hidden.shape[1:]:
        raise ValueError(f"hidden must be floating [B, T, D] with T, D >= 1, got {hidden.dtype} {list(hidden.shape)}")
    if mask.dtype != torch.bool or mask.shape != hidden.shape[:2]:
        raise ValueError(f"mask must be bool {list(hidden.shape[:2])}, got {mask.dtype} {list(mask.shape)}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    if window is not None and window < 2 * stride:
        raise ValueError(f"window must be None or at least 2 strides ({2 * stride} states), got {window}")
    if method not in ("auto", "exact", "fast"):
        raise ValueError(f"method must be auto, exact or fast, got {method!r}")
    hidden, mask = _device_with_float64(hidden), _device_with_float64(mask)
    length = mask.sum(1).tolist()
    blas = torch.get_num_threads()
    threads = (threads or blas) if hidden.device.type == "cpu" else 1
    metrics = torch.empty(3, len(length), dtype=torch.float64, device=hidden.device)
    finite = torch.empty(len(length), dtype=torch.bool, device=hidden.device)

    def run(chunk):
        t = max(1, length[chunk[0]])
        chunk = torch.tensor(chunk, device=hidden.device)
        metrics[:, chunk], finite[chunk] = _metrics(hidden, mask, chunk, t, stride, window, method)

    chunks = []
    longest_first = sorted(range(len(length)), key=length.__getitem__, reverse=True)
    for _, group in itertools.groupby(longest_first, key=lambda i: -(-(length[i] - 1) // stride)):
        group = list(group)
        room = CHUNK[hidden.device.type] // threads // (8 * max(1, length[group[0]]) * hidden.shape[2])
        size = max(1, min(room, -(-len(group) // threads)))
        chunks += [group[i:i + size] for i in range(0, len(group), size)]
    if threads > 1:
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, chunks))
        finally:
            torch.set_num_threads(blas)
    else:
        list(map(run, chunks))
    bad = (~finite).nonzero()[:, 0].tolist()
    if bad:
        warnings.warn(f"NaN or Inf in the hidden states of responses {bad}: their metrics are NaN", RuntimeWarning, 2)
    return RankMetrics(*metrics.masked_fill(~finite, float("nan")))


def mean_states(hidden, mask):
    """hidden [B, T, D] floating, mask [B, T] bool -> [B, D] float64: mean state of each response (NaN if none)."""
    hidden, mask = _device_with_float64(hidden), _device_with_float64(mask)
    sums = [h.masked_fill(~keep[..., None], 0).sum(1, dtype=torch.float64)
            for h, keep in zip(hidden.split(16), mask.split(16))]
    return torch.cat(sums) / mask.sum(1, keepdim=True)


def dataset_metrics(means, stride=40):
    """means [N, D], a row of mean_states per response -> RankMetrics, [1] each: the set as a trajectory (section 4)."""
    return rank_metrics(means[None], torch.ones(1, len(means), dtype=torch.bool, device=means.device), stride)
