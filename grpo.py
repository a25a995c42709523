"""GRPO: the advantage of a response over its group, and the clipped loss.

The idea. Sample G responses to one prompt and check each. A response that is better than its group's mean becomes
likelier, a worse one less likely. No value network is needed.

Response i has reward R_i and advantage A_i. Its token t has log-prob l_it now, l_it^old before the step's first update,
and l_it^ref under a frozen reference. H_it is the entropy of the token's distribution.

    A_i  = (R_i - mean_group R) / (std_group R + 1e-6)                  Shao et al., arXiv:2402.03300
    r_it = exp(l_it - l_it^old)                                         how much likelier the token has become
    J_it = min( r_it A_i, clip(r_it, 1 - eps_low, 1 + eps_high) A_i )   DAPO: eps_high > eps_low, arXiv:2503.14476
    KL_it = exp(l_it^ref - l_it) - (l_it^ref - l_it) - 1                an estimate of KL(now || reference)
    loss = sum_it w_it ( - J_it + c_KL KL_it - c_H H_it )               w_it: see token_weights

How it differs from the textbook. The weights divide by counts over the whole optimizer update, and not over a
micro-batch. So the losses of micro-batches add up to that of the update. A group of equal rewards has A = 0 exactly.
"""

import torch

NORMALISATIONS = ("token", "sequence", "constant")  # what --normalise offers: branches of token_weights


def group_advantages(rewards, group_size, scale_std=True):
    """Advantage of each response over its group, [B], in the dtype of the rewards if they are floating, else float32.

    rewards [B]: `group_size` consecutive ones belong to one prompt. scale_std=False: no division (Dr. GRPO,
    arXiv:2503.20783). ValueError: group_size < 2, or B is no multiple of it.

    >>> group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), 4)
    tensor([ 1.5000, -0.5000, -0.5000, -0.5000])
    """
    if group_size < 2:
        raise ValueError(f"group_size {group_size}: a response needs at least one other to be compared with")
    if rewards.dim() != 1 or len(rewards) % group_size:
        raise ValueError(f"rewards of shape {list(rewards.shape)} do not divide into groups of {group_size}")
    R = rewards if rewards.is_floating_point() else rewards.float()
    R = R.view(-1, group_size)  # [B / G, G]: a row is a group
    A = R - R.mean(1, keepdim=True)
    if scale_std:
        std = R.std(1, keepdim=True)  # [B / G, 1]: divides by G - 1
        A = A / (std + 1e-6)
    equal = equal_groups(rewards, group_size)  # [B / G]
    return A.masked_fill(equal[:, None], 0.0).flatten()  # exactly 0: the mean of equal rewards may be off by rounding


def equal_groups(rewards, group_size):
    """Which groups have rewards that are all equal, shape [B / G] bool."""
    R = rewards.view(-1, group_size)
    return R.amax(1) == R.amin(1)


def token_logprobs(logits, targets, entropy=True):
    """log p(target) and entropy (nats; 0 if not asked for), float32 [...]; logits [..., V], targets [...] int64."""
    logp = logits.float().log_softmax(-1)  # [..., V]
    chosen = logp.gather(-1, targets[..., None])[..., 0]
    if not entropy:
        return chosen, torch.zeros_like(chosen)
    H = -(logp.exp() * logp).sum(-1)
    return chosen, H


def token_weights(mask, normalise, tokens, responses, max_new_tokens):
    """w_it of the loss, float32 [B, T], 0 outside the mask [B, T] bool.

    tokens: number of True in all masks of the mini-batch; responses: its number of rows. ValueError: no such
    `normalise`.

        token      1 / tokens                       every token weighs the same (DAPO)
        sequence   1 / (length_i * responses)       every response weighs the same (GRPO)
        constant   1 / (max_new_tokens * responses) no division by the length (Dr. GRPO)
    """
    m = mask.float()
    if normalise == "token":
        return m / tokens
    if normalise == "sequence":
        lengths = m.sum(1, keepdim=True).clamp(min=1)  # [B, 1]
        return m / (lengths * responses)
    if normalise == "constant":
        return m / (max_new_tokens * responses)
    raise ValueError(f"normalise {normalise!r}: choose one of {', '.join(NORMALISATIONS)}")


def k3(logp, other_logp):
    """KL_it ("k3"), any shape. Over tokens that the policy of logp has drawn, its mean is KL(policy || other)."""
    log_ratio = other_logp - logp
    return log_ratio.exp() - log_ratio - 1


def policy_loss(logp, old_logp, advantages, weights, clip_low=0.2, clip_high=0.2, entropy=None, entropy_coef=0.0,
                ref_logp=None, kl_coef=0.0):  # fmt: skip
    """One micro-batch's share of the loss, and a dict of sums that add up over micro-batches.

    logp, old_logp, ref_logp, entropy, weights [B, T] floating; advantages [B] or [B, T], else ValueError. Tokens of
    weight 0 are ignored. The sums, weighted like the loss: clip_fraction; kl, kl_reference: KL(now || old), KL(now ||
    reference), as if the tokens were drawn from the policy of now.
    """
    if advantages.dim() not in (1, 2) or len(advantages) != len(logp):
        raise ValueError(f"advantages {list(advantages.shape)}: want [B] or [B, T] for log-probs {list(logp.shape)}")
    A = advantages.to(logp.dtype)
    if A.dim() == 1:
        A = A[:, None]  # [B, 1]: the same for every token of a response

    # Tokens of weight 0 may hold anything, even NaN; set them to 0.
    counted = weights > 0  # [B, T]
    A, logp, old_logp = (x.where(counted, 0.0) for x in (A, logp, old_logp))  # [B, T] each

    # How much likelier has each token become in this step?
    ratio = (logp - old_logp).exp()

    # Above the clip range with A > 0, or below it with A < 0, J is constant: it pushes the ratio no further.
    clipped_ratio = ratio.clamp(1 - clip_low, 1 + clip_high)
    J = torch.minimum(ratio * A, clipped_ratio * A)
    loss = -(weights * J).sum()

    # Which tokens has the clip cut off from the gradient?
    too_high = (ratio > 1 + clip_high) & (A > 0)
    too_low = (ratio < 1 - clip_low) & (A < 0)
    stats = {"clip_fraction": (weights * (too_high | too_low)).sum()}
    stats["kl"] = (weights * k3(logp, old_logp)).sum()

    # Two optional terms: stay near the reference; stay uncertain.
    if kl_coef:
        KL = (weights * k3(logp, ref_logp.where(counted, 0.0))).sum()
        loss = loss + kl_coef * KL
        stats["kl_reference"] = KL
    if entropy_coef:
        H = (weights * entropy.where(counted, 0.0)).sum()
        loss = loss - entropy_coef * H
    return loss, {name: value.detach() for name, value in stats.items()}
