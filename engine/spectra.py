"""Ranks of all prefixes of all responses of a batch at once. What they are stands in rank.py; this is how to get them.

`rank.prefix_ranks` centres every prefix afresh and takes its SVD. Here one matrix serves all prefixes of a response,
and responses of about the same length go through each operation together. There is one entry point, `prefix_spectra`.
The trick, in four steps:

1. Centre once. The Helmert rows of z_1..z_T are

       y_n = sqrt(n / (n + 1)) (z_{n+1} - mean(z_1..z_n))        n = 1..T-1

   Each new state is measured from the mean of those before it, so y_n needs the first n + 1 states only. The first n
   of these rows are an orthogonal transform of the first n + 1 states, centred, and so have the same singular values.
   Hence ER of a prefix is ER of the first rows of one matrix Y [T-1, D], with no further centring. A row of zeros
   changes no singular value, so zeros pad shorter responses.

2. Take leading blocks. The sigma^2 of the first n rows are the eigenvalues of the leading [n, n] block of the Gram
   matrix M = Y Y^T, which is computed once. Once n is above D, the scatter matrix [D, D], the sum of y_n^T y_n up to n,
   has the same ones and is smaller. Eigenvalues below 1e-14 of the largest are rounding and count as 0, so a sigma
   below 1e-7 of the largest is lost; bfloat16 states stay far above that.

3. exact: an eigensolve per block. Flops 2 T D min(T, D) + sum_j 4/3 min(j s, D)^3, for stride s: as K T^3 / 3 for K
   prefixes while T <= D, and linear in T beyond.

4. fast: no eigenvalues at all. ER needs two sums over the spectrum only, S = sum_k sigma_k and the one in

       ln ER = ln S - (sum_k sigma_k ln sigma_k) / S

   Both follow from log-determinants of M, shifted by some tau_q^2:

       ln det(I + M / tau_q^2)                     = sum_k ln(1 + sigma_k^2 / tau_q^2)
       sum_q omega_q ln(1 + x^2 / tau_q^2)        ~= x                         fitted for x in 1e-6..1, to 2e-9
       sum_q psi_q   ln(1 + x^2 / tau_q^2)        ~= x ln x                    the same nodes tau_q, other weights
       sum_q omega_q ln det(I + M / tau_q^2)      ~= S                         the sum over k of the second line
       sum_q psi_q   ln det(I + M / tau_q^2)      ~= sum_k sigma_k ln sigma_k

   What makes it fast: a Cholesky factor of M holds those of all its leading blocks, so the log-determinant of every
   prefix is a partial sum of one list of log-pivots. Q = 40 factorisations serve all prefixes: flops 2 T^2 D +
   Q T^3 / 3, whatever K, and for T far above D, Q D^3 / 3 per prefix. (Plain quadrature of the integrals over tau
   that have these values takes twice the nodes.)
"""

import functools
import itertools
import math
import warnings
from concurrent.futures import ThreadPoolExecutor

import torch

NAN = float("nan")
TINY = torch.finfo(torch.float64).tiny  # keeps 0 / 0 from being NaN
CHUNK = {"cpu": 64 << 20, "cuda": 1 << 30}  # bytes of float64 states in work at once; the peak is some 5 times that
PANEL = 96  # columns per step of the symmetric product and of the Cholesky factorisation
EIGENSOLVE = 6  # time of a symmetric eigensolve over that of a Cholesky factorisation, measured on CPU, n = 500..1500
NODES = 40  # Q
ROUNDING = 1e-14  # an eigenvalue below this share of the largest is 0
FAINT = 1e-6  # a prefix below this share of the whole is too small for the nodes


def on_float64_device(x):
    """x, cut off from autograd, where float64 exists: on CPU and CUDA as it is, from anywhere else (MPS) on the CPU."""
    x = x.detach()
    kind = x.device.type
    return x if kind in CHUNK else x.cpu()


def sum_where(hidden, mask):
    """Sum of the states of each response that count, [B, D] float64; hidden [B, T, D] floating, mask [B, T] bool."""
    sums = []
    # 16 responses at a time, because blanking out the rest copies the states
    for states, keep in zip(hidden.split(16), mask.split(16)):
        blanked = states.masked_fill(~keep[..., None], 0)
        sums.append(blanked.sum(1, dtype=torch.float64))
    return torch.cat(sums)


def warn_of_non_finite(finite):
    """A RuntimeWarning, at the line that called the caller, which names the responses where finite [B] is False."""
    bad = [i for i, fine in enumerate(finite.tolist()) if not fine]
    if bad:
        warnings.warn(f"NaN or Inf in responses {bad}: their metrics are NaN", RuntimeWarning, stacklevel=3)


def helmert_rows(z, length):
    """Helmert rows [b, T-1, D] float64 of z [b, T, D], 0 beyond each length [b]; and which responses are finite [b].

    Each response is scaled to order 1, which changes no rank and keeps squares from overflow.
    """
    # Distances from the first state: equal states become exact zeros, and a large offset costs no digits.
    first = z[:, :1].double()
    z = z - first
    largest = torch.linalg.vector_norm(z, float("inf"), dim=(1, 2), keepdim=True)  # [b, 1, 1]
    finite = largest.isfinite()

    T = z.shape[1]
    n = torch.arange(1, T, device=z.device, dtype=z.dtype)
    n = n.unsqueeze(1)  # [T-1, 1]
    factor = (n / (n + 1)).sqrt()
    factor = factor / largest.clamp_min(TINY)  # [b, T-1, 1]
    # Zeros for padding, and for NaN, which would end the eigensolver for the others, too.
    padding = n >= length[:, None, None]
    nothing = padding | ~finite

    # Each state minus the mean of those before it. In place, because the states of a chunk are large.
    sums = z.cumsum(1)
    mean_before = sums[:, :-1]
    mean_before /= n
    rows = z[:, 1:]
    rows -= mean_before
    rows *= factor
    rows.masked_fill_(nothing, 0)
    return rows, finite[:, 0, 0]


def lower_product(a):
    """a a^T [b, n, n] of a [b, n, r], on and below the diagonal only: half the work, and all that the solvers read."""
    n = a.shape[1]
    product = a.new_zeros(len(a), n, n)
    for start in range(0, n, PANEL):
        end = start + PANEL
        panel = a[:, start:end]
        product[:, start:, start:end] = a[:, start:] @ panel.mT
    return product


def exact_ranks(gram, sizes):
    """ER [b, K] of the leading blocks of gram [b, n, n] that have the given K sizes, by their eigenvalues."""
    ranks = []
    for size in sizes:
        block = gram[:, :size, :size]
        squares = torch.linalg.eigvalsh(block)  # [b, size], ascending
        noise = ROUNDING * squares[:, -1:]
        squares = squares.where(squares > noise, 0)
        sigma = squares.sqrt()
        # from here as in rank.effective_rank; if all sigma are 0, so are all p, and exp(0) = 1
        S = sigma.sum(1, keepdim=True)
        p = sigma / S.clamp_min(TINY)
        entropy = torch.special.entr(p).sum(1)
        ranks.append(entropy.exp())
    return torch.stack(ranks, 1)


@functools.cache
def quadrature():
    """Nodes tau [Q], and weights omega and psi as columns [Q, 2]: least squares of the error relative to x."""
    x = torch.logspace(-6, 0, 3000, dtype=torch.float64)
    x = x.unsqueeze(1)  # [3000, 1]
    tau = torch.logspace(-7, 0.9, NODES, dtype=torch.float64)
    # Everything over x: ln(1 + x^2 / tau^2) / x should add up to x / x and to x ln x / x.
    logs = (x / tau).square().log1p()  # [3000, Q]
    columns = logs / x
    one = torch.ones_like(x)
    goal = torch.cat([one, x.log()], 1)  # [3000, 2]
    # columns of equal length: their sizes differ by orders of magnitude
    norm = columns.norm(dim=0)
    fit = torch.linalg.lstsq(columns / norm, goal, rcond=1e-16, driver="gelsd")
    weights = fit.solution / norm[:, None]
    return tau, weights


def diagonal(a):
    """Diagonals [..., n] of a [..., n or more, n], as a view."""
    return a.diagonal(dim1=-2, dim2=-1)


def log_pivots(gram, shifts):
    """Log-pivots [b, q, n] of gram [b, n, n] + shift I for each of shifts [q]: their sum is the log-determinant.

    A left-looking Cholesky factorisation in panels, for all shifts at once.
    """
    b, n, _ = gram.shape
    factor = gram.new_empty(b, len(shifts), n, n)  # lower triangular; what is above the diagonal is never read
    pivots = []
    for start in range(0, n, PANEL):
        end = min(start + PANEL, n)
        width = end - start
        # What the columns already done leave of this panel, which starts on the diagonal.
        done = factor[..., start:, :start]
        explained = done @ done[..., :width, :].mT
        panel = gram[:, start:, start:end].unsqueeze(1)
        panel = panel - explained  # [b, q, n - start, width]
        diagonal(panel).add_(shifts[:, None])
        # Its square at the top is factorised, and the rows below are solved for.
        square = panel[..., :width, :]
        below = panel[..., width:, :]
        corner = torch.linalg.cholesky_ex(square).L
        solved = torch.linalg.solve_triangular(corner.mT, below, upper=True, left=False)
        factor[..., end:, start:end] = solved
        pivots.append(2 * diagonal(corner).log())
    return torch.cat(pivots, 2)


def fast_ranks(gram, sizes):
    """ER [b, K] of the leading blocks of gram [b, n, n] that have the given K sizes, by log-determinants."""
    device = gram.device
    tau, weights = (x.to(device) for x in quadrature())
    last = torch.tensor(sizes, device=device) - 1  # [K]: where each block ends
    # The trace is the sum of all sigma^2: divided by it, no sigma is above 1, where the fit ends.
    squares = diagonal(gram).cumsum(1)
    traces = squares[:, last]  # [b, K]
    whole = traces[:, -1:]
    gram = gram / whole[..., None].clamp_min(TINY)

    # As many nodes at a time as there is room for their factors.
    factor_bytes = 8 * gram.numel()
    room = max(1, CHUNK[device.type] // factor_bytes)
    sums = gram.new_zeros(2, *traces.shape)
    for nodes, node_weights in zip(tau.split(room), weights.split(room)):
        # the pivots of M + tau^2 I are tau^2 times those of I + M / tau^2
        pivots = log_pivots(gram, nodes.square())
        log_square = 2 * nodes.log()
        pivots -= log_square[:, None]
        log_determinants = pivots.cumsum(2)[..., last]  # [b, q, K]
        sums += torch.einsum("bqk,qc->cbk", log_determinants, node_weights)
    S, sigma_log_sigma = sums
    entropy = S.log() - sigma_log_sigma / S
    ranks = entropy.exp()

    # Prefixes that are all zeros, or too faint for the nodes, are left to the eigenvalues.
    faint = traces <= FAINT * whole
    unfit = faint | ~ranks.isfinite()
    for k, size in enumerate(sizes):
        here = unfit[:, k]
        if here.any():
            exact = exact_ranks(gram[here], [size])
            ranks[here, k] = exact[:, 0]
    return ranks


def factorisation_costs(sizes, D):
    """Cost of one round of Cholesky factorisations for blocks of ascending sizes: all in one matrix, or apart.

    One [n, n] matrix can hold them all. Apart, one [D, D] matrix holds those up to D, and each beyond D has its own.
    """
    beyond = [size for size in sizes if size > D]
    together = sizes[-1] ** 3
    apart = D**3 * (1 + len(beyond))
    return together, apart


def cheaper_method(sizes, D, cuda):
    """Which of "exact" and "fast" is cheaper: on CUDA fast (reckoned, not measured), on CPU by measured cost.

    On CPU that is exact up to some 26 prefixes, and wherever T is far above D.
    """
    if cuda:
        return "fast"
    eigensolves = sum(min(size, D) ** 3 for size in sizes)
    factorisations = min(factorisation_costs(sizes, D))
    return "fast" if EIGENSOLVE * eigensolves > NODES * factorisations else "exact"


def block_ranks(rows, sizes, method):
    """ER [b, K] of the first `size` of the Helmert rows [b, T-1, D], for each of K ascending sizes in 0..T-1."""
    D = rows.shape[2]
    if method == "auto":
        method = cheaper_method(sizes, D, rows.is_cuda)
    solve = fast_ranks if method == "fast" else exact_ranks
    # Up to this size a prefix is a block of the Gram matrix, beyond it a scatter matrix of its own.
    limit = D
    together, apart = factorisation_costs(sizes, D)
    if method == "fast" and together <= apart:
        limit = sizes[-1]

    # No row, one state: ER 1.
    ranks = rows.new_ones(len(rows), len(sizes))
    short = [k for k, size in enumerate(sizes) if 0 < size <= limit]
    if short:
        blocks = [sizes[k] for k in short]
        largest = blocks[-1]
        gram = lower_product(rows[:, :largest])
        ranks[:, short] = solve(gram, blocks)

    # The scatter matrix of a prefix is that of the prefix before it, plus what the rows since then add.
    scatter, done = 0, 0
    for k, size in enumerate(sizes):
        if size > limit:
            since = rows[:, done:size]
            scatter = scatter + lower_product(since.mT)  # [b, D, D]
            rank = solve(scatter, [D])
            ranks[:, k] = rank[:, 0]
            done = size
    return ranks


def last_states(hidden, mask, chunk, count):
    """The last `count` states under the mask, [b, count, D], of responses chunk [b].

    A response that has fewer keeps all of them, in order, and its first one fills the rest.
    """
    mask = mask[chunk]
    positions = mask.byte().argsort(dim=1, descending=True, stable=True)  # [b, T]: those under the mask first, in order
    available = mask.sum(1, keepdim=True)  # [b, 1]
    skipped = (available - count).clamp_min(0)
    place = torch.arange(count, device=mask.device) + skipped  # [b, count], into positions
    place = place.where(place < available, 0)
    position = positions.gather(1, place)
    response = chunk[:, None]
    return hidden[response, position]


def chunk_ranks(hidden, mask, chunk, longest, stride, window, method):
    """Ranks of responses chunk [b], of which the longest has `longest` states: whole [b], prefixes [b, k], finite [b].

    Their lengths need the same number of strides, rounded up.
    """
    length = mask[chunk].sum(1)
    rows, finite = helmert_rows(last_states(hidden, mask, chunk, longest), length)
    # An empty response is fine, whatever its padding holds.
    finite = finite | (length == 0)
    if window is not None and longest > window:
        # The whole for ER; for the prefixes its end, centred anew.
        whole = block_ranks(rows, [longest - 1], method)
        rows, _ = helmert_rows(last_states(hidden, mask, chunk, window), length)
        sizes = range(stride, window, stride)
        prefixes = block_ranks(rows, list(sizes), method)
    elif longest > 2 * stride:
        # The last block is the whole, and a prefix, too, if it ends a stride.
        sizes = range(stride, longest - 1, stride)
        prefixes = block_ranks(rows, [*sizes, longest - 1], method)
        whole = prefixes[:, -1:]
    else:
        # One prefix alone says nothing.
        whole = block_ranks(rows, [longest - 1], method)
        prefixes = whole[:, :0]

    # A prefix that does not fit into its own response holds padding.
    count = prefixes.shape[1]
    j = torch.arange(1, count + 1, device=length.device)
    fits = j * stride < length[:, None]
    prefixes = prefixes.where(fits, NAN)
    return whole[:, 0], prefixes, finite


def chunks_of_like_length(lengths, stride, room, parts):
    """Indices of responses in chunks, longest first, that need the same number of strides, rounded up.

    room: states that a chunk may hold. parts: each group of like lengths is cut into at least as many, if it can be.
    """
    def strides(i):
        return math.ceil((lengths[i] - 1) / stride)

    indices = range(len(lengths))
    longest_first = sorted(indices, key=lengths.__getitem__, reverse=True)
    chunks = []
    for _, group in itertools.groupby(longest_first, key=strides):
        group = list(group)
        longest = max(1, lengths[group[0]])
        share = math.ceil(len(group) / parts)
        size = max(1, min(room // longest, share))
        for start in range(0, len(group), size):
            chunks.append(group[start : start + size])
    return chunks


def in_threads(work, items, threads):
    """Call work on every item, in this many threads.

    Above one, torch's own thread count is 1 meanwhile, for the whole process, and put back: two threads within a
    small eigensolve make it 3 to 30 times slower.
    """
    if threads == 1:
        for item in items:
            work(item)
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, items))
    finally:
        torch.set_num_threads(before)


def check(hidden, mask, stride, window, method):
    """ValueError, one line, if the arguments of prefix_spectra do not fit."""
    shape, mask_shape = list(hidden.shape), list(mask.shape)
    if len(shape) != 3 or not hidden.is_floating_point() or 0 in shape[1:]:
        raise ValueError(f"hidden must be floating [B, T, D] with T, D >= 1, got {hidden.dtype} {shape}")
    if mask.dtype != torch.bool or mask_shape != shape[:2]:
        raise ValueError(f"mask must be bool {shape[:2]}, got {mask.dtype} {mask_shape}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    if window is not None and window <= 2 * stride:
        raise ValueError(f"window must be None or more than 2 strides ({2 * stride} states), got {window}")
    if method not in ("auto", "exact", "fast"):
        raise ValueError(f"method must be auto, exact or fast, got {method!r}")


def prefix_spectra(hidden, mask, stride, window=None, method="auto", threads=None):
    """whole [B] float64, prefixes [B, K] float64, finite [B] bool of hidden [B, T, D] floating under mask [B, T] bool.

    whole     rank.effective_rank of the states of each response; 1 if it has none
    prefixes  rank.prefix_ranks of them, or of the last `window`, NaN beyond a response's last prefix. With a single
              prefix, from which nothing follows, it may be NaN, too
    finite    False if a response holds NaN or Inf; its ranks are NaN

    threads: on CPU, this many share the responses; default torch.get_num_threads(). The other arguments and the
    ValueErrors: rank.rank_metrics. hidden and mask are on a CPU or CUDA device, and not changed.
    """
    check(hidden, mask, stride, window, method)
    device = hidden.device
    lengths = mask.sum(1).tolist()
    if device.type != "cpu":
        threads = 1
    elif threads is None:
        threads = torch.get_num_threads()

    longest = max(lengths, default=0)
    if window is not None:
        longest = min(longest, window)
    K = max(0, longest - 1) // stride
    B, _, D = hidden.shape
    whole = hidden.new_full((B,), NAN, dtype=torch.float64)
    prefixes = hidden.new_full((B, K), NAN, dtype=torch.float64)
    finite = mask.new_ones(B)

    def fill(indices):
        chunk = torch.tensor(indices, device=device)
        longest = max(1, lengths[indices[0]])
        ranks = chunk_ranks(hidden, mask, chunk, longest, stride, window, method)
        whole[chunk], own, finite[chunk] = ranks
        # The last block is the longest response as a whole; where that ends within a stride, it is no prefix.
        own = own[:, :K]
        prefixes[chunk, : own.shape[1]] = own

    # float64 states of 8 D bytes each, in what all threads together may hold
    room = CHUNK[device.type] // threads
    chunks = chunks_of_like_length(lengths, stride, room // (8 * D), threads)
    in_threads(fill, chunks, threads)
    whole = whole.where(finite, NAN)
    prefixes = prefixes.where(finite[:, None], NAN)
    return whole, prefixes, finite
