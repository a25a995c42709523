"""Statistics against counting, enumeration, closed forms and printed tables."""

import itertools
import math
import random
from fractions import Fraction
from statistics import NormalDist

import pytest
import torch

from engine import stats
from rank import METRICS
from engine.stats import (
    average,
    before_after,
    bootstrap_means,
    by_problem,
    comparison_line,
    differing,
    finite,
    interval,
    ks,
    majority,
    paired_comparison,
    pass_at_k,
    pass_cell,
    right_shares,
    share,
    shown_ks,
    sign_flip_p,
    student_t_cdf,
    student_t_density,
    student_t_quantile,
    student_t_series,
    summarise,
    summary_line,
)

# One problem


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_matches_counting_every_choice_of_k_samples(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            hits = [any(i < c for i in chosen) for chosen in itertools.combinations(range(n), k)]
            assert pass_at_k(n, c, k) == pytest.approx(sum(hits) / len(hits))


@pytest.mark.parametrize("n, c, k", [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)])
def test_pass_at_k_is_refused_where_it_is_undefined(n, c, k):
    with pytest.raises(ValueError, match=f"pass@{k} of {n}"):
        pass_at_k(n, c, k)


def test_the_ks_are_the_powers_of_two_up_to_n_and_to_1024():
    assert [ks(n) for n in (1, 2, 7, 8)] == [[1], [1, 2], [1, 2, 4], [1, 2, 4, 8]]
    assert ks(1023)[-1] == 512 and ks(1024)[-1] == ks(5000)[-1] == 1024


@pytest.mark.parametrize("answers, correct, want", [
    (["1", "2", "1"], [1, 0, 1], 1.0),
    (["1", "2", "2"], [1, 0, 0], 0.0),
    (["1", "2"], [1, 0], 0.5),  # a tie of two
    (["1", "2", "3", "1", "2", "3", "4"], [1, 0, 0, 1, 0, 0, 0], 1 / 3),  # a tie of three
    (["1/2", "0.5", "7", "7", "2/4"], [1, 1, 0, 0, 1], 1.0),  # the same answer in three spellings
    (["7", "1/2", "7", "0.5", "2/4"], [0, 0, 0, 1, 0], 1.0),  # right if one of its spellings was graded right
    ([None, None, "3"], [0, 0, 1], 1.0),  # no answer is no vote
    ([None], [0], 0.0),
    ([], [], 0.0),
])  # fmt: skip
def test_majority(answers, correct, want):
    assert majority(answers, [bool(c) for c in correct]) == want


def test_majority_asks_the_verifier_for_a_later_answer_with_the_first_as_gold(monkeypatch):
    asked = []

    def is_equiv(prediction, gold):
        asked.append((prediction, gold))
        return (prediction, gold) == ("b", "a")

    monkeypatch.setattr(stats, "is_equiv", is_equiv)
    assert majority(["a", "b", "c", "c"], [True, True, False, False]) == 0.5  # {a, b} and {c, c}
    assert asked == [("b", "a"), ("c", "a"), ("c", "a")]
    assert majority(["b", "a", "c", "c"], [True, True, False, False]) == 0.0  # asked the other way round: no


# Student's t

# Quantiles as printed in any book of tables, to three decimals
TABLE = {
    1: (3.078, 6.314, 12.706, 31.821, 63.657, 636.619),
    2: (1.886, 2.920, 4.303, 6.965, 9.925, 31.599),
    3: (1.638, 2.353, 3.182, 4.541, 5.841, 12.924),
    4: (1.533, 2.132, 2.776, 3.747, 4.604, 8.610),
    5: (1.476, 2.015, 2.571, 3.365, 4.032, 6.869),
    6: (1.440, 1.943, 2.447, 3.143, 3.707, 5.959),
    7: (1.415, 1.895, 2.365, 2.998, 3.499, 5.408),
    10: (1.372, 1.812, 2.228, 2.764, 3.169, 4.587),
    20: (1.325, 1.725, 2.086, 2.528, 2.845, 3.850),
    30: (1.310, 1.697, 2.042, 2.457, 2.750, 3.646),
    60: (1.296, 1.671, 2.000, 2.390, 2.660, 3.460),
    120: (1.289, 1.658, 1.980, 2.358, 2.617, 3.373),
}
LEVELS = (0.9, 0.95, 0.975, 0.99, 0.995, 0.9995)


@pytest.mark.parametrize("nu", TABLE)
def test_student_t_has_the_tabulated_quantiles(nu):
    assert [student_t_quantile(p, nu) for p in LEVELS] == pytest.approx(TABLE[nu], abs=6e-4)


@pytest.mark.parametrize("p", [0.001, 0.025, 0.3, 0.5, 0.501, 0.8, 0.975, 0.999])
def test_student_t_has_the_closed_forms_of_1_2_and_4_degrees_of_freedom(p):
    sign, alpha = math.copysign(1, p - 0.5), 4 * p * (1 - p)
    q = math.cos(math.acos(math.sqrt(alpha)) / 3) / math.sqrt(alpha)
    closed = {1: math.tan(math.pi * (p - 0.5)), 2: (2 * p - 1) * math.sqrt(2 / alpha), 4: sign * 2 * math.sqrt(q - 1)}
    for nu, t in closed.items():
        assert student_t_quantile(p, nu) == pytest.approx(t, rel=1e-9, abs=1e-7)  # q - 1 cancels at p = 0.5


@pytest.mark.parametrize("nu", [1, 2, 3, 4, 5, 8, 9])
def test_student_t_probability_is_the_integral_of_its_density(nu):
    for t in (0.0, 0.7, 3.0):
        n, step = 2000, t / 2000  # Simpson's rule
        weights = [1, *([4, 2] * (n // 2))[: n - 1], 1]
        area = sum(w * student_t_density(i * step, nu) for i, w in enumerate(weights)) * step / 3
        assert student_t_cdf(t, nu) == pytest.approx(0.5 + area, abs=1e-12)


def test_student_t_density_is_that_of_cauchy_and_of_two_degrees_of_freedom():
    for t in (0.0, 0.5, 4.0):
        assert student_t_density(t, 1) == pytest.approx(1 / (math.pi * (1 + t**2)))
        assert student_t_density(t, 2) == pytest.approx((2 + t**2) ** -1.5)


@pytest.mark.parametrize("p, nu", [(0.0, 3), (1.0, 3), (-0.1, 3), (1.1, 3), (0.9, 0), (0.9, 2.5), (math.nan, 3)])
def test_student_t_is_refused_where_it_is_undefined(p, nu):
    with pytest.raises(ValueError, match="no quantile"):
        student_t_quantile(p, nu)


@pytest.mark.parametrize("p", [0.8, 0.975])
def test_the_series_of_student_t_leaves_its_third_term(p):
    z, nu = NormalDist().inv_cdf(p), 400
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384  # Abramowitz & Stegun 26.7.5
    assert nu**3 * (student_t_quantile(p, nu) - student_t_series(p, nu)) == pytest.approx(third, rel=0.03)


# Intervals


@pytest.mark.parametrize("problems, mean", [(14, 0.3), (30, 0.4), (64, 0.15), (119, 0.7)])
def test_the_interval_covers_the_truth_in_95_of_100_simulations(problems, mean):
    rng, covered, runs = random.Random(0), 0, 1000
    for _ in range(runs):  # problems differ: solved with a probability of their own, 4 samples each
        own = [rng.betavariate(2 * mean, 2 * (1 - mean)) for _ in range(problems)]
        values = [sum(rng.random() < p for _ in range(4)) / 4 for p in own]
        low, high = interval(values, resamples=1000)
        covered += low <= mean <= high
    assert 0.93 <= covered / runs <= 0.97


def test_the_interval_holds_the_mean_and_is_never_a_point():
    for values in ([0.0] * 20, [1.0] * 20, [0.25, 0.5, 1.0], [1.0]):
        low, high = interval(values)
        assert 0 <= low <= sum(values) / len(values) <= high <= 1 and low < high


def test_resampled_means_are_as_frequent_as_the_choices_that_give_them():
    x = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    chances = {}
    for choice in itertools.product(x.tolist(), repeat=3):
        chances[sum(choice)] = chances.get(sum(choice), 0) + 1 / 27
    means = bootstrap_means(x, 20_000, seed=0)
    assert means.shape == (20_000,) and means.dtype == torch.float64
    drawn = (3 * means).round().tolist()
    assert set(drawn) == set(chances)
    for total, chance in chances.items():
        error = math.sqrt(chance * (1 - chance) / 20_000)
        assert drawn.count(total) / 20_000 == pytest.approx(chance, abs=4 * error)


def test_resampled_means_are_drawn_by_the_seed_and_not_by_what_the_memory_holds(monkeypatch):
    x = torch.rand(7, dtype=torch.float64)
    whole = bootstrap_means(x, 100, seed=3)
    for draws in (1, 7, 50, 100_000):  # rows of 7 at a time: 1, 1, 7, all
        monkeypatch.setattr(stats, "DRAWS", draws)
        assert torch.equal(bootstrap_means(x, 100, seed=3), whole)
    assert not torch.equal(bootstrap_means(x, 100, seed=4), whole)


def test_the_interval_is_the_expanded_quantile_of_the_resampled_means():
    values = [0.0, 0.1, 0.35, 0.4, 0.8, 1.0]
    tail = NormalDist().cdf(-math.sqrt(6 / 5) * 2.5705818356363141)  # N = 6, so nu = 5
    assert 0.0024 < tail < 0.0028
    x = torch.tensor(values, dtype=torch.float64)
    means = sorted(bootstrap_means(x, 10_000, seed=0).tolist())

    def quantile(p):
        below = math.floor(p * 9_999)
        part = p * 9_999 - below
        return means[below] * (1 - part) + means[below + 1] * part

    assert interval(values) == pytest.approx((quantile(tail), quantile(1 - tail)), rel=1e-12)
    other = interval(values, seed=5, resamples=2000)
    assert other != interval(values) and other == pytest.approx(interval(values), abs=0.05)


def test_the_interval_matches_every_possible_resample_of_six_problems():
    values = [0.0, 0.13, 0.35, 0.41, 0.82, 1.0]
    exact = sorted(sum(choice) / 6 for choice in itertools.product(values, repeat=6))  # 46,656 means
    low, high = interval(values, resamples=200_000)
    tail = 0.00263  # Phi(-sqrt(6 / 5) 2.5473); 500 of the resamples lie beyond, so within 15% of it
    assert exact[int(0.85 * tail * len(exact))] <= low <= exact[int(1.15 * tail * len(exact))]
    assert exact[-1 - int(1.15 * tail * len(exact))] <= high <= exact[-1 - int(0.85 * tail * len(exact))]


@pytest.mark.parametrize("problems", [1, 5, 20])
def test_without_spread_the_interval_ends_where_so_many_equal_results_have_a_chance_of_a_fortieth(problems):
    low, high = interval([0.0] * problems)
    assert low == 0 and (1 - high) ** problems == pytest.approx(0.025)
    low, high = interval([1.0] * problems)
    assert high == 1 and low**problems == pytest.approx(0.025)


def test_without_spread_the_interval_stays_within_the_bounds():
    others = 1 - 0.025 ** (1 / 20)  # the largest share of problems that may have another value
    assert interval([0.5] * 20) == pytest.approx((0.5 - others / 2, 0.5 + others / 2))
    assert interval([0.0] * 20, (-1.0, 1.0)) == pytest.approx((-others, others))
    assert interval([-0.9] * 20, (-1.0, 1.0)) == pytest.approx((-0.9 - 0.1 * others, -0.9 + 1.9 * others))


def test_statistics_of_the_interval_do_not_depend_on_call_order():
    values = [0.0, 0.1, 0.35, 0.4, 0.8, 1.0, 0.3, 0.77]
    assert interval(values) == interval(values, seed=0) != interval(values, seed=1)
    assert interval([0.0, 1.0, 0.5]) == interval([0.0, 1.0, 0.5]) and math.isfinite(interval(torch.ones(3))[0])


# A benchmark


def record(id, sample, correct, answer="1", source="s", **other):
    base = dict(
        source=source, id=id, sample=sample, correct=correct, answer=answer, too_long=False, length=4, truncated=False
    )
    return base | dict.fromkeys(METRICS) | dict(er=2.0) | other


def test_what_is_unknown_is_no_part_of_an_average():
    assert average([1.0, None, 4.0]) == 2.5 and average(iter([3])) == 3 and average([None]) is average([]) is None
    assert share([True, False, True, True]) == 0.75 and share([]) is None
    assert finite(1.5) == 1.5 and finite(math.nan) is None


def test_samples_are_put_together_by_problem_in_order():
    records = [record("b", 0, True), record("a", 0, True), record("b", 1, False), record("a", 0, True, source="t")]
    found = by_problem(records)
    assert list(found) == [("s", "b"), ("s", "a"), ("t", "a")] and found["s", "b"] == [records[0], records[2]]


def test_a_summary_is_the_hand_computed_one():
    records = [
        record("a", 0, True, length=3, erv=1.0),
        record("a", 1, False, "2", truncated=True, length=9, er=5.0),
        record("b", 0, False, None, length=6, er=7.0),
        record("b", 1, False, "3", length=6, er=6.0, era=0.5),
        *(record("c", j, False, None, too_long=True, length=None, truncated=None, er=None) for j in range(2)),
    ]
    s = summarise(records)
    assert s.pop("pass@1_95") == interval([0.5, 0, 0]) and s.pop("pass@2_95") == interval([1.0, 0, 0])
    assert s == {
        "problems": 3, "n": 2, "pass@1": pytest.approx(0.5 / 3), "pass@2": pytest.approx(1 / 3),
        "maj@2": pytest.approx(0.5 / 3), "length": 6, "truncated": 0.25, "no_answer": 0.5, "too_long": 1,
        "correct": dict.fromkeys(METRICS) | {"er": 2.0, "erv": 1.0},
        "incorrect": dict.fromkeys(METRICS) | {"er": 6.0, "era": 0.5},
    }  # fmt: skip


def test_pooled_problems_count_with_all_their_samples_up_to_the_smallest_k():
    few = [record("a", j, j == 0) for j in range(2)]
    many = [record("b", j, j < 2, source="t") for j in range(8)]
    s = summarise([*few, *many])
    assert s["n"] == 2 and "pass@4" not in s and "maj@8" not in s
    assert s["pass@1"] == pytest.approx((1 / 2 + 2 / 8) / 2) and s["pass@2"] == pytest.approx((1 + 1 - 15 / 28) / 2)


def test_a_benchmark_without_any_sample_has_no_means():
    s = summarise([record("a", 0, False, None, too_long=True, length=None, truncated=None, er=None)])
    assert s["length"] is s["truncated"] is None and s["pass@1"] == 0 and s["no_answer"] == s["too_long"] == 1


def test_a_summary_has_whatever_metrics_there_are(monkeypatch):
    monkeypatch.setattr(stats, "METRICS", {"spread": None})
    s = summarise([record("a", 0, True, spread=3.0), record("a", 1, False, spread=1.0)])
    assert s["correct"] == {"spread": 3.0} and s["incorrect"] == {"spread": 1.0}


# Two evaluations


def exact_p(differences):
    """Share of all sign patterns whose mean is at least as far from 0, in fractions."""
    d = [Fraction(str(x)) for x in differences]
    sums = [abs(sum(s * x for s, x in zip(signs, d))) for signs in itertools.product((-1, 1), repeat=len(d))]
    return sum(total >= abs(sum(d)) for total in sums) / len(sums)


@pytest.mark.parametrize("differences", [
    [0.5, 0.25, 0.125, 0.0, 0.5, -0.125],
    [0.1, 0.2, -0.3, 0.6],  # -0.1 - 0.2 + 0.3 + 0.6 is as far from 0, but not in floating point
    [0.3, -0.1, 0.2, 0.7, 0.4, 0.1, 0.9],
    [-1.0, -1.0, -1.0, 1.0, -0.5],
    [1.0],
])  # fmt: skip
def test_p_is_the_share_of_sign_flips_that_go_as_far(differences):
    want, flips = exact_p(differences), 20_000
    error = math.sqrt(want * (1 - want) / flips)
    assert sign_flip_p(torch.tensor(differences, dtype=torch.float64), flips) == pytest.approx(
        want, abs=4 * error + 1e-4
    )


def test_p_counts_the_differences_themselves_so_it_is_never_0():
    assert sign_flip_p(torch.ones(80, dtype=torch.float64)) == 1 / 10_001
    assert sign_flip_p(torch.ones(80, dtype=torch.float64), flips=99) == 1 / 100
    assert sign_flip_p(torch.zeros(5, dtype=torch.float64)) == 1


def test_p_is_drawn_by_the_seed():
    d = torch.tensor([0.3, -0.1, 0.2, 0.7, 0.4, 0.1, 0.9, -0.3], dtype=torch.float64)
    assert sign_flip_p(d) == sign_flip_p(d, seed=0) != sign_flip_p(d, seed=1)


def test_a_paired_comparison_is_by_source_and_pooled():
    a = {("s", "1"): 0.5, ("s", "2"): 0.25, ("t", "1"): 1.0, ("s", "3"): 0.0}
    b = {("t", "1"): 0.5, ("s", "1"): 0.75, ("s", "2"): 0.75, ("s", "3"): 0.0}
    found = paired_comparison(a, b)
    assert list(found) == ["s", "t", "pooled"] and [c["problems"] for c in found.values()] == [3, 1, 4]
    assert [c["difference"] for c in found.values()] == [0.25, -0.5, 0.0625]
    d = torch.tensor([0.25, 0.5, -0.5, 0.0], dtype=torch.float64)  # in the order of a
    assert found["pooled"]["95"] == interval(d, (-1.0, 1.0)) and found["pooled"]["p"] == sign_flip_p(d)
    assert list(paired_comparison({("s", "1"): 0.5}, {("s", "1"): 1.0})) == ["s"]


def test_a_difference_lies_between_minus_1_and_1():
    a, b = {("s", i): 1.0 for i in range(20)}, {("s", i): 0.0 for i in range(20)}
    others = 1 - 0.025 ** (1 / 20)
    assert paired_comparison(a, b)["s"]["95"] == pytest.approx((-1, 2 * others - 1))
    assert paired_comparison(b, a)["s"]["95"] == pytest.approx((1 - 2 * others, 1))


def test_shares_and_differing_fields():
    records = [record("a", 0, True), record("a", 1, False), record("a", 2, False), record("a", 3, False)]
    assert right_shares([*records, record("b", 0, True)]) == {("s", "a"): 0.25, ("s", "b"): 1.0}
    assert differing({"n": 4, "x": 1, "only": 2}, {"x": 1, "n": 8}) == {"n": (4, 8), "only": (2, None)}


# As text

SUMMARY = {
    "problems": 64, "n": 8, "pass@1": 0.148, "pass@1_95": [0.094, 0.211], "pass@8": 1.0, "pass@8_95": [0.9, 1.0],
    "maj@8": 0.201, "length": 35.6, "truncated": 0.014, "no_answer": 0.006, "too_long": 0,
}  # fmt: skip


def test_a_summary_is_one_line_in_per_cent():
    assert summary_line("toy-4", SUMMARY) == (
        "toy-4               64 problems x 8    pass@1  14.8 [  9.4,  21.1]  pass@8 100.0 [ 90.0, 100.0]  maj@8  20.1"
        "  length 36  truncated 1%  no answer 1%"
    )
    one = {"n": 1, "maj@1": 0.148, "too_long": 3, "length": None, "truncated": None}
    assert summary_line("a", SUMMARY | one) == (
        "a                   64 problems x 1    pass@1  14.8 [  9.4,  21.1]    length -  truncated 0%  no answer 1%"
        "  too long 3"
    )
    two = {"n": 2, "pass@2": 0.5, "pass@2_95": [0.4, 0.6], "maj@2": 0.3, "truncated": 0.6, "no_answer": 0.9}
    assert summary_line("a", SUMMARY | two).endswith(
        "pass@2  50.0 [ 40.0,  60.0]  maj@2  30.0  length 36  truncated 60%  no answer 90%"
    )


def test_the_table_shows_pass_at_1_and_the_largest_k():
    assert [shown_ks(n) for n in (1, 2, 5, 8)] == [[1], [1, 2], [1, 4], [1, 8]]
    assert pass_cell(SUMMARY, 1) == " 14.8 [  9.4,  21.1]"


def test_the_table_of_a_training_run_has_both_before_and_after():
    better = SUMMARY | {"pass@1": 0.5, "pass@1_95": [0.4, 0.6]}
    assert before_after({"toy-4": SUMMARY}, {"toy-4": better}, 8).split("\n") == [
        "                         pass@1 before          pass@1 after         pass@8 before          pass@8 after",
        "toy-4              14.8 [  9.4,  21.1]   50.0 [ 40.0,  60.0]  100.0 [ 90.0, 100.0]  100.0 [ 90.0, 100.0]",
        "per cent, 8 samples per problem; 95% bootstrap interval over problems",
    ]


def test_a_comparison_is_one_line_in_points():
    compared = {"difference": 0.104, "95": (-0.003, 0.22), "p": 0.01234, "problems": 200}
    assert comparison_line("toy", compared) == (
        "toy                200 problems  difference +10.4 [ -0.3, +22.0]  p = 0.0123"
    )
