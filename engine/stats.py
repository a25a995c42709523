"""Statistics of an evaluation: what the samples say, and how sure that is. Pure functions: no file, no model.

A problem is asked n times and c of its samples are right. The values of N problems are averaged; the interval says how
far the mean could lie from that of all problems of the kind, not how far from another n samples of the same problems.

    pass@k = mean over problems of 1 - C(n - c, k) / C(n, k)                      Chen et al., arXiv:2107.03374
    maj@n  = share of problems whose most frequent answer is right; of tied answers, the share of right ones
    [low, high] = quantiles Phi(-+sqrt(N / (N - 1)) t) of the means of resampled problems       Hesterberg, 2015
    p = share of sign flips of the per-problem differences whose mean is at least as far from 0 as the one found

How it differs from the textbook. The usual bootstrap reads its interval at 2.5% and 97.5%, which is too narrow for few
problems; here both ends move out as Student's t does. Where all values are equal, a bootstrap would claim certainty;
then an exact binomial bound takes its place. One more sign flip, that of the data themselves, is counted, so p is never
0. The values of a summary are found by name and k, so a key such as "pass@8" is written and never read apart.

Symbols: N problems, n samples of a problem, c right ones, k of pass@k, x [N] one value per problem, z a quantile of the
normal distribution, t one of Student's t with nu degrees of freedom.
"""

import math
from collections import defaultdict
from statistics import NormalDist

import torch

from rank import METRICS
from verifier import is_equiv

KS = tuple(2**i for i in range(11))  # the k of pass@k, as far as there are samples
DRAWS = 2**22  # problems drawn at a time by the bootstrap: 32 MiB of indices


# One problem


def ks(n):
    """The k of pass@k that n samples allow, ascending.

    >>> ks(5)
    [1, 2, 4]
    """
    return [k for k in KS if k <= n]


def pass_at_k(n, c, k):
    """Probability that k of n samples, c of them right, hold a right one. ValueError: k > n.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} samples with {c} right is undefined")
    all_wrong = math.comb(n - c, k)  # the choices of k without a right one
    return 1 - all_wrong / math.comb(n, k)


def majority(answers, correct):
    """1.0 if the most frequent answer is right, 0.0 if not, a share where answers tie.

    answers: n texts, None where a sample gave no answer, which is no vote; correct: n bool. An answer counts for the
    first one that the verifier, asked `is_equiv(answer, first)`, calls the same.
    """
    # Sort the samples into groups of one answer; a group holds the places of its samples.
    groups = []
    for place, answer in enumerate(answers):
        if answer is None:
            continue
        for group in groups:
            first = answers[group[0]]
            if first == answer or is_equiv(answer, first):
                group.append(place)
                break
        else:
            groups.append([place])

    # The largest groups win together, and a group is right if any spelling of its answer was graded right.
    if not groups:  # nobody voted
        return 0.0
    largest = max(len(group) for group in groups)
    winners = [group for group in groups if len(group) == largest]
    right = [group for group in winners if any(correct[place] for place in group)]
    return len(right) / len(winners)


# A mean over problems and its interval


def student_t_series(p, nu):
    """About student_t_quantile, nearer to 0: the Cornish-Fisher expansion up to nu^-2; p in (0, 1), nu > 0."""
    z = NormalDist().inv_cdf(p)
    first = (z**3 + z) / (4 * nu)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * nu**2)
    return z + first + second


def student_t_cdf(t, nu):
    """P(T <= t) for whole nu >= 1, a finite sum (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    # With theta = arctan(t / sqrt(nu)), P(-t < T < t) is sin theta times a polynomial in cos^2 theta; odd nu add theta.
    odd = nu % 2
    theta = math.atan2(t, math.sqrt(nu))
    cosine, sine = math.cos(theta), math.sin(theta)
    inside, term = 0.0, sine
    if odd:
        inside = 2 / math.pi * theta
        term = 2 / math.pi * sine * cosine

    # Each term is the last one times cos^2 theta and a ratio: 1/2, 3/4, 5/6 .. for even nu, 2/3, 4/5, 6/7 .. for odd.
    for i in range(1, nu // 2 + 1):
        inside += term
        term *= cosine**2 * (2 * i - 1 + odd) / (2 * i + odd)
    return (1 + inside) / 2


def student_t_density(t, nu):
    """Density of Student's t with nu > 0 degrees of freedom."""
    # Gamma functions of large nu overflow, their logarithms do not.
    log_height = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - math.log(nu * math.pi) / 2  # at t = 0
    log_decay = (nu + 1) / 2 * math.log1p(t**2 / nu)
    return math.exp(log_height - log_decay)


def student_t_quantile(p, nu):
    """The t with P(T <= t) = p, for p in (0, 1) and whole nu >= 1: to 1e-9 of its value for p in 0.001..0.999.

    >>> round(student_t_quantile(0.975, 4), 6)
    2.776445
    """
    if not 0 < p < 1 or nu < 1 or nu != int(nu):
        raise ValueError(f"Student's t has no quantile p = {p} with {nu} degrees of freedom: 0 < p < 1, whole nu >= 1")

    # Newton's method on the CDF, concave right of 0 and convex left of it: from nearer to 0, no step goes too far.
    t = student_t_series(p, nu)
    for _ in range(40):
        t += (p - student_t_cdf(t, nu)) / student_t_density(t, nu)
    return t


def bootstrap_means(x, resamples, seed):
    """x [N] float64 -> [resamples] float64: means of N problems drawn from x with replacement."""
    N = len(x)
    generator = torch.Generator().manual_seed(seed)
    rows = max(1, DRAWS // N)  # resamples at a time, for memory
    means = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = torch.randint(N, (count, N), generator=generator)  # [count, N]: which problems
        means.append(x[drawn].mean(1))
    return torch.cat(means)


def interval(values, bounds=(0.0, 1.0), seed=0, resamples=10_000):
    """95% interval (low, high) of the mean of one value per problem, each within `bounds`.

    Percentile bootstrap over problems, expanded for small N (module docstring). Where all values are equal, at most a
    share of 1 - 0.025^(1/N) of all problems has another (exact binomial bound), at the worst one of the bounds.
    """
    x = torch.as_tensor(values, dtype=torch.float64)  # [N]
    N = len(x)

    # Without any spread there is nothing to resample.
    if x.min() == x.max():
        lowest, highest = bounds
        value = x[0].item()
        others = 1 - 0.025 ** (1 / N)
        return value - others * (value - lowest), value + others * (highest - value)

    # t has N - 1 degrees of freedom; the root is there because resampled means spread as if divided by N, not N - 1.
    nu = N - 1
    t = student_t_quantile(0.975, nu)
    tail = NormalDist().cdf(-math.sqrt(N / nu) * t)
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = bootstrap_means(x, resamples, seed).quantile(ends).tolist()
    return low, high


# A benchmark


def finite(value):
    """The value, or None for NaN: what JSON can say."""
    return None if math.isnan(value) else value


def average(values):
    """Mean of the values that are known (not None); None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def share(flags):
    """Share of True in a list of bool; None where it is empty."""
    return flags.count(True) / len(flags) if flags else None


def by_problem(records):
    """{(source, id): its samples}, in the order in which problems first appear."""
    problems = defaultdict(list)
    for record in records:
        problems[record["source"], record["id"]].append(record)
    return dict(problems)


def summarise(records):
    """The numbers of one benchmark from its samples (dicts, as in samples.jsonl): a dict for JSON.

    "n" is the number of samples per problem, the smallest where pooled benchmarks differ; pass@k uses all there are.
    "correct" and "incorrect" hold the mean of each rank metric over right and over wrong samples.
    """
    # A problem that was too long for the model counts as wrong; means over tokens and states cannot include it.
    problems = by_problem(records).values()
    sampled = [record for record in records if not record["too_long"]]
    verdicts = [[record["correct"] for record in samples] for samples in problems]
    n = min(len(verdict) for verdict in verdicts)

    # pass@k and its interval, for each k that n samples allow.
    passes, intervals = {}, {}
    for k in ks(n):
        values = [pass_at_k(len(verdict), verdict.count(True), k) for verdict in verdicts]  # [N]
        passes[k] = average(values)
        intervals[k] = interval(values)

    # The vote of each problem's samples.
    answers = [[record["answer"] for record in samples] for samples in problems]
    votes = [majority(*ballot) for ballot in zip(answers, verdicts)]

    # Names are made here, and only here.
    summary = {"problems": len(problems), "n": n}
    for k in passes:
        summary[f"pass@{k}"] = passes[k]
        summary[f"pass@{k}_95"] = intervals[k]
    summary[f"maj@{n}"] = average(votes)
    summary["length"] = average(record["length"] for record in sampled)
    summary["truncated"] = share([record["truncated"] for record in sampled])
    summary["no_answer"] = share([record["answer"] is None for record in records])
    summary["too_long"] = len([samples for samples in problems if samples[0]["too_long"]])

    # Ranks of right and of wrong responses, whatever metrics rank.py has.
    for label, verdict in (("correct", True), ("incorrect", False)):
        graded = [record for record in sampled if record["correct"] is verdict]
        summary[label] = {name: average(record[name] for record in graded) for name in METRICS}
    return summary


# Two evaluations of the same problems


def right_shares(records):
    """{(source, id): share of right samples}."""
    return {problem: share([r["correct"] for r in samples]) for problem, samples in by_problem(records).items()}


def sign_flip_p(differences, flips=10_000, seed=0):
    """Two-sided p-value of one difference per problem [N] float64: could their mean be 0?

    If A and B were equally good, each difference would be as likely with the other sign. So p is the share of random
    sign flips whose mean is at least as far from 0, the unflipped one included.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(2, (flips, len(differences)), generator=generator) - 1  # [flips, N]: -1 or 1
    flipped = (signs * differences).mean(1).abs()  # [flips]
    found = differences.mean().abs()
    extreme = (flipped >= found - 1e-12).sum().item()  # the slack is for rounding, where both are equal
    return (extreme + 1) / (flips + 1)


def differing(a, b):
    """{field: (its value in a, its value in b)} of two dicts, where these are not equal; None where one lacks it."""
    different = {}
    for field in sorted(a.keys() | b.keys()):
        ours, theirs = a.get(field), b.get(field)
        if ours != theirs:
            different[field] = (ours, theirs)
    return different


def paired_comparison(a, b):
    """Difference of pass@1, B - A, per benchmark and pooled: {name: {difference, 95, p, problems}}.

    a, b: {(source, id): share of right samples} with the same keys. "95" is the bootstrap interval over problems.
    """
    # Each source by itself and, where there are several, all problems together.
    groups = defaultdict(list)
    for problem in a:
        source, _ = problem
        groups[source].append(problem)
    if len(groups) > 1:
        groups["pooled"] = list(a)

    compared = {}
    for name, group in groups.items():
        differences = torch.tensor([b[problem] - a[problem] for problem in group], dtype=torch.float64)  # [N]
        compared[name] = {
            "difference": differences.mean().item(),
            "95": interval(differences, (-1.0, 1.0)),  # a difference lies within -1 and 1
            "p": sign_flip_p(differences),
            "problems": len(group),
        }
    return compared


# As text


def percent(value):
    return f"{100 * value:5.1f}"


def pass_cell(summary, k):
    """pass@k in per cent with its interval, such as ' 46.9 [ 18.8,  75.0]'."""
    value = summary[f"pass@{k}"]
    low, high = summary[f"pass@{k}_95"]
    return f"{percent(value)} [{percent(low)}, {percent(high)}]"


def shown_ks(n):
    """The k of pass@k that a table has room for: 1 and the largest that n samples allow."""
    return sorted({1, max(ks(n))})


def summary_line(name, summary):
    """One line of text: pass@1 and the largest pass@k, both with their intervals, the vote, and what went wrong."""
    n, problems = summary["n"], summary["problems"]
    cells = [f"{name:<16} {problems:>5} problems x {n:<3}"]
    for k in shown_ks(n):
        cells.append(f"pass@{k} {pass_cell(summary, k)}")

    # One sample is no vote, but its column stays.
    vote = percent(summary[f"maj@{n}"])
    cells.append(f"maj@{n} {vote}" if n > 1 else "")

    # Where no prompt fitted the model there is no length and nothing that could be truncated.
    length, truncated = "-", 0
    if summary["length"] is not None:
        length = f"{summary['length']:.0f}"
        truncated = 100 * summary["truncated"]
    cells.append(f"length {length}  truncated {truncated:.0f}%")

    # What a benchmark lost for other reasons than wrong answers.
    no_answer, too_long = 100 * summary["no_answer"], summary["too_long"]
    cells.append(f"no answer {no_answer:.0f}%")
    if too_long:
        cells.append(f"too long {too_long}")
    return "  ".join(cells).rstrip()


def before_after(before, after, n):
    """The table that closes a training run: pass@1 and the largest pass@k of n samples, before and after.

    before, after: {benchmark: summary}
    """
    # Two columns for each k.
    head = " " * 16
    for k in shown_ks(n):
        head += f"{f'pass@{k} before':>22}{f'pass@{k} after':>22}"
    lines = [head]

    # A line for each benchmark.
    for name in before:
        line = f"{name:<16}"
        for k in shown_ks(n):
            line += f"{pass_cell(before[name], k):>22}{pass_cell(after[name], k):>22}"
        lines.append(line)
    lines.append(f"per cent, {n} samples per problem; 95% bootstrap interval over problems")
    return "\n".join(lines)


def comparison_line(name, compared):
    """One line of text: the difference of pass@1 in points, its interval and its p-value."""
    low, high = compared["95"]
    difference = 100 * compared["difference"]
    ends = f"[{100 * low:+5.1f}, {100 * high:+5.1f}]"
    problems, p = compared["problems"], compared["p"]
    return f"{name:<16} {problems:>5} problems  difference {difference:+5.1f} {ends}  p = {p:.4f}"
