"""GRPO: the advantage of a response over its group, and the clipped loss.

How it differs from the textbook. (1) The loss is divided by the number of tokens of the whole optimizer step, over all
micro-batches and ranks, not by each micro-batch's own: cutting a step into pieces then changes nothing, and every
sampled token weighs the same (DAPO, arXiv:2503.14476). (2) `mask` marks the tokens that were sampled, the end token
included, whatever the pad token is. (3) A group whose rewards are all equal has advantage 0 exactly, not rounding noise
divided by 1e-6.

Symbols: group of G responses to one prompt, reward R_i, advantage A_i, log-prob l_it of token t of response i now,
l_it^old before the update, l_it^ref under a frozen reference, entropy H_it of the distribution that token was drawn
from, m_it = 1 where a token was sampled.

    A_i  = (R_i - mean_group R) / (std_group R + 1e-6)                  std with G - 1; Shao et al., arXiv:2402.03300
    r_it = exp(l_it - l_it^old)
    J_it = min( r_it A_i, clip(r_it, 1 - eps_low, 1 + eps_high) A_i )   clip-higher: DAPO
    K_it = exp(l_it^ref - l_it) - (l_it^ref - l_it) - 1   "k3": unbiased for KL(now || ref), never negative
    loss = sum_it w_it ( - J_it + c_KL K_it - c_H H_it )                w_it: see token_weights
"""

import torch


def group_advantages(rewards, group_size, scale_by_std=True):
    """Advantage of each response over its group, shape [B], in the dtype of a float input (else float32).

    rewards [B]: consecutive runs of `group_size` belong to one prompt. scale_by_std=False leaves the division out
    (Dr. GRPO, arXiv:2503.20783). All-equal groups get 0. ValueError: group_size < 2, or B not a multiple of it.

    >>> group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), 4)
    tensor([ 1.5000, -0.5000, -0.5000, -0.5000])
    """
    if group_size < 2:
        raise ValueError(f"group_size {group_size}: a response needs at least one other to be compared with")
    if rewards.dim() != 1 or len(rewards) % group_size:
        raise ValueError(f"rewards of shape {list(rewards.shape)} do not divide into groups of {group_size}")
    R = rewards if rewards.is_floating_point() else rewards.float()
    R = R.view(-1, group_size)  # [B / G, G]
    A = R - R.mean(1, keepdim=True)
    if scale_by_std:
        A = A / (R.std(1, keepdim=True) + 1e-6)
    return A.masked_fill(equal_groups(rewards, group_size)[:, None], 0.0).flatten()


def equal_groups(rewards, group_size):
    """Which groups have nothing to teach, shape [B / G] bool: all their rewards are equal."""
    R = rewards.view(-1, group_size)
    return R.amax(1) == R.amin(1)


def token_logprobs(logits, targets, entropy=True):
    """log p(target) and entropy (nats), both float32 of shape [...], from logits [..., V] and targets [...] int64.

    entropy=False gives 0 for the entropy, and saves a third of the time.
    """
    logp = logits.float().log_softmax(-1)  # [..., V]
    chosen = logp.gather(-1, targets[..., None])[..., 0]
    return chosen, -(logp.exp() * logp).sum(-1) if entropy else torch.zeros_like(chosen)


def token_weights(mask, normalise, tokens, responses, max_new_tokens):
    """w_it of the loss, float32 [B, T], 0 outside the mask [B, T] bool.

    tokens, responses: counts over the *whole* optimizer step, all micro-batches and ranks.
    "token": 1 / tokens (DAPO) · "sequence": 1 / (length_i responses), the mean of per-response means (GRPO as first
    published) · "constant": 1 / (max_new_tokens responses), no reward for being short or long (Dr. GRPO).
    """
    m = mask.float()
    if normalise == "token":
        return m / tokens
    if normalise == "sequence":
        return m / (m.sum(1, keepdim=True).clamp(min=1) * responses)
    if normalise == "constant":
        return m / (max_new_tokens * responses)
    raise ValueError(f"normalise {normalise!r}: choose token, sequence or constant")


def policy_loss(logp, old_logp, advantages, weights, clip_low=0.2, clip_high=0.2, entropy=None, entropy_coef=0.0,
                ref_logp=None, kl_coef=0.0):  # fmt: skip
    """Loss of one micro-batch (its share of the step's loss) and a dict of sums that add up over micro-batches.

    logp, old_logp, ref_logp, entropy, weights [B, T] (values where weights are 0 are ignored, even NaN);
    advantages [B] or [B, T]. stats: clip_fraction, kl (k3 between the sampling policy and the current one) and
    kl_reference, each weighted by `weights`, so that with token weights their sum over the step is a mean over tokens.
    """
    if advantages.dim() not in (1, 2) or len(advantages) != len(logp):
        raise ValueError(f"advantages {list(advantages.shape)}: want [B] or [B, T] for log-probs {list(logp.shape)}")
    A = (advantages if advantages.dim() == 2 else advantages[:, None]).to(logp.dtype)  # [B, 1] or [B, T]
    used = weights > 0

    def k3(other):  # log-ratio to another policy; 0 outside the mask, where log-probs mean nothing
        d = torch.where(used, other - logp, 0.0)
        return d.exp() - d - 1

    ratio = torch.where(used, logp - old_logp, 0.0).exp()
    J = torch.minimum(ratio * A, ratio.clamp(1 - clip_low, 1 + clip_high) * A)
    clipped = ((ratio > 1 + clip_high) & (A > 0)) | ((ratio < 1 - clip_low) & (A < 0))
    loss = -(weights * torch.where(used, J, 0.0)).sum()
    stats = {"clip_fraction": (weights * clipped).sum(), "kl": (weights * k3(old_logp)).sum()}
    if kl_coef:
        K = (weights * k3(ref_logp)).sum()
        loss, stats["kl_reference"] = loss + kl_coef * K, K
    if entropy_coef:
        loss = loss - entropy_coef * (weights * torch.where(used, entropy, 0.0)).sum()
    return loss, {name: value.detach() for name, value in stats.items()}
