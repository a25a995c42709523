"""What the responses of a training step were like, in numbers: its part of metrics.jsonl that no algorithm reads.

Means are over the responses of all processes, but for entropy and sampler_gap, which are over their tokens.

    reward          what --reward gave                          correct      share that the verifier finds right
    reward_NAME     a part of it, where the reward is a sum of parts
    equal_groups    share in groups whose rewards are all equal, which have nothing to teach
    length          tokens, the end token included              truncated    share that was cut at max_new_tokens
    entropy         nats, of the distributions that the tokens were drawn from
    sampler_gap     mean of |l_sampler - l_scorer|: the two compute the same log-prob, in another order or precision
    sampler_ratio   the largest exp(l_scorer - l_sampler) of all tokens; 1 where they agree

The last two are there where the step scores its samples before the update (--mini_batches above 1).
"""

from typing import NamedTuple

import torch

from engine.samples import prefix_curves
from grpo import equal_groups
from rank import dataset_metrics, mean_states


def describe(world, rollout, graded, group):
    """The numbers above, and `tokens`, from a Rollout of B responses and what they are worth, engine.rewards.Graded."""
    R = graded.rewards  # [B]
    totals = world.sums({
        "responses": len(R),
        "reward": R.sum(),
        "correct": graded.right.sum(),
        **{f"reward_{name}": part.sum() for name, part in graded.parts.items()},
        "equal_groups": group * equal_groups(R, group).sum(),
        "length": rollout.mask.sum(),
        "truncated": (~rollout.finished).sum(),
        "entropy": rollout.entropy.sum(),
    })  # fmt: skip
    responses = totals.pop("responses")
    tokens = int(totals["length"])
    means = {name: total / responses for name, total in totals.items()}
    numbers = means | {"entropy": totals["entropy"] / tokens, "tokens": tokens}
    if rollout.old_logprobs is None:
        return numbers

    # Sampler and scorer are both 0 outside the mask, so the sum there is of nothing.
    difference = rollout.old_logprobs - rollout.logprobs  # [B, T]
    gap = world.sums({"gap": difference.abs().sum()})["gap"] / tokens
    ratio = max(world.gather([difference.max().exp().item()]))
    return numbers | {"sampler_gap": gap, "sampler_ratio": ratio}


class Trajectories(NamedTuple):
    """What the log has of the hidden states, beside the rank metrics of each response."""

    mean_state: torch.Tensor  # [B, D]
    curves: torch.Tensor  # [few, K]: m_j of the first responses


def measure_trajectories(z, mask, c):
    """Trajectories of states z [B, T, D] and mask [B, T]; c: the configuration."""
    return Trajectories(mean_states(z, mask), prefix_curves(z, mask, c.log_samples, c.stride, c.window))


def dataset_ranks(world, mean_state, places):
    """{dataset_name: number} of the rank metrics of the whole step: the mean states of its responses as one trajectory.

    mean_state [B, D] of all processes are put in the order of their prompts' places in the step.
    """
    dataset = dataset_metrics(world.by_prompt(mean_state, places))
    return {f"dataset_{name}": value.item() for name, value in dataset.items()}
