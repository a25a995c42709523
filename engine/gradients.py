"""Gradients of a loss that is one sum over all tokens of an update, however many pieces and processes compute it.

A token's weight in the loss divides by counts over the whole update (grpo.token_weights), so the pieces just add up.
How it differs from the textbook, where each micro-batch and each process takes a mean of its own: cutting an update
into pieces changes nothing here.
"""

import torch

from grpo import token_weights


def accumulate(s, rollout, rows, loss_of):
    """Add up the gradients of the loss over `rows` of a Rollout; returns {name: total} of its stats and of "loss".

    s: engine.state.State. loss_of(s, part, weights) -> (loss, stats): a part's share of both.
    """
    c = s.config
    tokens = s.world.sum(rollout.learnt[rows].sum()).clamp(min=1)
    responses = len(rows) * s.world.size
    totals = {}
    parts = [part for _, part in rollout.micro_batches(c.micro_tokens, rows)]
    for part in s.world.equally_often(parts):
        weights = token_weights(part.learnt, c.normalise, tokens, responses, c.max_new_tokens)
        loss, stats = loss_of(s, part, weights)
        (loss * s.world.size).backward()  # FSDP takes the mean over processes of what is a share of a sum
        stats["loss"] = loss.detach()
        totals = {name: totals.get(name, 0.0) + value for name, value in stats.items()}
    return s.world.sums(totals)


def clip_gradient(policy, most):
    """The norm of the gradient, which is then scaled down to `most`."""
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), most)
    if hasattr(norm, "full_tensor"):  # of a sharded model
        norm = norm.full_tensor()
    return norm.item()
