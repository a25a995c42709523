"""engine/spectra.py against rank.py's definition, and each of its steps against the plain operation it stands for."""

import math
import threading
import types

import pytest
import torch

from engine import spectra
from engine.spectra import prefix_spectra
from rank import effective_rank, prefix_ranks

pytestmark = pytest.mark.usefixtures("one_thread")
NAN = float("nan")
METHODS = ["exact", "fast", "auto"]
BOUND = {"exact": 1e-9, "fast": 1e-6, "auto": 1e-6}


def error(got, want):
    """Error relative to want; NaN must meet NaN."""
    got, want = (torch.as_tensor(x, dtype=torch.float64) for x in (got, want))
    assert got.shape == want.shape and torch.equal(got.isnan(), want.isnan())
    return max(((got - want).abs() / want.abs()).nan_to_num(0).flatten().tolist(), default=0)


def spectrum(t, d, condition, massive, seed):
    """[t, d] bfloat16 with a power-law spectrum of that condition number, `massive` directions 30 times larger."""
    r = min(t, d)
    left, right = (torch.linalg.qr(random(n, r, seed=seed + n, dtype=torch.float64))[0] for n in (t, d + 1))
    right = right[:d]
    exponent = math.log(condition) / math.log(r)
    sigma = torch.arange(1, r + 1, dtype=torch.float64) ** -exponent
    sigma[:massive] *= 30
    return ((left * sigma) @ right.T * t**0.5).bfloat16()


def all_true(*shape):
    return torch.ones(shape, dtype=torch.bool)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def definition(hidden, mask, stride, window=None):
    """whole [B], prefixes [B, K] by rank.py, one response and one prefix at a time; where there is one, NaN as well."""
    responses = [z[keep] for z, keep in zip(hidden, mask)]
    whole = [effective_rank(z).item() if len(z) else 1.0 for z in responses]
    tails = [z if window is None else z[-window:] for z in responses]
    width = max((len(z) - 1) // stride for z in tails)
    prefixes = torch.full((len(tails), max(0, width)), NAN, dtype=torch.float64)
    for row, z in zip(prefixes, tails):
        m = prefix_ranks(z, stride) if len(z) else []
        row[: len(m)] = torch.as_tensor(m)
    return whole, prefixes


def assert_defined(hidden, mask, stride, window=None, method="exact", threads=None, bound=None):
    """prefix_spectra agrees with the definition wherever a metric could tell: a single prefix may be missing."""
    whole, prefixes, finite = prefix_spectra(hidden, mask, stride, window, method, threads)
    want_whole, want_prefixes = definition(hidden, mask, stride, window)
    single = (~want_prefixes.isnan()).sum(1) == 1
    want_prefixes[single] = want_prefixes[single].where(~prefixes[single].isnan(), NAN)
    assert whole.dtype == prefixes.dtype == torch.float64 and finite.all()
    assert error(whole, want_whole) <= (bound or BOUND[method])
    assert error(prefixes, want_prefixes) <= (bound or BOUND[method])


@pytest.mark.parametrize("method", ["exact", "fast"])
@pytest.mark.parametrize("t, d, stride", [(120, 300, 20), (160, 160, 40), (200, 64, 15), (330, 250, 40)])
@pytest.mark.parametrize("condition, massive", [(50.0, 1), (1e3, 3), (3e4, 2)])
def test_ranks_agree_with_svd_of_the_same_bfloat16_input(t, d, stride, condition, massive, method):
    # The smallest sigma of a square block can fall below 1e-7 of the largest, and is then lost, as the module says.
    z = spectrum(t, d, condition, massive, seed=massive)
    for window in (None, 3 * stride + 5):
        assert_defined(z[None], all_true(1, t), stride, window, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stride, window", [(1, None), (3, None), (3, 7), (3, 10), (5, 12), (7, None), (20, None)])
def test_a_ragged_batch_agrees_with_the_definition_whatever_lies_under_the_mask(stride, window, method):
    lengths = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 17, 20, 20]
    hidden = random(len(lengths), 20, 14, seed=1)
    g = torch.Generator().manual_seed(2)
    mask = torch.stack([torch.randperm(20, generator=g) < n for n in lengths])  # any pattern, not only a prefix
    for rubbish in (0.0, 1e4, NAN, float("inf")):
        assert_defined(hidden.masked_fill(~mask[..., None], rubbish), mask, stride, window, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("t, d", [(2, 3), (30, 1), (40, 6), (12, 30), (100, 4)])
def test_narrow_and_wide_states_agree_with_the_definition(t, d, method):
    assert_defined(random(3, t, d), all_true(3, t), 2, None, method)
    assert_defined(random(3, t, d), all_true(3, t), 4, 9, method)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_floating_dtype_is_read_and_not_changed(dtype):
    hidden, mask = random(2, 20, 8).to(dtype), torch.arange(20) < torch.tensor([[20], [15]])
    copy = hidden.clone()
    assert_defined(hidden, mask, 4, bound=1e-11)
    assert torch.equal(hidden, copy)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_very_large_and_very_small_states_neither_overflow_nor_vanish(scale):
    hidden = random(2, 20, 8, dtype=torch.float64) * scale
    hidden[1] /= scale
    assert_defined(hidden, all_true(2, 20), 4)


def test_an_offset_that_all_states_share_costs_no_digits():
    assert_defined(random(1, 20, 8, dtype=torch.float64) + 1e5, all_true(1, 20), 4, bound=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_constant_or_faint_beginning_is_not_drowned_by_a_large_end(method):
    quiet, loud = random(9, 32) * 1e-7, random(20, 32, seed=1)
    for start in (quiet, torch.zeros_like(quiet)):
        z = torch.cat([start, loud])
        # sigma below 1e-7 sigma_max, here 9 of 28, is lost
        assert_defined(torch.stack([z, z.flip(0)]), all_true(2, 29), 4, None, method, bound=1e-5)


@pytest.mark.parametrize("length", [0, 1, 20])
@pytest.mark.parametrize("window", [None, 9])
def test_a_response_that_is_not_finite_has_nan_ranks_and_harms_no_other(window, length):
    hidden = random(4, 20, 8)
    mask = torch.arange(20) < torch.tensor([20, length, 20, 16])[:, None]
    want_whole, want_prefixes, _ = prefix_spectra(hidden, mask, 4, window)
    hidden[1] = NAN
    hidden[3, 15, 0] = float("inf")
    whole, prefixes, finite = prefix_spectra(hidden, mask, 4, window)
    broken = [1, 3] if length else [3]
    want_whole[broken] = want_prefixes[broken] = NAN
    assert finite.tolist() == [i not in broken for i in range(4)]
    assert error(whole, want_whole) < 1e-12 and error(prefixes, want_prefixes) < 1e-12


def test_prefixes_are_as_wide_as_the_longest_response_or_window_needs():
    cases = ((1, None, 0), (4, None, 0), (5, None, 1), (12, None, 2), (13, None, 3), (40, 10, 2), (40, 9, 2))
    for t, window, width in cases:
        assert prefix_spectra(random(2, t, 3), all_true(2, t), 4, window)[1].shape == (2, width)
    assert [x.shape for x in prefix_spectra(torch.zeros(0, 5, 3), all_true(0, 5), 4)] == [(0,), (0, 0), (0,)]
    assert prefix_spectra(random(2, 1, 3), all_true(2, 1), 1)[1].shape == (2, 0)


# The steps


def test_states_on_a_device_without_float64_are_moved_to_the_cpu():
    device = types.SimpleNamespace(type="mps")
    x = types.SimpleNamespace(device=device, cpu=lambda: "on the CPU")
    assert spectra.on_float64_device(types.SimpleNamespace(detach=lambda: x)) == "on the CPU"


def test_helmert_rows_have_the_singular_values_of_centred_prefixes_and_zeros_pad():
    z = random(2, 9, 4, dtype=torch.float64) * 50
    rows, finite = spectra.helmert_rows(z, torch.tensor([9, 6]))
    assert rows.shape == (2, 8, 4) and finite.all()
    assert (rows[1, 5:] == 0).all() and (rows[1, 4] != 0).all()
    for i, length in ((0, 9), (1, 6)):
        scale = (z[i] - z[i, 0]).abs().max()
        for n in range(2, length + 1):
            centred = z[i, :n] - z[i, :n].mean(0)
            want = torch.linalg.svdvals(centred)[: n - 1]
            assert (torch.linalg.svdvals(rows[i, : n - 1]) * scale - want).abs().max() < 1e-12


@pytest.mark.parametrize("panel", [1, 3, 7, 96])
def test_the_product_in_panels_is_right_on_and_below_the_diagonal(panel, monkeypatch):
    monkeypatch.setattr(spectra, "PANEL", panel)
    a = random(2, 7, 5, dtype=torch.float64)
    assert (spectra.lower_product(a) - a @ a.mT).tril().abs().max() < 1e-13


@pytest.mark.parametrize("panel", [1, 3, 8, 96])
def test_log_pivots_add_up_to_the_log_determinants_of_leading_blocks(panel, monkeypatch):
    monkeypatch.setattr(spectra, "PANEL", panel)
    a = random(2, 8, 8, dtype=torch.float64)
    shifts = torch.tensor([0.1, 2.0, 30.0], dtype=torch.float64)
    sums = spectra.log_pivots(a @ a.mT, shifts).cumsum(2)
    assert sums.shape == (2, 3, 8)
    for n in range(1, 9):
        shifted = (a @ a.mT)[:, None, :n, :n] + shifts[:, None, None] * torch.eye(n)
        assert (sums[..., n - 1] - shifted.logdet()).abs().max() < 1e-12


def test_the_quadrature_fits_x_and_x_ln_x_to_2e_9_over_six_decades():
    tau, weights = spectra.quadrature()
    assert tau.shape == (40,) and weights.shape == (40, 2)
    x = torch.logspace(-6, 0, 1777, dtype=torch.float64)[:, None]
    fitted = torch.log1p((x / tau) ** 2) @ weights / x
    want = torch.cat([torch.ones_like(x), x.log()], 1)
    assert (fitted - want).abs().max() < 2.5e-9


def test_an_eigenvalue_below_1e_14_of_the_largest_is_rounding_and_above_it_counts():
    for small, counts in ((0.9e-14, False), (1.1e-14, True), (0.0, False), (-1e-16, False)):
        gram = torch.diag(torch.tensor([5.0, 5.0 * small], dtype=torch.float64))[None]
        got = spectra.exact_ranks(gram, [1, 2])
        p = math.sqrt(small) / (1 + math.sqrt(small)) if counts else 0.0
        want = math.exp(-p * math.log(p) - (1 - p) * math.log1p(-p)) if counts else 1.0
        assert error(got, [[1.0, want]]) < 1e-15
        assert (got[0, 1] > 1) == counts
    assert error(spectra.exact_ranks(torch.zeros(1, 3, 3, dtype=torch.float64), [2]), [[1.0]]) == 0


def test_fast_ranks_of_zero_and_of_faint_blocks_are_those_of_the_eigenvalues():
    # diagonal: sigma^2 as they stand; the first two blocks are zero or below 1e-6 of the trace
    squares = torch.tensor([[0, 0, 1, 4], [1e-7, 2e-7, 1, 4], [1e-3, 1, 1, 1]], dtype=torch.float64)
    want = spectra.exact_ranks(torch.diag_embed(squares), [1, 2, 3, 4])
    assert error(spectra.fast_ranks(torch.diag_embed(squares), [1, 2, 3, 4]), want) < 1e-7
    assert error(spectra.fast_ranks(torch.zeros(2, 3, 3, dtype=torch.float64), [1, 3]), torch.ones(2, 2)) == 0


def test_only_faint_blocks_of_a_response_go_to_the_eigenvalues(monkeypatch):
    asked = []
    exact = spectra.exact_ranks
    record = lambda gram, sizes: asked.append((len(gram), sizes)) or exact(gram, sizes)  # noqa: E731
    monkeypatch.setattr(spectra, "exact_ranks", record)
    squares = torch.tensor([[0.9e-6, 0.0, 1.0], [1.1e-6, 0.0, 1.0], [0.0, 0.5, 0.5]], dtype=torch.float64)
    squares[:2, 2] -= squares[:2, 0]
    scale = torch.tensor([100.0, 1.0, 1.0])[:, None]
    spectra.fast_ranks(torch.diag_embed(squares * scale), [1, 2, 3])
    # the first two prefixes of response 0 are below 1e-6 of its trace, those of 1 above it, and the first of 2 is 0
    assert asked == [(2, [1]), (1, [2])]


def test_factors_for_all_nodes_at_once_or_one_by_one_give_the_same(monkeypatch):
    gram = spectra.lower_product(random(2, 9, 12, dtype=torch.float64))
    calls = []
    pivots = spectra.log_pivots
    monkeypatch.setattr(spectra, "log_pivots", lambda gram, shifts: calls.append(len(shifts)) or pivots(gram, shifts))
    want = spectra.fast_ranks(gram, [4, 9])
    assert calls == [40]
    factor_bytes = 2 * 9 * 9 * 8
    for room, nodes in ((1, [1] * 40), (15 * factor_bytes, [15, 15, 10]), (16 * factor_bytes - 1, [15, 15, 10])):
        calls.clear()
        monkeypatch.setattr(spectra, "CHUNK", {"cpu": room})
        assert error(spectra.fast_ranks(gram, [4, 9]), want) < 1e-9 and calls == nodes


def test_costs_count_one_factor_for_all_or_one_up_to_d_and_one_for_each_beyond():
    assert spectra.factorisation_costs([3, 5], 5) == (125, 125)
    assert spectra.factorisation_costs([3, 5, 6, 9], 5) == (729, 3 * 125)


def test_the_cheaper_method_is_exact_for_few_prefixes_and_for_long_narrow_states_and_fast_on_cuda():
    wide = list(range(40, 1537, 40))
    assert spectra.cheaper_method(wide, 3584, cuda=False) == "fast"
    assert spectra.cheaper_method(wide[:10], 3584, cuda=False) == "exact"
    assert spectra.cheaper_method(wide, 64, cuda=False) == "exact"
    assert spectra.cheaper_method(wide[:10], 64, cuda=True) == "fast"
    # 6 eigensolves' worth of each size against 40 factorisations of the largest: 7 equal sizes tip it, 6 do not
    assert [spectra.cheaper_method([9] * count, 9, cuda=False) for count in (6, 7)] == ["exact", "fast"]


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_blocks_come_from_one_gram_matrix_or_beyond_d_from_scatter_matrices_where_that_is_cheaper(method, monkeypatch):
    solved = []
    solver = getattr(spectra, method + "_ranks")
    record = lambda gram, sizes: solved.append((gram.shape[1], sizes)) or solver(gram, sizes)  # noqa: E731
    monkeypatch.setattr(spectra, method + "_ranks", record)
    rows, _ = spectra.helmert_rows(random(2, 13, 5), torch.tensor([13, 13]))
    z = random(2, 13, 5)
    for sizes, exact_blocks, fast_blocks in (
        ([0, 2, 5], [(5, [2, 5])], [(5, [2, 5])]),
        ([0], [], []),
        ([5, 6], [(5, [5]), (5, [5])], [(6, [5, 6])]),  # 6^3 is below 2 x 5^3
        ([3, 8, 12], [(3, [3]), (5, [5]), (5, [5])], [(3, [3]), (5, [5]), (5, [5])]),  # 12^3 is above 3 x 5^3
    ):
        solved.clear()
        got = spectra.block_ranks(rows, sizes, method)
        assert solved == (exact_blocks if method == "exact" else fast_blocks)
        want = [[effective_rank(z[i, : size + 1]).item() for size in sizes] for i in range(2)]
        assert error(got, want) < BOUND[method]


def test_auto_is_the_cheaper_method(monkeypatch):
    chosen = []
    for method in ("exact", "fast"):
        solver = getattr(spectra, method + "_ranks")
        record = lambda *args, method=method, solver=solver: chosen.append(method) or solver(*args)  # noqa: E731
        monkeypatch.setattr(spectra, method + "_ranks", record)
    for stride, method in ((1, "fast"), (10, "exact")):
        chosen.clear()
        prefix_spectra(random(1, 41, 50), all_true(1, 41), stride)
        assert set(chosen) == {method}


def test_the_last_states_under_the_mask_come_in_order_and_the_first_fills_up():
    hidden = torch.arange(10.0).view(2, 5, 1)
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 1, 1]]).bool()
    states = spectra.last_states(hidden, mask, torch.tensor([1, 0]), 3)
    assert states[..., 0].tolist() == [[8, 9, 8], [0, 2, 3]]
    states = spectra.last_states(hidden, mask, torch.tensor([0, 1]), 2)
    assert states[..., 0].tolist() == [[2, 3], [8, 9]]


def test_chunks_hold_every_response_once_with_like_lengths_within_room_and_shared_out():
    lengths = [9, 1, 8, 5, 0, 7, 6, 9, 4]
    # strides of 4, rounded up: 9, 8, 7, 6 need two, 5, 4 one, 1 and 0 none
    chunks = spectra.chunks_of_like_length
    assert chunks(lengths, 4, 1000, 1) == [[0, 7, 2, 5, 6], [3, 8], [1, 4]]
    assert chunks(lengths, 4, 1000, 2) == [[0, 7, 2], [5, 6], [3], [8], [1], [4]]
    assert chunks(lengths, 4, 18, 1) == [[0, 7], [2, 5], [6], [3, 8], [1, 4]]
    assert chunks(lengths, 4, 17, 1) == [[0], [7], [2], [5], [6], [3, 8], [1, 4]]
    assert chunks(lengths, 4, 1, 1) == [[0], [7], [2], [5], [6], [3], [8], [1], [4]]
    assert chunks([0, 0], 1, 1000, 1) == [[0, 1]]


def test_chunks_do_not_change_the_result(monkeypatch):
    hidden = random(7, 30, 10)
    mask = torch.arange(30) < torch.tensor([30, 30, 29, 29, 20, 8, 30])[:, None]
    monkeypatch.setattr(spectra, "CHUNK", {"cpu": 1})
    for method in METHODS:
        assert_defined(hidden, mask, 4, None, method)


def test_a_chunk_holds_as_many_float64_states_as_its_bytes_shared_by_the_threads(monkeypatch):
    rooms = []
    chunks = spectra.chunks_of_like_length
    monkeypatch.setattr(spectra, "chunks_of_like_length", lambda *args: rooms.append(args[1:]) or chunks(*args))
    monkeypatch.setattr(spectra, "CHUNK", {"cpu": 8 * 10 * 60})
    for threads in (1, 3):
        prefix_spectra(random(4, 30, 10), all_true(4, 30), 4, threads=threads)
    assert rooms == [(4, 60, 1), (4, 20, 3)]


def test_threads_do_not_change_the_result_and_the_thread_count_is_restored():
    hidden = random(9, 40, 10)
    mask = torch.arange(40) < torch.arange(32, 41)[:, None]
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(prefix_spectra(hidden, mask, 4))
        assert torch.get_num_threads() == threads
    for one, three in zip(*results):
        assert error(one, three) < 1e-12
    torch.set_num_threads(1)
    assert_defined(hidden, mask, 4, threads=2)


def test_work_is_shared_by_threads_with_one_blas_thread_each_and_a_failure_reaches_the_caller():
    here, meeting, counts = threading.get_ident(), threading.Barrier(2), []

    def work(item):
        if threading.get_ident() != here:
            meeting.wait(timeout=60)  # two at a time, or this fails
        counts.append((item, torch.get_num_threads(), threading.get_ident() == here))

    torch.set_num_threads(2)
    spectra.in_threads(work, [1, 2, 3, 4], 2)
    assert sorted(counts) == [(item, 1, False) for item in (1, 2, 3, 4)] and torch.get_num_threads() == 2
    counts.clear()
    spectra.in_threads(work, [1, 2], 1)
    assert counts == [(1, 2, True), (2, 2, True)]
    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError):
            spectra.in_threads(lambda item: 1 / item, [1, 0], threads)
        assert torch.get_num_threads() == 2


def test_threads_are_those_of_torch_unless_said(monkeypatch):
    asked = []
    run = spectra.in_threads
    record = lambda work, items, threads: asked.append(threads) or run(work, items, 1)  # noqa: E731
    monkeypatch.setattr(spectra, "in_threads", record)
    torch.set_num_threads(2)
    prefix_spectra(random(2, 9, 3), all_true(2, 9), 4)
    prefix_spectra(random(2, 9, 3), all_true(2, 9), 4, threads=1)
    prefix_spectra(random(2, 9, 3), all_true(2, 9), 4, threads=3)
    assert asked == [2, 1, 3]
