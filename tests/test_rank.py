"""rank.py against float64 SVDs of centred prefixes, worked examples, and its promises on padding and bad input."""
import doctest
import warnings

import pytest
import torch

import rank
from rank import dataset_metrics, effective_rank, mean_states, prefix_effective_rank, rank_metrics

NAN = float("nan")


@pytest.fixture(autouse=True)
def one_thread():
    """The small SVDs of the oracle take ten times longer with two BLAS threads on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def svd_rank(z):
    """ER by its definition: singular values of the centred rows, in float64."""
    z = z.double() - z.double().mean(0)
    sigma = torch.linalg.svdvals(z)
    if sigma.sum() == 0:
        return torch.tensor(1.0, dtype=torch.float64)
    p = sigma / sigma.sum()
    return (-torch.xlogy(p, p).sum()).exp()


def svd_metrics(z, stride, window=None):
    """(ER, ERV, ERA) of one response z [T, D], the mean of differences written out as in the equations."""
    tail = z if window is None else z[-window:]
    m = [svd_rank(tail[:n]).item() for n in range(stride + 1, len(tail) + 1, stride)]
    delta = [m[j] - sum(m[:j]) / j for j in range(1, len(m))]
    jumps = [b - a for a, b in zip(delta, delta[1:])]
    return svd_rank(z).item(), *(sum(x) / len(x) if x else NAN for x in (delta, jumps))


def error(got, want):
    """Error relative to max(|want|, 1e-3); NaN must meet NaN."""
    got, want = (torch.as_tensor(x, dtype=torch.float64).flatten() for x in (got, want))
    assert torch.equal(got.isnan(), want.isnan())
    return ((got - want).abs() / want.abs().clamp_min(1e-3)).nan_to_num(0).max().item()


def assert_close(metrics, want, method="exact"):
    bounds = (1e-9, 1e-7, 1e-7) if method == "exact" else (1e-6, 1e-6, 1e-6)
    for name, got, expected, bound in zip(metrics._fields, metrics, zip(*want), bounds):
        assert error(got, expected) <= bound, (name, method)


def spectrum(t, d, condition, massive, generator):
    """[t, d] bfloat16 with a power-law spectrum of that condition number, `massive` directions 30 times larger."""
    r = min(t, d)
    left, right = (torch.linalg.qr(torch.randn(n, r, dtype=torch.float64, generator=generator))[0] for n in (t, d))
    exponent = torch.tensor(condition).log() / torch.tensor(float(r)).log()
    sigma = torch.arange(1, r + 1, dtype=torch.float64) ** -exponent
    sigma[:massive] *= 30
    return ((left * sigma) @ right.T * t ** 0.5).bfloat16()


def all_true(*shape):
    return torch.ones(shape, dtype=torch.bool)


@pytest.mark.parametrize("method", ["exact", "fast"])
@pytest.mark.parametrize("t, d, stride", [(120, 300, 20), (160, 160, 40), (200, 64, 16), (330, 250, 40)])
@pytest.mark.parametrize("condition, massive", [(50.0, 1), (1e3, 3), (3e4, 2)])
def test_metrics_agree_with_svd_of_the_same_bfloat16_input(t, d, stride, condition, massive, method):
    z = spectrum(t, d, condition, massive, torch.Generator().manual_seed(t + massive))
    for window in (None, 3 * stride + 5):
        got = rank_metrics(z[None], all_true(1, t), stride, window, method)
        assert_close(got, [svd_metrics(z, stride, window)], method)


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
def test_metrics_of_hidden_states_of_a_real_architecture_agree_with_svd(family):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, family + "Config")(
        vocab_size=100, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=12, max_position_embeddings=128)
    torch.manual_seed(0)
    model = getattr(transformers, family + "Model")(config).eval()
    mask = torch.arange(90) < torch.tensor([90, 61, 33])[:, None]
    with torch.no_grad():
        hidden = model(torch.randint(100, (3, 90)), attention_mask=mask.long()).last_hidden_state.bfloat16()
    want = [svd_metrics(hidden[i][mask[i]], 8) for i in range(3)]
    for method in ("exact", "fast"):
        assert_close(rank_metrics(hidden, mask, 8, method=method), want, method)


def test_prefixes_agree_with_svd_in_any_order_of_ends():
    z = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    ends = [50, 1, 7, 21, 22, 7, 2]
    assert error(prefix_effective_rank(z, ends), [svd_rank(z[:n]) for n in ends]) < 1e-11
    assert error(effective_rank(z), svd_rank(z)) < 1e-11


def test_equal_singular_values_count_and_a_linear_rise_gives_the_closed_forms():
    stride, k = 3, 5
    z = torch.eye(stride * k + 1)  # centred prefixes of n unit vectors: n - 1 equal singular values, so m_j = 3 j
    er, erv, era = rank_metrics(z[None], all_true(1, len(z)), stride)
    assert error(er, [stride * k]) < 1e-12
    assert error(erv, [stride * (k + 2) / 4]) < 1e-12
    assert error(era, [stride / 2]) < 1e-12


def test_rank_ignores_shift_scale_and_rotation_and_lies_within_its_bounds():
    g = torch.Generator().manual_seed(3)
    z = torch.randn(30, 12, dtype=torch.float64, generator=g)
    base = effective_rank(z)
    turn = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64, generator=g))[0]
    for changed in (z + 100, z * 1e-200, z * 1e200, z @ turn):
        assert error(effective_rank(changed), base) < 1e-9
    assert 1 <= base <= 12


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_degenerate_responses_have_rank_one(method):
    t, d, stride = 40, 16, 4
    g = torch.Generator().manual_seed(0)
    cases = {
        "constant": torch.randn(d, dtype=torch.float64, generator=g).expand(t, d),
        "zero": torch.zeros(t, d, dtype=torch.float64),
        "rank one": torch.outer(*(torch.randn(n, dtype=torch.float64, generator=g) for n in (t, d))),
    }
    for name, z in cases.items():
        er, erv, era = rank_metrics(z[None], all_true(1, t), stride, method=method)
        bound = 1e-6 if method == "fast" else 1e-9
        assert abs(er - 1) < bound and abs(erv) < bound and abs(era) < bound, name


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_constant_or_faint_beginning_is_not_drowned_by_a_large_end(method):
    g = torch.Generator().manual_seed(0)
    quiet, loud = torch.randn(9, 32, generator=g) * 1e-7, torch.randn(20, 32, generator=g)
    for start in (quiet, torch.zeros_like(quiet)):
        z = torch.cat([start, loud])
        got = rank_metrics(z[None], all_true(1, 29), 4, method=method)
        assert error(torch.cat(got), svd_metrics(z, 4)) < 1e-5  # sigma below 1e-7 sigma_max, here 9 of 28, is lost


@pytest.mark.parametrize("t", [0, 1, 2, 4, 5, 8, 9, 12, 13])
@pytest.mark.parametrize("method", ["exact", "fast"])
def test_short_responses_have_a_finite_rank_and_nan_where_prefixes_are_missing(t, method):
    stride = 4
    z = torch.randn(13, 6, generator=torch.Generator().manual_seed(0))
    er, erv, era = rank_metrics(z[None], (torch.arange(13) < t)[None], stride, method=method)
    assert error(er, svd_rank(z[:t]) if t else 1.0) < 1e-6
    assert erv.isnan().item() == (t < 2 * stride + 1)
    assert era.isnan().item() == (t < 3 * stride + 1)


@pytest.mark.parametrize("method", ["exact", "fast"])
@pytest.mark.parametrize("window", [None, 10])
def test_each_response_of_a_ragged_batch_equals_itself_alone_whatever_lies_under_the_mask(window, method):
    g = torch.Generator().manual_seed(1)
    lengths = [0, 1, 3, 9, 10, 11, 12, 17, 20, 20]
    hidden = torch.randn(len(lengths), 20, 14, generator=g)
    mask = torch.stack([torch.randperm(20, generator=g) < n for n in lengths])  # any pattern, not only a prefix
    alone = [rank_metrics(h[m][None], all_true(1, n), 3, window, method) if n else (1.0, NAN, NAN)
             for h, m, n in zip(hidden, mask, lengths)]
    for rubbish in (0.0, 1e4, NAN, float("inf")):
        got = rank_metrics(hidden.masked_fill(~mask[..., None], rubbish), mask, 3, window, method)
        for k in range(3):
            assert error(got[k], [float(a[k]) for a in alone]) < (1e-9 if method == "exact" else 1e-6)


def test_chunks_do_not_change_the_result(monkeypatch):
    hidden = torch.randn(7, 30, 10, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(30) < torch.tensor([30, 30, 29, 29, 20, 8, 30])[:, None]
    want = rank_metrics(hidden, mask, 4)
    monkeypatch.setattr(rank, "CHUNK", {"cpu": 1})
    for method in ("exact", "fast"):
        for got, expected in zip(rank_metrics(hidden, mask, 4, method=method), want):
            assert error(got, expected) < 1e-6


def test_threads_do_not_change_the_result_and_the_thread_count_is_restored():
    hidden = torch.randn(9, 40, 10, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(40) < torch.arange(32, 41)[:, None]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(rank_metrics(hidden, mask, 4))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results):
        assert error(one, three) < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_floating_dtype_is_read_and_neither_changed_nor_tracked(dtype):
    hidden = torch.randn(2, 20, 8, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    copy = hidden.detach().clone()
    got = rank_metrics(hidden, all_true(2, 20), 4)
    assert torch.equal(hidden, copy) and all(x.dtype == torch.float64 and not x.requires_grad for x in got)
    assert_close(got, [svd_metrics(z, 4) for z in copy])
    effective_rank(copy[0])
    assert torch.equal(hidden, copy)


@pytest.mark.parametrize("length", [1, 20])
@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_response_with_nan_or_inf_is_named_and_the_others_are_right(bad, length):
    hidden = torch.randn(4, 20, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(20) < torch.tensor([20, length, 20, length])[:, None]
    want = rank_metrics(hidden, mask, 4)
    hidden[1, 0, 3] = hidden[3, length - 1, 0] = bad
    with pytest.warns(RuntimeWarning, match=r"\[1, 3\]"):
        got = rank_metrics(hidden, mask, 4)
    for x, w in zip(got, want):
        assert x[[1, 3]].isnan().all() and error(x[[0, 2]], w[[0, 2]]) < 1e-12


def test_a_clean_batch_and_an_empty_batch_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rank_metrics(torch.zeros(2, 5, 3), all_true(2, 5), 1)
        assert [x.shape for x in rank_metrics(torch.zeros(0, 5, 3), all_true(0, 5))] == [(0,)] * 3


def test_dataset_metrics_treat_the_mean_states_as_one_trajectory():
    hidden = torch.randn(26, 7, 9, generator=torch.Generator().manual_seed(0)).bfloat16()
    mask = torch.rand(26, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[:, 2] = True
    hidden[~mask] = NAN
    means = mean_states(hidden, mask)
    want = torch.stack([h[m].double().mean(0) for h, m in zip(hidden, mask)])
    assert means.dtype == torch.float64 and error(means, want) < 1e-12
    assert_close(dataset_metrics(means, stride=5), [svd_metrics(want, 5)])


def test_bad_input_is_refused_with_the_offending_shape_or_value():
    z, mask = torch.zeros(2, 9, 3), all_true(2, 9)
    for args, words in [
        ((z[0], mask), r"\[9, 3\]"), ((z.int(), mask), "int32"), ((z[:, :0], mask[:, :0]), r"\[2, 0, 3\]"),
        ((z, mask[:, 1:]), r"\[2, 8\]"), ((z, mask.long()), "int64"), ((z, mask, 0), "got 0"),
        ((z, mask, 4, 7), "got 7"), ((z, mask, 4, None, "svd"), "'svd'"),
    ]:
        with pytest.raises(ValueError, match=words):
            rank_metrics(*args)
    for args, words in [((z, [1]), r"\[2, 9, 3\]"), ((z[0], [10]), r"\[10\]"), ((z[0], [0]), r"1\.\.9"),
                        ((z[0] * NAN, [3]), "NaN")]:
        with pytest.raises(ValueError, match=words):
            prefix_effective_rank(*args)


def test_examples_in_the_docstrings_run():
    result = doctest.testmod(rank)
    assert result.attempted and not result.failed
