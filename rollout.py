"""Sampling responses, and scoring them: the only file that knows the model's interface.

How it differs from `model.generate`. (1) Each prompt is read once and its cache repeated for its samples. (2) A row
that has finished leaves the batch, so ragged lengths cost what their tokens cost. (3) A token is drawn by inverse CDF
from one uniform number per (response, position), and those come from a generator of that response's own:

    token = min{ v : p_1 + ... + p_v > u },       u = u_position of the generator seeded by (seed, step, prompt, sample)

so a response is a function of its seed, not of the rows beside it, the batch size or the number of processes (up to
the rounding of the model itself). (4) `mask` marks what was sampled, the end token included; the pad token is never
asked.

One forward gives all that training needs of a response: the hidden state z_t (final layer, after the final norm) at the
position that *predicts* token t is what the LM head turns into the log-prob of token t, and what rank.py looks at.
`generate` catches both as it samples; `score` computes them anew for the whole response, and defines them.

Symbols: N prompts, B = N x samples responses, P longest prompt, T longest response, D hidden width, V vocabulary.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from grpo import token_logprobs

SLACK = 1 / 8  # share of finished rows in a batch from which on they leave it: leaving costs a copy of the cache
ROOM = 16  # tokens that the cache grows by
LOGITS = 2**25  # logits in float32 at a time where log-probs are asked for: 128 MiB, and some copies


class Policy(nn.Module):
    """A causal LM behind one door: `forward` gives next-token logits for sampling, or log-probs for scoring.

    layer: whose states are looked at: -1, the final norm's output, which the LM head reads; 0, the embeddings; k, the
    output of block k. ValueError for a layer that the model does not have.
    """

    def __init__(self, lm, layer=-1):
        super().__init__()
        last = lm.config.get_text_config().num_hidden_layers - 1
        if not -1 <= layer <= last:
            raise ValueError(f"layer {layer}: {type(lm).__name__} has 0 (embeddings) to {last}, and -1, the final norm")
        self.lm, self.layer = lm, layer

    def logits(self, states):
        """LM head on final states [..., D] -> [..., V], with the scaling or cap that some families put on logits."""
        config = self.lm.config
        logits = self.lm.get_output_embeddings()(states)
        logits = logits * getattr(config, "logit_scale", 1.0) / getattr(config, "logits_scaling", 1.0)
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def forward(self, ids, attention, targets=None, cache=None, temperature=1.0, entropy=True):
        """ids [b, L] are the last L of the positions that attention [b, L + cached] knows; 0 marks padding.

        Without targets: (logits [b, V] of the next token, its state [b, D]). With targets [b, T], the last T tokens of
        ids: (log-probs [b, T], entropies [b, T], states [b, T, D]), the first two float32 at `temperature`, 0 on
        padding; never are all the logits [b, T, V] in memory. entropy=False: entropies are 0, and cost nothing.
        """
        positions = (attention.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = self.lm.base_model(
            input_ids=ids, attention_mask=attention, position_ids=positions, past_key_values=cache,
            use_cache=cache is not None, output_hidden_states=self.layer != -1,
        )  # fmt: skip
        final = out.last_hidden_state  # [b, L, D]
        seen = final if self.layer == -1 else out.hidden_states[self.layer]
        if targets is None:
            return self.logits(final[:, -1]), seen[:, -1]
        before = slice(-targets.shape[1] - 1, -1)  # the state before a token predicts it
        real = attention[:, -targets.shape[1] :].bool()  # [b, T]
        values = self.token_logprobs(final[:, before][real], targets[real], temperature, entropy)
        return *(v.new_zeros(real.shape).masked_scatter(real, v) for v in values), seen[:, before].clone()

    def token_logprobs(self, states, targets, temperature, entropy=True):
        """grpo.token_logprobs of targets [n] given final states [n, D]: LOGITS numbers at a time, forward and backward.

        The backward pass computes each piece's logits again instead of keeping them (activation checkpointing).
        """

        def piece(states, targets):
            return token_logprobs(self.logits(states) / temperature, targets, entropy)

        rows = max(1, LOGITS // self.lm.get_output_embeddings().weight.shape[0])
        if len(targets) <= rows:
            return piece(states, targets)
        pieces = [
            checkpoint(piece, *part, use_reentrant=False) for part in zip(states.split(rows), targets.split(rows))
        ]
        return [torch.cat(values) for values in zip(*pieces)]


def check_head(policy):
    """ValueError if `Policy.logits` is not what the model itself computes: an unknown way of scaling its logits."""
    device = next(policy.parameters()).device
    ids = torch.arange(4, device=device)[None]
    with torch.no_grad():
        own = policy.lm(input_ids=ids).logits[:, -1]
        ours, _ = policy(ids, torch.ones_like(ids))
    if not torch.allclose(own.float(), ours.float(), atol=1e-2, rtol=1e-2):
        raise ValueError(
            f"{type(policy.lm).__name__}: its logits are not those of its LM head on the final states (they differ by "
            f"{(own - ours).abs().max():.2g}); teach rollout.Policy.logits what this family does to them"
        )


def model_room(policy):
    """Tokens of prompt and response together that the model has positions for."""
    return getattr(policy.lm.config, "max_position_embeddings", None) or float("inf")


@dataclass
class Rollout:
    """B responses behind left-padded prompts, consecutive runs of `samples` to one prompt."""

    ids: torch.Tensor  # [B, P + T] int64: padding, prompt, response, padding
    attention: torch.Tensor  # [B, P + T] int64: 1 on prompt and sampled tokens
    mask: torch.Tensor  # [B, T] bool: what was sampled
    logprobs: torch.Tensor  # [B, T] float32: as the sampler saw them, at its temperature, 0 outside the mask
    entropy: torch.Tensor  # [B, T] float32: of the distributions (before top_p) that the tokens were drawn from, nats
    finished: torch.Tensor  # [B] bool: ended with a stop token; the others were cut at max_new_tokens
    states: torch.Tensor | None = None  # [B, T, D], where they were asked for: what predicted each token

    @property
    def responses(self):
        return self.ids[:, -self.mask.shape[1] :]  # [B, T]

    def texts(self, tokenizer):
        """The responses as B strings, without special tokens."""
        rows = [row[m] for row, m in zip(self.responses, self.mask)]
        return tokenizer.batch_decode(rows, skip_special_tokens=True)


def sample_seed(*key):
    """A 63-bit seed from any key such as (seed, step, prompt, sample): the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniforms(seeds, length):
    """One row of `length` uniform numbers for each seed, float64 [B, length]."""
    rows = [torch.rand(length, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(rows)


def inverse_cdf(logits, u, temperature=1.0, top_p=1.0):
    """Tokens [b] for logits [b, V] and uniform numbers u [b] float64; temperature 0 is the most likely token.

    top_p < 1 keeps the smallest set of tokens whose probability reaches it (nucleus sampling).
    """
    if temperature == 0:
        return logits.argmax(-1)
    p = (logits.float() / temperature).softmax(-1).double()  # float64: a float32 sum of a large vocabulary drifts
    if top_p < 1:
        ranked, order = p.sort(dim=-1, descending=True, stable=True)
        tail = ranked.cumsum(-1) - ranked >= top_p  # what comes before already reaches top_p
        p = p.masked_fill(torch.zeros_like(tail).scatter(-1, order, tail), 0.0)
    cdf = p.cumsum(-1)
    total = cdf[:, -1]
    threshold = torch.minimum(u * total, torch.nextafter(total, torch.zeros_like(total)))  # never past the last token
    return torch.searchsorted(cdf, threshold[:, None], right=True)[:, 0]


def reserve_room(cache):
    """Make the full-attention layers of a DynamicCache grow ROOM tokens at a time.

    By themselves they copy all they hold for each new token, which takes longer than the attention.
    """
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        room = None  # [2, b, heads, tokens + some, d]; keys and values are views of its beginning

        def update(self, key_states, value_states, *args, **kwargs):
            n, new = self.keys.shape[-2], key_states.shape[-2]
            if self.room is None or n + new > self.room.shape[-2]:
                b, heads, _, d = self.keys.shape
                self.room = self.keys.new_empty(2, b, heads, n + new + ROOM, d)
                self.room[0, ..., :n, :], self.room[1, ..., :n, :] = self.keys, self.values
            self.room[0, ..., n : n + new, :], self.room[1, ..., n : n + new, :] = key_states, value_states
            self.keys, self.values = self.room[..., : n + new, :]
            return self.keys, self.values

        def batch_select_indices(self, indices):
            if self.room is None:  # some responses ended with their first token
                return super().batch_select_indices(indices)
            n, self.room = self.keys.shape[-2], self.room[:, indices]
            self.keys, self.values = self.room[..., :n, :]

    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.__class__ = RoomyLayer


@torch.no_grad()
def generate(policy, prompts, seeds, max_new_tokens, stop_ids, pad_id, temperature=1.0, top_p=1.0, keep_states=False):
    """Sample len(seeds) / len(prompts) responses to each prompt; a Rollout, with `states` if keep_states.

    prompts: N lists of token ids, none empty; seeds: B integers, in the order of the responses; stop_ids: token ids
    that end a response. A response that has not ended after max_new_tokens is cut, and `finished` says so.
    """
    from transformers import DynamicCache

    if not prompts or not all(prompts) or len(seeds) % len(prompts):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds: want non-empty prompts, seeds for each alike")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens {max_new_tokens}: must be at least 1")
    device, B, samples = next(policy.parameters()).device, len(seeds), len(seeds) // len(prompts)
    P = max(map(len, prompts))
    pads = [[pad_id] * (P - len(p)) for p in prompts]
    ids = torch.tensor([pad + p for pad, p in zip(pads, prompts)], device=device)  # [N, P]
    real = torch.tensor([[0] * len(pad) + [1] * len(p) for pad, p in zip(pads, prompts)], device=device)
    u = uniforms(seeds, max_new_tokens).to(device)  # [B, max_new_tokens]
    stops = torch.tensor(sorted(stop_ids), device=device)

    cache = DynamicCache(config=policy.lm.config)
    logits, state = policy(ids, real, cache=cache)
    cache.batch_repeat_interleave(samples)
    reserve_room(cache)
    logits, state = logits.repeat_interleave(samples, 0), state.repeat_interleave(samples, 0)  # [B, V], [B, D]
    attention = torch.zeros(B, P + max_new_tokens, dtype=torch.int64, device=device)
    attention[:, :P] = real.repeat_interleave(samples, 0)
    out = torch.full((B, max_new_tokens), pad_id, device=device)
    mask = torch.zeros(B, max_new_tokens, dtype=torch.bool, device=device)
    logprobs = torch.zeros(B, max_new_tokens, device=device)
    entropy = torch.zeros_like(logprobs)
    finished = torch.zeros(B, dtype=torch.bool, device=device)
    states = state.new_zeros(B, max_new_tokens, state.shape[1]) if keep_states else None
    rows, alive = torch.arange(B, device=device), torch.ones(B, dtype=torch.bool, device=device)  # [b] in the batch
    for t in range(max_new_tokens):
        token = inverse_cdf(logits, u[rows, t], temperature, top_p)
        out[rows, t], mask[rows, t], attention[rows, P + t] = token.where(alive, pad_id), alive, alive.long()
        logp, h = token_logprobs(logits / (temperature or 1.0), token)
        logprobs[rows, t], entropy[rows, t] = logp.where(alive, 0.0), h.where(alive, 0.0)
        if keep_states:
            states[rows, t] = state.where(alive[:, None], 0.0)
        ended = alive & torch.isin(token, stops)
        finished[rows], alive = finished[rows] | ended, alive & ~ended
        left = alive.sum().item()
        if not left or t + 1 == max_new_tokens:
            break
        if left <= len(rows) * (1 - SLACK):
            keep = alive.nonzero()[:, 0]
            rows, alive, token = rows[keep], alive[keep], token[keep]
            cache.batch_select_indices(keep)
        logits, state = policy(token[:, None], attention[rows, : P + t + 1], cache=cache)
    T = t + 1
    ids = torch.cat([ids.repeat_interleave(samples, 0), out[:, :T]], 1)
    states = states[:, :T] if keep_states else None
    return Rollout(ids, attention[:, : P + T], mask[:, :T], logprobs[:, :T], entropy[:, :T], finished, states)


def micro_batches(rollout, rows, max_tokens):
    """Cut `rows` [b] into runs of similar length of at most `max_tokens` padded tokens; yields (rows, their Rollout).

    Columns that are padding for every row of the run are cut off. A row longer than max_tokens goes alone.
    """
    T = rollout.mask.shape[1]
    P = rollout.ids.shape[1] - T
    prompt, response = rollout.attention[rows, :P].sum(1), rollout.mask[rows].sum(1)  # [b] tokens
    order = (prompt + response).argsort(stable=True)
    runs, width = [[]], (0, 0)
    for i in order.tolist():
        wider = max(width[0], prompt[i].item()), max(width[1], response[i].item())
        if runs[-1] and sum(wider) * (len(runs[-1]) + 1) > max_tokens:
            runs.append([])
            wider = prompt[i].item(), response[i].item()
        runs[-1].append(i)
        width = wider
    for run in runs:
        p, r = prompt[run].max(), response[run].max()
        chosen, columns = rows[run], slice(P - p, P + r)
        yield chosen, Rollout(
            rollout.ids[chosen, columns], rollout.attention[chosen, columns], rollout.mask[chosen, :r],
            rollout.logprobs[chosen, :r], rollout.entropy[chosen, :r], rollout.finished[chosen],
        )  # fmt: skip


@torch.no_grad()
def score(policy, rollout, temperature=1.0, max_tokens=16384, look=True):
    """The definition of what was sampled: log-probs, entropies [B, T] (float32), states [B, T, D]; 0 off the mask.

    One forward over prompt and response together, in micro-batches; the states are in the model's dtype and take
    B T D numbers. look=False: log-probs only, entropies are 0 and states None.
    """
    B, T = rollout.mask.shape
    logp = torch.zeros(B, T, device=rollout.ids.device)
    entropy, hidden = torch.zeros_like(logp), None
    for rows, part in micro_batches(rollout, torch.arange(B, device=logp.device), max_tokens):
        l, h, z = policy(part.ids, part.attention, part.responses, temperature=temperature, entropy=look)
        r = part.mask.shape[1]
        logp[rows, :r], entropy[rows, :r] = l, h
        if look:
            hidden = torch.zeros(B, T, z.shape[-1], dtype=z.dtype, device=z.device) if hidden is None else hidden
            hidden[rows, :r] = z.where(part.mask[..., None], 0.0)
    return logp, entropy, hidden
