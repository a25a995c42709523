"""Gradients of a loss that is one sum over all tokens of an update, however many pieces and processes compute it.

A token's weight in the loss divides by counts over the whole update (grpo.token_weights), so the pieces just add up.
How it differs from the textbook, where each micro-batch and each process takes a mean of its own: cutting an update
into pieces changes nothing here.
"""

import torch


def learnt_tokens(rollout, mask_truncated):
    """Which tokens the loss counts, [B, T] bool: those that were sampled, or those of responses that were not cut."""
    if mask_truncated:
        return rollout.mask & rollout.finished[:, None]
    return rollout.mask


def warmed_up_rate(c, step):
    """The learning rate of a step: it rises over the warm-up, then stays."""
    warmth = (step + 1) / max(1, c.warmup_steps)
    return c.lr * min(1.0, warmth)


def rows_of_updates(rollout, count):
    """The rows of each optimizer update: `count` equal runs of 0..B-1, each [b] int64.

    World.step_batch has put the prompts of the first update first, and so on, each with its whole group.
    """
    return torch.arange(len(rollout.mask), device=rollout.mask.device).chunk(count)


def clip(policy, most):
    """The norm of the gradient, which is then scaled down to `most`."""
    # In place: the gradients themselves are scaled.
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), most)
    if hasattr(norm, "full_tensor"):  # of a sharded model
        norm = norm.full_tensor()
    return norm.item()


def mean_over(updates):
    """{name: mean} of the numbers {name: number} of several updates."""
    return {name: sum(totals[name] / len(updates) for totals in updates) for name in updates[0]}
