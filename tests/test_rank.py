"""rank.py: worked values, closed forms, an independent spectrum, and the promises on short, broken and bad input."""

import doctest
import math
import warnings

import numpy as np
import pytest
import torch

import rank
from rank import acceleration, dataset_metrics, effective_rank, mean_states, prefix_ranks, rank_metrics, velocity

pytestmark = pytest.mark.usefixtures("one_thread")
NAN = float("nan")


def gram_rank(z):
    """ER by another road: numpy's eigenvalues of the centred Gram matrix, the definition summed term by term."""
    z = z.double().numpy()
    z = z - z.mean(0)
    squares = np.linalg.eigvalsh(z @ z.T if z.shape[0] < z.shape[1] else z.T @ z)
    sigma = [math.sqrt(x) for x in squares if x > 1e-13 * squares[-1]]
    total = sum(sigma)
    return math.exp(-sum(x / total * math.log(x / total) for x in sigma)) if sigma else 1.0


def looped_metrics(z, stride, window=None):
    """[ER, ERV, ERA] of one response z [T, D]: a loop over prefixes, differences written out as in the equations."""
    tail = z if window is None else z[-window:]
    m = [effective_rank(tail[:n]).item() for n in range(stride + 1, len(tail) + 1, stride)]
    delta = [m[j] - sum(m[:j]) / j for j in range(1, len(m))]
    jumps = [b - a for a, b in zip(delta, delta[1:])]
    return [effective_rank(z).item() if len(z) else 1.0, *(sum(x) / len(x) if x else NAN for x in (delta, jumps))]


def error(got, want):
    """Error relative to max(|want|, 1e-3); NaN must meet NaN."""
    got, want = (torch.as_tensor(x, dtype=torch.float64).flatten() for x in (got, want))
    assert got.shape == want.shape and torch.equal(got.isnan(), want.isnan())
    return ((got - want).abs() / want.abs().clamp_min(1e-3)).nan_to_num(0).max().item()


def assert_close(metrics, want, method="exact"):
    """want: (ER, ERV, ERA) of each response."""
    bounds = (1e-9, 1e-7, 1e-7) if method == "exact" else (1e-6, 1e-6, 1e-6)
    assert list(metrics) == list(rank.METRICS)
    for name, expected, bound in zip(("er", "erv", "era"), zip(*want), bounds, strict=True):
        assert error(metrics[name], expected) <= bound, (name, method)


def all_true(*shape):
    return torch.ones(shape, dtype=torch.bool)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("n, d", [(2, 5), (5, 2), (30, 7), (7, 30), (20, 20), (40, 1)])
def test_effective_rank_agrees_with_eigenvalues_of_the_centred_gram_matrix(n, d):
    z = random(n, d, seed=n) * torch.arange(1, d + 1) ** -0.7 + 3
    assert error(effective_rank(z), gram_rank(z)) < 1e-10


def test_worked_example_of_two_directions_of_unequal_width():
    z = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) + torch.tensor([5.0, -7.0])
    assert error(effective_rank(z), [math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))]) < 1e-12


@pytest.mark.parametrize("n", [2, 3, 13])
def test_equal_singular_values_are_counted(n):
    assert error(effective_rank(torch.eye(n)), [n - 1]) < 1e-12


def test_rank_ignores_shift_scale_and_rotation_and_lies_within_its_bounds():
    z = random(30, 12, seed=3, dtype=torch.float64)
    base = effective_rank(z)
    turn = torch.linalg.qr(random(12, 12, seed=4, dtype=torch.float64))[0]
    for changed in (z + 100, z * 1e-200, z * 1e200, z @ turn):
        assert error(effective_rank(changed), base) < 1e-9
    assert 1 <= base <= 12
    assert 1 <= effective_rank(z[:5]) <= 4


def test_one_row_equal_rows_and_rows_on_a_line_have_rank_one():
    for z in (torch.zeros(4, 3), torch.ones(1, 3), torch.zeros(1, 1), torch.full((8, 2), 0.5)):
        assert effective_rank(z) == 1 and effective_rank(z).dtype == torch.float64
    line = torch.outer(random(9, dtype=torch.float64), random(5, seed=1, dtype=torch.float64))
    assert error(effective_rank(line), [1.0]) < 1e-9


def test_prefixes_have_one_row_more_than_j_strides():
    z = random(14, 20)
    for t, ends in ((14, [5, 9, 13]), (13, [5, 9, 13]), (12, [5, 9]), (5, [5]), (4, []), (1, [])):
        got = prefix_ranks(z[:t], 4)
        assert got.dtype == torch.float64 and got.shape == (len(ends),)
        assert not ends or error(got, [gram_rank(z[:n]) for n in ends]) < 1e-10


def test_velocity_and_acceleration_of_a_worked_example_alone_and_padded_in_a_batch():
    # delta = 4 - 1, 2 - 5/2, 9 - 7/3
    ranks = [[1, 4, 2, 9], [1, 4, 2, NAN], [1, 4, NAN, NAN], [1, NAN, NAN, NAN], [NAN] * 4]
    m = torch.tensor(ranks, dtype=torch.float64)
    erv = [(3 - 1 / 2 + 20 / 3) / 3, (3 - 1 / 2) / 2, 3.0, NAN, NAN]
    era = [(20 / 3 - 3) / 2, -7 / 2, NAN, NAN, NAN]
    assert error(rank.rank_changes(m)[0], [3, -1 / 2, 20 / 3]) < 1e-14
    assert error(velocity(m), erv) < 1e-14 and error(acceleration(m), era) < 1e-14
    for row, v, a in zip(m, erv, era):
        alone = row[~row.isnan()]
        assert error(velocity(alone), [v]) < 1e-14 and error(acceleration(alone), [a]) < 1e-14
    assert velocity(m[:, :0]).shape == acceleration(m[:, :0]).shape == (5,)


@pytest.mark.parametrize("k", [3, 4, 11])
def test_acceleration_is_the_last_change_minus_the_first_over_their_distance(k):
    m = random(k, dtype=torch.float64)
    delta = rank.rank_changes(m)
    assert error(acceleration(m), (delta[-1] - delta[0]) / (k - 2)) < 1e-12


def test_a_linear_rise_gives_the_closed_forms():
    stride, k = 3, 5
    z = torch.eye(stride * k + 1)  # centred prefixes of n unit vectors: n - 1 equal singular values, so m_j = 3 j
    metrics = rank_metrics(z[None], all_true(1, len(z)), stride)
    assert error(metrics["er"], [stride * k]) < 1e-12
    assert error(metrics["erv"], [stride * (k + 2) / 4]) < 1e-12
    assert error(metrics["era"], [stride / 2]) < 1e-12


@pytest.mark.parametrize("method", ["exact", "fast", "auto"])
@pytest.mark.parametrize("window", [None, 9, 11])
def test_metrics_of_a_ragged_batch_are_those_of_a_loop_over_prefixes(window, method):
    lengths = [0, 1, 4, 5, 8, 9, 11, 12, 13, 16, 17, 25]
    hidden = random(len(lengths), 25, 10).bfloat16()
    mask = torch.arange(25) < torch.tensor(lengths)[:, None]
    want = [looped_metrics(z[:n], 4, window) for z, n in zip(hidden, lengths)]
    assert_close(rank_metrics(hidden, mask, 4, window, method), want, method)


def test_without_further_words_the_stride_is_40_and_the_whole_response_counts():
    hidden, mask = random(1, 700, 3), all_true(1, 700)
    assert_close(rank_metrics(hidden, mask), [looped_metrics(hidden[0], 40)], "auto")
    assert_close(dataset_metrics(hidden[0]), [looped_metrics(hidden[0], 40)], "auto")


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
def test_metrics_of_hidden_states_of_a_real_architecture_agree_with_svd(family):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, family + "Config")(
        vocab_size=100, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=12, max_position_embeddings=128)  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, family + "Model")(config).eval()
    mask = torch.arange(90) < torch.tensor([90, 61, 33])[:, None]
    with torch.no_grad():
        hidden = model(torch.randint(100, (3, 90)), attention_mask=mask.long()).last_hidden_state.bfloat16()
    want = [looped_metrics(hidden[i][mask[i]], 8) for i in range(3)]
    for method in ("exact", "fast"):
        assert_close(rank_metrics(hidden, mask, 8, method=method), want, method)


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_degenerate_responses_have_rank_one(method):
    t, d = 40, 16
    cases = {
        "constant": random(d, dtype=torch.float64).expand(t, d),
        "zero": torch.zeros(t, d, dtype=torch.float64),
        "rank one": torch.outer(random(t, dtype=torch.float64), random(d, seed=1, dtype=torch.float64)),
    }
    for name, z in cases.items():
        metrics = rank_metrics(z[None], all_true(1, t), 4, method=method)
        bound = 1e-6 if method == "fast" else 1e-9
        for key, value in (("er", 1), ("erv", 0), ("era", 0)):
            assert abs(metrics[key] - value) < bound, (name, key)


@pytest.mark.parametrize("t", [0, 1, 2, 4, 5, 8, 9, 12, 13])
@pytest.mark.parametrize("method", ["exact", "fast"])
def test_short_responses_have_a_finite_rank_and_nan_where_prefixes_are_missing(t, method):
    z = random(13, 6)
    metrics = rank_metrics(z[None], (torch.arange(13) < t)[None], 4, method=method)
    assert error(metrics["er"], [gram_rank(z[:t]) if t else 1.0]) < 1e-6
    assert metrics["erv"].isnan().item() == (t < 9)
    assert metrics["era"].isnan().item() == (t < 13)


def test_a_new_metric_is_one_entry_of_the_table_and_sees_states_mask_and_ranks(monkeypatch):
    given = []
    monkeypatch.setitem(rank.METRICS, "size", lambda batch: mean_states(batch.hidden, batch.mask).norm(dim=1))
    monkeypatch.setitem(rank.METRICS, "first", lambda batch: given.append(batch) or batch.prefixes[:, 0])
    hidden, mask = random(2, 20, 8), torch.arange(20) < torch.tensor([20, 14])[:, None]
    hidden[0, 3, 3] = NAN
    with pytest.warns(RuntimeWarning):
        metrics = rank_metrics(hidden, mask, 4)
    assert list(metrics) == list(rank.METRICS) and list(metrics)[-2:] == ["size", "first"]
    assert error(metrics["size"], [NAN, hidden[1, :14].double().mean(0).norm()]) < 1e-12
    assert error(metrics["first"], [NAN, effective_rank(hidden[1, :5])]) < 1e-9
    (batch,) = given
    assert torch.equal(batch.mask, mask) and error(batch.whole, metrics["er"]) == 0 and batch.prefixes.shape == (2, 4)
    with pytest.raises(AttributeError):
        batch.mask = None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_floating_dtype_is_read_and_neither_changed_nor_tracked(dtype):
    hidden = random(2, 20, 8).to(dtype).requires_grad_()
    copy = hidden.detach().clone()
    metrics = rank_metrics(hidden, all_true(2, 20), 4)
    means = mean_states(hidden, all_true(2, 20))
    for x in (*metrics.values(), means, effective_rank(hidden[0]), prefix_ranks(hidden[0], 4)):
        assert x.dtype == torch.float64 and not x.requires_grad
    assert torch.equal(hidden, copy)
    assert_close(metrics, [looped_metrics(z, 4) for z in copy])


@pytest.mark.parametrize("length", [1, 20])
@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_response_with_nan_or_inf_is_named_and_the_others_are_right(bad, length):
    hidden = random(4, 20, 8)
    mask = torch.arange(20) < torch.tensor([20, length, 20, length])[:, None]
    want = rank_metrics(hidden, mask, 4)
    hidden[1, 0, 3] = hidden[3, length - 1, 0] = bad
    with pytest.warns(RuntimeWarning, match=r"\[1, 3\]") as warned:
        got = rank_metrics(hidden, mask, 4)
    assert [w.filename for w in warned] == [__file__]  # it points to the caller
    for name, x in got.items():
        assert x[[1, 3]].isnan().all() and error(x[[0, 2]], want[name][[0, 2]]) < 1e-12


def test_a_clean_batch_and_an_empty_batch_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rank_metrics(torch.zeros(2, 5, 3), all_true(2, 5), 1)
        assert [x.shape for x in rank_metrics(torch.zeros(0, 5, 3), all_true(0, 5)).values()] == [(0,)] * len(rank.METRICS)


def test_mean_states_leave_out_what_the_mask_does_and_are_nan_where_nothing_is_left():
    hidden = random(3, 4, 2).bfloat16()
    mask = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).bool()
    hidden[~mask] = NAN
    want = torch.stack([hidden[0, [0, 2]].double().mean(0), torch.full((2,), NAN), hidden[2, 3].double()])
    assert error(mean_states(hidden, mask), want) < 1e-12


def test_dataset_metrics_treat_the_mean_states_as_one_trajectory():
    hidden = random(36, 7, 9).bfloat16()
    mask = torch.rand(36, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[:, 2] = True
    hidden[~mask] = NAN
    means = mean_states(hidden, mask)
    want = torch.stack([h[m].double().mean(0) for h, m in zip(hidden, mask)])
    assert means.dtype == torch.float64 and error(means, want) < 1e-12
    assert_close(dataset_metrics(means, stride=5), [looped_metrics(want, 5)])


def test_bad_input_is_refused_with_the_offending_shape_or_value():
    z, mask = torch.zeros(2, 9, 3), all_true(2, 9)
    for args, words in [
        ((z[0], mask), r"\[9, 3\]"), ((z.int(), mask), "int32"), ((z[:, :0], mask[:, :0]), r"\[2, 0, 3\]"),
        ((z[..., :0], mask), r"\[2, 9, 0\]"), ((z, mask[:, 1:]), r"\[2, 8\]"), ((z, mask.long()), "int64"),
        ((z, mask, 0), "got 0"), ((z, mask, 4, 8), "got 8"), ((z, mask, 4, None, "svd"), "'svd'"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            rank_metrics(*args)
    for bad, words in [(z, r"\[2, 9, 3\]"), (z[0].int(), "int32"), (z[0, :0], r"\[0, 3\]"), (z[0, :, :0], r"\[9, 0\]"),
                       (z[0] + torch.tensor([0, 0, NAN]), "NaN"), (z[0] + float("inf"), "Inf")]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            effective_rank(bad)
    rank_metrics(z, mask, 1, 3)  # the smallest of each


def test_examples_in_the_docstrings_run():
    result = doctest.testmod(rank)
    assert result.attempted and not result.failed
