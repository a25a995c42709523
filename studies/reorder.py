"""Can ERV and ERA differ where ER does not? Yes: reorder the states of one response.

ER(Z) is a function of the singular values of the centred rows of Z [T, D], and a permutation matrix P is orthogonal and
commutes with centring, so for every order of the states

    ER(P Z) = ER(Z)                  while ERV and ERA, which look at prefixes, change

`tests/test_studies.py` checks both to 1e-9. Here: how far does ERV go while ER stands still? For each response, random
orders and five chosen ones:

    reversed        the last state first
    near to far     by distance from the mean of all states; far to near: the other way
    slow            from the first state always to the nearest one that is left: rank grows late
    fast            always to the one farthest from all before it: rank grows early

That ERV *can* move by itself says nothing of whether it *does* in sampled responses: decoupling.py measures that, and
also where the sampled order lies among random ones.
"""

import statistics

import torch

from rank import rank_metrics

CHOSEN = ("sampled", "reversed", "near to far", "far to near", "slow", "fast")


def greedy(z, farthest):
    """Order [T] of z [T, D] from its first state: next the nearest to the last one, or the farthest from all before."""
    distance = torch.cdist(z, z)  # [T, T]
    last = 0
    order = [last]
    taken = torch.zeros(len(z), dtype=torch.bool)
    taken[last] = True
    apart = distance[last]  # of each state from the nearest one taken
    for _ in range(len(z) - 1):
        score = apart if farthest else -distance[last]
        last = score.masked_fill(taken, float("-inf")).argmax().item()
        order.append(last)
        taken[last] = True
        apart = torch.minimum(apart, distance[last])
    return torch.tensor(order)


def orders(z, random, seed=0):
    """z [T, D] -> [6 + random, T]: the CHOSEN orders, then random ones."""
    z, T = z.double(), len(z)
    sampled = torch.arange(T)
    far = (z - z.mean(0)).norm(dim=1)  # [T]: distance from the mean
    near_to_far, far_to_near = far.argsort(), far.argsort(descending=True)
    slow, fast = greedy(z, farthest=False), greedy(z, farthest=True)
    chosen = [sampled, sampled.flip(0), near_to_far, far_to_near, slow, fast]
    generator = torch.Generator().manual_seed(seed)
    dice = [torch.randperm(T, generator=generator) for _ in range(random)]
    return torch.stack(chosen + dice)


def reordered(z, stride, random=50):
    """z [T, D] of one response -> its ER (and how far that moved), and ERV and ERA by order; JSON-able."""
    index = orders(z.cpu(), random).to(z.device)  # [O, T]
    mask = torch.ones(index.shape, dtype=torch.bool, device=z.device)
    metrics = rank_metrics(z[index], mask, stride, method="exact")  # {name: [O]}
    er = metrics["er"].tolist()
    out = {"length": len(z), "er": er[0], "er_moved": max(er) / min(er) - 1}
    for name in ("erv", "era"):
        values = metrics[name].tolist()
        dice = values[len(CHOSEN) :]
        found = dict(zip(CHOSEN, values)) | {
            "random, mean": statistics.fmean(dice), "random, std": statistics.stdev(dice),
            "random, least": min(dice), "random, most": max(dice),
        }  # fmt: skip
        out[name] = {order: float(f"{value:.6g}") for order, value in found.items()}
    return out


def table(found):
    """Markdown of several `reordered` responses: ERV by order, relative to the sampled order of the same response."""
    rows = ["| order | ERV, of the sampled order's | least | most | ERA |", "|---|---|---|---|---|"]
    for order in (*CHOSEN, "random, mean", "random, least", "random, most"):
        ratios = [x["erv"][order] / x["erv"]["sampled"] for x in found]
        era = statistics.fmean(x["era"][order] for x in found)
        rows.append(f"| {order} | {statistics.fmean(ratios):.3f} | {min(ratios):.3f} | {max(ratios):.3f} | {era:.3f} |")
    sampled, mean, std = ([x["erv"][k] for x in found] for k in ("sampled", "random, mean", "random, std"))
    place = [(a - b) / c for a, b, c in zip(sampled, mean, std)]
    moved = max(x["er_moved"] for x in found)
    words = (
        f"{len(found)} responses. ER moved by at most {moved:.0e} of itself. The sampled order's ERV lies "
        f"{statistics.fmean(place):+.1f} standard deviations of random orders from their mean "
        f"({min(place):+.1f} to {max(place):+.1f})."
    )
    rows += ["", words]
    if len(found) > 2:
        r = statistics.correlation(sampled, mean)
        rows.append(f"Over responses, ERV of the sampled order and its mean over random orders correlate by {r:+.2f}.")
    return "\n".join(rows)
