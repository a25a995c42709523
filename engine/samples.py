"""Responses for people to read: what a training step keeps of a few, and how one is printed.

A line of samples.jsonl holds what was asked, said and graded, and what the method made of it: reward, rank metrics, the
ranks m_j of the prefixes, the advantage A and the shaped advantage A'. The lines of an evaluation have the same names
for what both know; engine/evaluations.py writes those.
"""

import math

from engine.spectra import prefix_spectra
from rank import METRICS


def prefix_curves(states, mask, count, stride, window):
    """m_j of the first `count` responses, [count, K], NaN beyond a response's last: states [B, T, D], mask [B, T]."""
    if not count:
        return states.new_zeros(0, 0)
    _, prefixes, _ = prefix_spectra(states[:count], mask[:count], stride, window)
    return prefixes


def few_samples(step, count, graded, metrics, curves, A, shaped, mask):
    """The first `count` responses of a step as JSON-able records.

    graded: engine.rewards.Graded; metrics {name: [B]}; curves m_j [count, K], see prefix_curves; A [B]; shaped [B], or
    [B, T] where tokens differ: then their mean over the tokens is kept; mask [B, T], as sampled.
    """
    if shaped.dim() == 2:
        shaped = (shaped * mask).sum(1) / mask.sum(1)
    records = []
    for i in range(min(count, len(graded.texts))):
        # What was asked and said, and how it was graded.
        problem = graded.problems[i]
        record = {"step": step, "source": problem.source, "id": problem.id, "question": problem.question}
        record["gold"] = problem.answer
        record["response"] = graded.texts[i]
        record["answer"] = graded.answers[i]
        record["correct"] = bool(graded.right[i])
        record["reward"] = graded.rewards[i].item()

        # What the method made of it.
        for name, values in metrics.items():
            record[name] = known(values[i].item())
        record["length"] = int(mask[i].sum())
        record["prefix_ranks"] = [round(m, 3) for m in curves[i].tolist() if not math.isnan(m)]
        record["advantage"] = A[i].item()
        record["shaped_advantage"] = shaped[i].item()
        records.append(record)
    return records


def known(value):
    """The value, or None where it is NaN: JSON has no NaN."""
    return None if math.isnan(value) else value


def sample_text(record):
    """A record of training or of evaluation as it is printed."""
    verdict = "right" if record["correct"] else "wrong"
    lines = [f"\n{record['id']}: {record['question']}", f"-- response\n{record['response']}"]
    lines.append(f"-- answer {record['answer']!r}, gold {record['gold']!r}: {verdict}")
    if "advantage" in record:
        ranks = ", ".join(f"{name} {number(record[name])}" for name in METRICS)
        moved = f"A {record['advantage']:.3f} -> {record['shaped_advantage']:.3f}"
        lines.append(f"-- reward {record['reward']:g}, {ranks}, {moved}")
    return "\n".join(lines) + "\n"


def number(value):
    return "undefined" if value is None else f"{value:.2f}"
