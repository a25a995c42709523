"""Can ERV and ERA differ where ER does not? Yes: reorder the states of one response.

ER(Z) is a function of the singular values of the centred rows of Z [T, D], and a permutation matrix P is orthogonal and
commutes with centring, so for every order of the states

    ER(P Z) = ER(Z)                  while ERV and ERA, which look at prefixes, change

`tests/test_studies.py` checks both to 1e-9. Here: how far does ERV go while ER stands still? For each response, random
orders and five chosen ones:

    reversed        the last state first
    near to far     by distance from the mean of all states; far to near: the other way
    slow            from the first state always to the nearest one not seen yet: rank grows late
    fast            always to the one farthest from all seen so far: rank grows early

That ERV *can* move by itself says nothing of whether it *does* in sampled responses: decoupling.py measures that, and
also where the sampled order lies among random ones.
"""

import statistics

import torch

from rank import rank_metrics

CHOSEN = ("sampled", "reversed", "near to far", "far to near", "slow", "fast")


def greedy(z, farthest):
    """Order [T] of z [T, D] from its first state: next the nearest to the last one, or the farthest from all seen."""
    distance = torch.cdist(z, z)  # [T, T]
    order, left = [0], torch.ones(len(z), dtype=torch.bool)
    left[0] = False
    seen = distance[0].clone()  # from each state to the nearest one seen
    for _ in range(len(z) - 1):
        score = seen if farthest else -distance[order[-1]]
        order.append(score.masked_fill(~left, float("-inf")).argmax().item())
        left[order[-1]] = False
        seen = torch.minimum(seen, distance[order[-1]])
    return torch.tensor(order)


def orders(z, random, seed=0):
    """z [T, D] -> [6 + random, T]: the CHOSEN orders, then random ones."""
    z, T = z.double(), len(z)
    far = (z - z.mean(0)).norm(dim=1)
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.arange(T), torch.arange(T).flip(0), far.argsort(), far.argsort(descending=True),
              greedy(z, farthest=False), greedy(z, farthest=True)]  # fmt: skip
    return torch.stack([*chosen, *(torch.randperm(T, generator=generator) for _ in range(random))])


def reordered(z, stride, random=50):
    """z [T, D] of one response -> its ER (and how far that moved), and ERV and ERA by order; JSON-able."""
    index = orders(z.cpu(), random).to(z.device)  # [O, T]
    mask = torch.ones(index.shape, dtype=torch.bool, device=z.device)
    er, erv, era = (m.tolist() for m in rank_metrics(z[index], mask, stride, method="exact"))
    out = {"length": len(z), "er": er[0], "er_moved": max(er) / min(er) - 1}
    for name, values in (("erv", erv), ("era", era)):
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
    rows += ["", f"{len(found)} responses. ER moved by at most {moved:.0e} of itself. The sampled order's ERV lies "
             f"{statistics.fmean(place):+.1f} standard deviations of random orders from their mean "
             f"({min(place):+.1f} to {max(place):+.1f})."]  # fmt: skip
    if len(found) > 2:
        r = statistics.correlation(sampled, mean)
        rows.append(f"Over responses, ERV of the sampled order and its mean over random orders correlate by {r:+.2f}.")
    return "\n".join(rows)
