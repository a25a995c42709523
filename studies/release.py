"""What do the choices of the paper's release do to A'? Each of them alone, on the same responses.

    python studies/release.py > studies/results/release.md        tables in markdown; 20 seconds on a quiet machine

As shipped, the release applies no bonus at all (README: departures). What is shown here is its code once that is
switched on, against the equations of rank.py and shaping.py:

    choice                the release                                                 the equations
    on_last_token         a clipped bonus on the last token of a response             on every token
    in_the_reward         Phi, signed and unclipped, added to R before the group      min( max(0, Phi), |A| / kappa )
                          is normalised                                               added to A after it
    of_other_responses    the states of row i + j for response j of group i           the response's own
    lagging_means         mu starts at 0, and sees a batch two steps late             at the first batch, one step late
    float32_metrics       Gram matrices in float32, and ER rounded to bfloat16        float64
    a window              ERV and ERA of the last 512 states                          the whole response
    undefined_as_zero     a metric that is undefined is 0                             NaN, which is no deviation

In the release the first comes with the second or not at all. All is written here from that description, in our own
words, and nothing is taken from the release. Two batches of groups of 8:

    toy       sampled from the shipped base: D 64, 14 to 54 states a response, stride 4. The window of 512 never bites
    stress    synthetic, at the scale of a model: D 512, 300 to 800 states, stride 40. A random walk with noise; 4
              outlier directions are off the origin by 300 and spread 30 times wider, as massive activations do

The stress batch is made to hurt; what a real model's states look like lies between, and is not shown here. Its rewards
are coin flips, since its states say nothing of any answer.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy
from engine.batch import sample_seed
from engine.data import load_training
from engine.models import load_model
from engine.parallel import batch_of
from engine.prompts import render, stop_ids
from grpo import equal_groups, group_advantages
from rank import METRICS, acceleration, rank_metrics, velocity
from rollout import Policy, generate
from shaping import deviation, shape_advantages, update_means
from verifier import verify

GROUP = 8
KAPPA, GAIN = 2.0, 2.0
WINDOW = 512


# The choices


def on_last_token(bonus, mask):
    """The bonus [B] of each response on its last token only: [B, T], mask [B, T] bool."""
    T = mask.shape[1]
    last = mask.sum(1) - 1  # [B]
    return bonus[:, None] * (torch.arange(T) == last[:, None])


def in_the_reward(R, Phi, group):
    """Advantages [B] of rewards R + Phi [B], normalised over the group as plain rewards are."""
    return group_advantages(R + Phi, group)


def of_other_responses(mask, group):
    """Whose state each token is given: rows [B, T] int64, mask [B, T] bool of the responses themselves.

    Response j of group i stands in row i G + j. It is given row i + j, and once a response of its group has ended, row
    i. Rows are taken to keep their places, which is not known of the release; one that has ended has no states to give.
    """
    B, T = mask.shape
    place = torch.arange(B)
    i, j = place // group, place % group
    running = mask.view(-1, group, T).all(1)  # [B / G, T]: the whole group
    return torch.where(running[i], (i + j)[:, None], i[:, None])


def lagging_means(means):
    """The running means that are in force at each step, when step n has batch means means[n]: a list of {name: mu}.

    The first step has none. The second has 0, since the first batch is still to be mixed in.
    """
    in_force = [None]
    mu = dict.fromkeys(means[0], 0.0)
    for mean in means[:-1]:
        in_force.append(mu)
        mu = update_means(mu, mean)  # for the step after the next
    return in_force


def float32_rank(gram):
    """ER from the Gram matrix [n, n] float32 of rows that are not centred yet: rounding counts as rank."""
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    eigenvalues = torch.linalg.eigvalsh(centred)
    sigma = eigenvalues.clamp(min=0).sqrt()  # some are below 0, by rounding
    p = sigma / sigma.sum()
    return torch.special.entr(p).sum().exp()


def float32_metrics(states, mask, stride, window):
    """METRICS of states [B, T, D] by float32 arithmetic, ERV and ERA of the last `window` states: {name: [B] float64}.

    ER comes from a float32 SVD, and is rounded to bfloat16.
    """
    rows = []
    for own, keep in zip(states, mask):
        z = own[keep].float()  # [T of this response, D]
        sigma = torch.linalg.svdvals(z - z.mean(0))
        er = torch.special.entr(sigma / sigma.sum()).sum().exp().bfloat16()
        z = z[-window:]
        gram = z @ z.T
        ends = range(stride + 1, len(z) + 1, stride)
        m = torch.tensor([float32_rank(gram[:n, :n]) for n in ends], dtype=torch.float64)  # [K]
        rows.append([er, velocity(m), acceleration(m)])
    return dict(zip(("er", "erv", "era"), torch.tensor(rows, dtype=torch.float64).T))


def undefined_as_zero(metrics):
    """Metrics {name: [B]} with 0 for NaN: to the shaping a value far below the mean, and to the mean one more value."""
    return {name: x.nan_to_num(nan=0.0) for name, x in metrics.items()}


# The batches


@dataclass
class Batch:
    name: str
    states: torch.Tensor  # [B, T, D]
    mask: torch.Tensor  # [B, T] bool
    R: torch.Tensor  # [B]: rewards
    stride: int

    def __post_init__(self):
        self.A = group_advantages(self.R, GROUP)  # [B]
        self.metrics = rank_metrics(self.states, self.mask, self.stride)  # {name: [B]}


def toy_batches(count, prompts=32):
    """The first `count` batches of a default run whose policy stays the base."""
    model, tokenizer = load_model(str(toy.BASE), "cpu")
    policy, stops = Policy(model.eval()), stop_ids(model, tokenizer)
    problems = load_training("toy", seed=0)
    batches = []
    for step in range(count):
        asked = batch_of(problems, step, prompts, 0)
        ids = [render(tokenizer, problem.question, "plain") for problem in asked]
        seeds = [sample_seed(0, step, place, j) for place in range(prompts) for j in range(GROUP)]
        rollout = generate(policy, ids, seeds, toy.MAX_NEW_TOKENS, stops, keep_states=True)
        golds = [problem.answer for problem in asked for _ in range(GROUP)]
        right = [verify(text, gold) for text, gold in zip(rollout.texts(tokenizer), golds)]
        batches.append(Batch("toy", rollout.states, rollout.mask, torch.tensor(right).float(), toy.STRIDE))
    return batches


def stress_batch(responses=24, D=512, lengths=(300, 800), seed=0):
    """Random walks with noise and 4 outlier directions, coin flips for rewards."""
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(*lengths, (responses,), generator=g)
    mask = torch.arange(length.max()) < length[:, None]  # [B, T]
    steps, noise = torch.randn(2, *mask.shape, D, generator=g)  # [B, T, D] each
    z = 0.1 * steps.cumsum(1) + noise
    z[..., :4] = 300 + 30 * z[..., :4]
    R = torch.randint(2, (responses,), generator=g).float()
    return Batch("stress", z, mask, R, stride=40)


def batch_means(metrics):
    return {name: x.nanmean().item() for name, x in metrics.items()}


def signed_bonus(metrics, mu):
    """Phi [B] of shaping.py, before anything is clipped. shape_advantages gives only what is left of it after that."""
    d = {name: deviation(x, mu[name]) for name, x in metrics.items()}
    beta = torch.sigmoid(GAIN * d["era"])
    return beta * torch.tanh(d["er"]) + (1 - beta) * torch.tanh(d["erv"])


# The tables


def per_cent(flags):
    """Share of True in a bool tensor, or a dash where it is empty."""
    return f"{100 * flags.double().mean().item():.3g}" if len(flags) else "-"


def table(title, words, head, rows):
    """Markdown; numbers get three digits."""
    lines = [f"## {title}", "", words, "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [cell if isinstance(cell, str) else f"{cell:.3g}" for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def placement(pairs):
    """Where the bonus goes. pairs: (Batch, running means)."""
    rows = []
    for batch, mu in pairs:
        A, R, mask = batch.A, batch.R, batch.mask
        Phi = signed_bonus(batch.metrics, mu)
        shaped, _ = shape_advantages(A, batch.metrics, mu, KAPPA, GAIN)
        rewarded = in_the_reward(R, Phi, GROUP)
        shaped_twice, _ = shape_advantages(rewarded, batch.metrics, mu, KAPPA, GAIN)

        # A' of each way, [B, T].
        every_token = torch.ones_like(mask)
        ways = {
            "equations": shaped[:, None] * every_token,
            "last token only": A[:, None] + on_last_token(shaped - A, mask),
            "in the reward": rewarded[:, None] * every_token,
            "both of these": rewarded[:, None] + on_last_token(shaped_twice - rewarded, mask),
        }
        A_by_token = A[:, None].expand(mask.shape)[mask]
        agree = equal_groups(R, GROUP).repeat_interleave(GROUP)  # [B]
        for way, by_token in ways.items():
            moved = (by_token[mask] - A_by_token).abs()
            response = by_token[:, 0]  # [B]: the bonus of the last token turns no sign
            size = 100 * moved.sum() / A_by_token.abs().sum()
            row = [batch.name, way, per_cent(moved > 1e-6), size]
            rows.append([*row, per_cent(response[agree] != 0), per_cent(response[R == 0] > 0)])
    return table(
        "1. Where the bonus goes",
        "Same metrics, same running means. On the last token the bonus is next to nothing. In the reward it moves "
        "every advantage; groups of equal rewards, which have nothing to teach, get advantages of full size, and so "
        "wrong answers are praised. (The stress batch has no such group. In the release the last token's bonus never "
        "comes without the reward's.)",
        ["batch", "bonus", "tokens that it moves, %", "sum of abs(A' - A), % of that of abs(A)",
         "A' not 0, % of responses in groups of equal rewards", "A' > 0, % of wrong responses"],
        rows,
    )  # fmt: skip


def means_that_lag(batches):
    """Both running means over the same batches of a policy that stays as it is."""
    means = [batch_means(batch.metrics) for batch in batches]
    lagging = lagging_means(means)
    mu = None  # of the equations
    rows = []
    for step, batch in enumerate(batches):
        row = [str(step + 1)]
        for in_force in (mu, lagging[step]):
            _, stats = shape_advantages(batch.A, batch.metrics, in_force, KAPPA, GAIN)
            row += [100 * stats["bonus_fraction"], stats["bonus"], mean_deviation(batch.metrics, in_force)]
        rows.append(row)
        mu = update_means(mu, means[step])
    return table(
        "2. Running means that start at 0, and lag",
        "Toy batches of a policy that stays as it is, so every difference is the running mean's doing; the bonus is "
        "the equations'. Beside a mean of 0 any metric is as unusual as can be: in step 2 all responses with an "
        "advantage get a bonus, and even in step 6 it is ten times as large as it should be.",
        ["step", "equations: responses with a bonus, %", "mean bonus", "mean abs(tanh d)",
         "release: responses with a bonus, %", "mean bonus", "mean abs(tanh d)"],
        rows,
    )  # fmt: skip


def mean_deviation(metrics, mu):
    """Mean of |tanh d| over metrics and responses, as a cell."""
    if mu is None:
        return "-"
    d = torch.stack([deviation(x, mu[name]) for name, x in metrics.items()])  # [metrics, B]
    return f"{d.tanh().abs().mean():.2f}"


EFFECT = ["A': mean error, % of abs(A)", "largest", "bonus appears or disappears, % of responses"]


def effect(batch, right, wrong):
    """Cells of EFFECT: what other metrics do to A', over the responses with A != 0.

    right, wrong: metrics {name: [B]}, each beside its own means over the batch.
    """
    A = batch.A
    shaped, _ = shape_advantages(A, right, batch_means(right), KAPPA, GAIN)
    other, _ = shape_advantages(A, wrong, batch_means(wrong), KAPPA, GAIN)
    used = A != 0
    error = ((other - shaped).abs() / A.abs())[used]
    switched = ((other > A) != (shaped > A))[used]
    return 100 * error.mean(), 100 * error.max(), per_cent(switched)


def states_of_others(batches):
    """Metrics of the states that a response is given, and what they do to A'."""
    rows = []
    for batch in batches:
        B, T = batch.mask.shape
        place, t = torch.arange(B)[:, None], torch.arange(T)
        dealt_out = torch.randperm(B, generator=torch.Generator().manual_seed(0))
        ways = {"release": of_other_responses(batch.mask, GROUP), "at random": dealt_out[:, None].expand(B, T)}
        for way, source in ways.items():  # [B, T]: row of the response whose state it is
            there = batch.mask & batch.mask[source, t]
            given = rank_metrics(batch.states[source, t], there, batch.stride)
            own = source == place
            alike = [f"{correlation(batch.metrics[name], given[name]):+.2f}" for name in METRICS]
            cells = effect(batch, batch.metrics, given)
            rows.append([batch.name, way, per_cent(own[batch.mask]), *alike, *cells])
    return table(
        "3. Hidden states of other responses",
        "Few tokens are given their own state; on the toy, one in fifty. Metrics of the given states go with the "
        "response's own no better than those of responses dealt out at random, which are cut at the same token: what "
        "correlation there is comes from the length. So the bonus says no more of a response than a random one would.",
        ["batch", "states", "tokens with their own state, %", "correlation with the response's own ER", "ERV", "ERA",
         *EFFECT],
        rows,
    )  # fmt: skip


def correlation(x, y):
    """Pearson's, over the responses where both [B] are defined."""
    known = ~(x.isnan() | y.isnan())
    return torch.corrcoef(torch.stack([x[known], y[known]]))[0, 1].item()


def precision(batches):
    """Errors of the metrics by float32 and by the window; then what of that reaches A'."""
    rows, effects = [], []
    for batch in batches:
        states, mask, stride = batch.states, batch.mask, batch.stride
        longest = mask.shape[1]
        kinds = {
            "float32": float32_metrics(states, mask, stride, window=longest),
            "window 512": rank_metrics(states, mask, stride, WINDOW),
            "both": float32_metrics(states, mask, stride, WINDOW),
        }
        for kind, found in kinds.items():
            cells = []
            for name in ("er", "erv", "era"):
                right = batch.metrics[name]
                error = 100 * ((found[name] - right) / right).abs()
                cells.append(f"{error.median():.2g} / {error.max():.2g}")
            rows.append([batch.name, kind, *cells])
            effects.append([batch.name, kind, *effect(batch, batch.metrics, found)])
    errors = table(
        "4. float32 and the window: error of the metrics in %, median / largest over responses",
        "Rounding is harmless for most responses, but puts ERA off by a fifth for one of the stress batch. The window "
        "changes ERV and ERA, by far more, of responses that are longer than it, and nothing on the toy.",
        ["batch", "choice", "ER", "ERV", "ERA"], rows,
    )  # fmt: skip
    reached = table(
        "5. What of table 4 reaches A'",
        "Responses with A != 0, each kind of metric beside its own means over the batch. Rounding moves A' little, the "
        "window up to ten times as much.",
        ["batch", "choice", *EFFECT], effects,
    )  # fmt: skip
    return f"{errors}\n{reached}"


def zeros(batch):
    """Undefined metrics as 0. In the batches as they are all metrics are defined: here, the stride is twice as long."""
    right = rank_metrics(batch.states, batch.mask, 2 * batch.stride)
    wrong = undefined_as_zero(right)
    rows = []
    for name in ("erv", "era"):
        undefined = right[name].isnan()
        mean, mean_with_zeros = batch_means(right)[name], batch_means(wrong)[name]
        d = deviation(wrong[name], mean_with_zeros)[undefined].mean()
        rows.append([name.upper(), per_cent(undefined), mean, mean_with_zeros, f"{d:+.1f}"])
    metrics = table(
        "6. Undefined as 0: the metrics",
        f"The toy batch with stride {2 * batch.stride}, for which some responses are too short. A zero pulls the mean "
        "down for all, and is read as a strong deviation of the response itself, where the equations take d = 0.",
        ["metric", "undefined, % of responses", "mean of the others", "mean with zeros", "d of an undefined metric"],
        rows,
    )  # fmt: skip
    reached = table(
        "7. What of table 6 reaches A'", "As in table 5.", ["batch", *EFFECT], [["toy", *effect(batch, right, wrong)]]
    )
    return f"{metrics}\n{reached}"


def main():
    torch.set_num_threads(1)
    toys = toy_batches(6)
    stress, earlier = stress_batch(), stress_batch(seed=1)
    before = [batch_means(toys[0].metrics), batch_means(earlier.metrics)]
    both = [toys[1], stress]
    tables = [
        placement(zip(both, before)),
        means_that_lag(toys),
        states_of_others(both),
        precision(both),
        zeros(toys[1]),
    ]
    print("# The release's choices, one at a time\n")
    print("Made by `python studies/release.py`, whose docstring says what each choice is, and what the batches are.\n")
    print("\n".join(tables), end="")


if __name__ == "__main__":
    main()
