"""What do the three choices of the paper's release do to A'? Shown on the same responses, from the equations alone.

    python studies/release.py                              prints four tables in markdown; 15 seconds

The choices, each against what the equations say (rank.py, shaping.py):

    placement    the bonus reaches the last token of a response                      every token
    average      mu starts at 0 and sees a batch two steps late                      starts at the first batch, one late
    precision    prefixes of the last 512 states by float32 Gram matrices, ER by     float64, the whole response
                 float32 SVD rounded to bfloat16; undefined is 0

`float32_metrics` is written here from that description, in its own words, not taken from the release. Two batches:

    toy       sampled from the shipped base: D 64, some 40 states a response, stride 4. The window of 512 never bites
    stress    synthetic, at the scale of a model: D 512, 300 to 800 states, stride 40. A random walk with noise; 4
              outlier directions are off the origin by 300 and spread 30 times wider, as massive activations do

The stress batch is made to hurt; what a real model's states look like lies between, and is not shown here. Rewards of
the stress batch are coin flips, since its states say nothing of any answer.
"""

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from engine.data import load_training, render  # noqa: E402
from grpo import group_advantages  # noqa: E402
from engine.parallel import load_model, stop_ids  # noqa: E402
from rank import RankMetrics, rank_metrics  # noqa: E402
from rollout import Policy, generate, sample_seed, score  # noqa: E402
from shaping import deviations, shape_advantages, update_baseline  # noqa: E402
from toy import BASE, MAX_NEW_TOKENS  # noqa: E402
from train import batch_of  # noqa: E402
from verifier import verify  # noqa: E402

GROUP = 8


def toy_batches(count, prompts=32):
    """The first `count` batches of a default run whose policy stays the base: (states, mask, rewards) each."""
    model, tokenizer = load_model(str(BASE), "cpu")
    policy, stops = Policy(model.eval()), stop_ids(model, tokenizer)
    problems = load_training("toy", seed=0)
    for step in range(count):
        batch = batch_of(problems, step, prompts, 0)
        asked = [render(tokenizer, p.question, "plain") for p in batch]
        seeds = [sample_seed(0, step, i, j) for i in range(prompts) for j in range(GROUP)]
        rollout = generate(policy, asked, seeds, MAX_NEW_TOKENS, stops, tokenizer.pad_token_id)
        golds = [p.answer for p in batch for _ in range(GROUP)]
        R = torch.tensor([float(verify(text, gold)) for text, gold in zip(rollout.texts(tokenizer), golds)])  # [B]
        yield score(policy, rollout)[2], rollout.mask, R


def stress_batch(responses=24, D=512, lengths=(300, 800), seed=0):
    """(states [B, T, D], mask [B, T], coin-flip rewards [B]): random walks with noise and 4 outlier directions."""
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(*lengths, (responses,), generator=g)
    mask = torch.arange(length.max())[None] < length[:, None]  # [B, T]
    noise = torch.randn(2, *mask.shape, D, generator=g)
    z = 0.1 * noise[0].cumsum(1) + noise[1]  # [B, T, D]
    z[..., :4] = 300 + 30 * z[..., :4]
    return z, mask, torch.randint(2, (responses,), generator=g).float()


def float32_rank(gram):
    """gram [n, n] float32 of uncentred rows -> ER of the centred rows, all in float32: rounding counts as rank."""
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    sigma = torch.linalg.eigvalsh(centred).clamp(min=0).sqrt()
    return torch.special.entr(sigma / sigma.sum()).sum().exp().item()


def float32_metrics(z, mask, stride, window=512):
    """z [B, T, D], mask [B, T] -> RankMetrics as the release has them: see the top. Undefined is 0."""
    rows = []
    for states in (x[m].float() for x, m in zip(z, mask)):
        sigma = torch.linalg.svdvals(states - states.mean(0))
        er = torch.special.entr(sigma / sigma.sum()).sum().exp().bfloat16().item()
        tail, gram, m = states[-window:], torch.empty(0, 0), []
        for end in range(stride + 1, len(tail) + 1, stride):
            known = len(gram)
            new = tail[known:end] @ tail[:end].T  # [end - known, end]: what this prefix adds
            gram = torch.cat([torch.cat([gram, new[:, :known].T], 1), new])  # [end, end]
            m.append(float32_rank(gram))
        delta = [m[j] - sum(m[:j]) / j for j in range(1, len(m))]
        erv = sum(delta) / len(delta) if delta else 0.0
        era = (delta[-1] - delta[0]) / (len(delta) - 1) if len(delta) > 1 else 0.0
        rows.append((er, erv, era))
    return RankMetrics(*torch.tensor(rows, dtype=torch.float64).T)


def table(title, head, rows):
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for row in rows:
        print("| " + " | ".join(x if isinstance(x, str) else f"{x:.3g}" for x in row) + " |")


def means(metrics):
    return torch.stack([m.nanmean() for m in metrics])  # [3]


def token_share(shaped, A, mask):
    """Of all tokens: the share with a bonus, and the sum of the bonus over the sum of |A|, in per cent."""
    A = A[:, None].expand(mask.shape)
    bonus = (shaped if shaped.dim() == 2 else shaped[:, None]) - A
    return 100 * (bonus[mask] > 0).double().mean().item(), 100 * (bonus[mask].sum() / A[mask].abs().sum()).item()


def placement(batches):
    rows = []
    for name, (_, mask, R), m, mu, _ in batches:
        A = group_advantages(R, GROUP)
        for where, mode in (("every token", "verl"), ("last token", "release")):
            shaped, stats = shape_advantages(A, m, mu, mode=mode, mask=mask)
            rows.append((name, where, 100 * stats["bonus_fraction"], *token_share(shaped, A, mask)))
    head = ["batch", "bonus on", "responses with a bonus, %", "tokens with a bonus, %", "bonus, % of all abs(A)"]
    table("1. Placement: same metrics, same average", head, rows)


def average(batches):
    """Both averages over the same batches of a policy that stays as it is: every deviation is the average's doing."""
    ours = theirs = pending = None
    rows = []
    for step, ((*_, R), m) in enumerate(batches, 1):
        A, row = group_advantages(R, GROUP), [str(step)]
        for mu in (ours, theirs):
            _, stats = shape_advantages(A, m, mu)
            size = "-" if mu is None else f"{deviations(m, mu).tanh().abs().mean():.2f}"
            row += [100 * stats["bonus_fraction"], stats["bonus"], size]
        rows.append(row)
        ours = update_baseline(ours, means(m))
        theirs = torch.zeros(3, dtype=torch.float64) if pending is None else update_baseline(theirs, pending)
        pending = means(m)
    head = ["step", "equations: responses with a bonus, %", "mean bonus", "mean abs(tanh d)"]
    table("2. Average: same toy batches, bonus on every token", head + ["release: " + head[1][11:], *head[2:]], rows)


def precision(batches):
    rows, effect = [], []
    for name, (z, mask, R), m, _, stride in batches:
        A = group_advantages(R, GROUP)
        low, windowed = float32_metrics(z, mask, stride), rank_metrics(z, mask, stride, 512)
        kinds = (("float32", float32_metrics(z, mask, stride, mask.shape[1])), ("window 512", windowed), ("both", low))
        right = shape_advantages(A, m, means(m))[0]
        for kind, other in kinds:
            errors = [100 * ((b - a).abs() / a.abs())[~a.isnan()] for a, b in zip(m, other)]
            rows.append((name, kind, *(f"{e.median():.2g} / {e.max():.2g}" for e in errors)))
            bonus = shape_advantages(A, other, means(other))[0] - A
            error = ((right - A) - bonus).abs() / A.abs()
            effect.append((name, kind, 100 * error[A != 0].mean(), 100 * error[A != 0].max(),
                           100 * (((right > A) != (bonus > 0))[A != 0]).double().mean()))  # fmt: skip
    head = ["batch", "choice", "ER", "ERV", "ERA"]
    table("3. Precision and window: error in %, median / largest over responses", head, rows)
    head = ["batch", "choice", "mean error, % of abs(A)", "largest", "bonus appears or disappears, % of responses"]
    table("4. What of that reaches A': responses with A != 0, mu = the batch's own means", head, effect)


def main():
    torch.set_num_threads(1)
    toys = [(batch, rank_metrics(*batch[:2], stride=4)) for batch in toy_batches(6)]
    stress, before = stress_batch(), stress_batch(seed=1)
    mu = means(rank_metrics(*before[:2], stride=40))
    batches = [("toy", *toys[1], means(toys[0][1]), 4), ("stress", stress, rank_metrics(*stress[:2], 40), mu, 40)]
    placement(batches)
    average(toys)
    precision(batches)


if __name__ == "__main__":
    main()
