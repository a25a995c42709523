"""Sampling responses, and computing their log-probs. `Policy` is the one door to the language model.

The idea. The hidden state z_t at the position *before* token t (final layer, after the final norm) predicts token t:
the LM head computes the token's log-prob from it. With prompt p p and response a b c, the states of the response are
those at p a b. rank.py takes the rank of z_1..z_T (with --rank_layer, of another layer's states). `generate` keeps
log-probs and states while it samples.

    token = min{ v : p_1 + ... + p_v > u }       u: a uniform number, from the response's own seed

So, up to rounding, a response is decided by its seed and not by the other rows of the batch.

How it differs from `model.generate`. Each prompt is read once for all its samples. A response that has ended is sampled
no more, and leaves the cache soon.

The model is asked in two ways. policy(ids, attention, cache=..) gives the logits of the next token and the state
at the last of ids. policy(ids, attention, targets) gives log-probs, entropies and states of whole responses.

Symbols: N prompts, B = N x samples responses, b some of them, P longest prompt, T longest response, D hidden width, V
vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import nn

from engine.batch import by_token, first_above, left_padded, micro_batches, put_back, uniforms
from engine.cache import new_cache, repeat_rows
from engine.models import check_layer, family_scaling
from engine.sampling import Reader, empty_rows, samples_each, shortened
from grpo import token_logprobs


@dataclass
class Rollout:
    """B responses behind left-padded prompts. `generate` puts those to one prompt in consecutive rows."""

    ids: torch.Tensor  # [B, P + T] int64: padding, prompt, response, padding
    attention: torch.Tensor  # [B, P + T] int64: 1 on prompt and sampled tokens
    mask: torch.Tensor  # [B, T] bool: what was sampled, the end token included
    logprobs: torch.Tensor  # [B, T] float32: the sampler's, for the log; 0 outside the mask
    entropy: torch.Tensor  # [B, T] float32: of each token's distribution, nats
    finished: torch.Tensor  # [B] bool: ended with a stop token
    states: torch.Tensor | None = None  # [B, T, D]: what predicted each token
    # What a training step adds, [B, T] each.
    advantages: torch.Tensor | None = None
    old_logprobs: torch.Tensor | None = None  # before the first update; None with one mini-batch
    ref_logprobs: torch.Tensor | None = None  # of the frozen reference
    learnt: torch.Tensor | None = None  # bool: which sampled tokens the loss counts

    @property
    def prompt_width(self):  # P
        return self.ids.shape[1] - self.mask.shape[1]

    @property
    def responses(self):  # [B, T] int64
        return self.ids[:, self.prompt_width :]

    def write(self, rows, t, token, logp, H, z):
        """Token t of some rows, its log-prob and entropy, [b] each, and the state z [b, D] that predicted it."""
        self.ids[rows, self.prompt_width + t] = token
        self.attention[rows, self.prompt_width + t] = 1
        self.mask[rows, t] = True
        self.logprobs[rows, t] = logp
        self.entropy[rows, t] = H
        if self.states is not None:
            self.states[rows, t] = z

    def texts(self, tokenizer):
        """The responses as B strings, without special tokens."""
        sampled = [tokens[m] for tokens, m in zip(self.responses, self.mask)]
        return tokenizer.batch_decode(sampled, skip_special_tokens=True)

    def micro_batches(self, max_tokens, rows=None):
        """All B, or `rows`, in parts of at most `max_tokens` padded tokens; yields (rows [b], a Rollout)."""
        return micro_batches(self, max_tokens, rows)


def inverse_cdf(logits, u, temperature=1.0, top_p=1.0):
    """Tokens [b] for logits [b, V] and uniform numbers u [b] float64; temperature 0 is the most likely token."""
    if temperature == 0:
        return logits.argmax(-1)
    p = (logits.float() / temperature).softmax(-1)
    p = p.double()  # a float32 sum over a large vocabulary drifts
    if top_p < 1:
        p = nucleus(p, top_p)  # sums to less than 1: first_above takes u times the sum
    return first_above(p.cumsum(-1), u)


@torch.no_grad()
def generate(policy, prompts, seeds, max_new_tokens, stop_ids, temperature=1.0, top_p=1.0, keep_states=False):
    """Sample len(seeds) / len(prompts) responses to each prompt; a Rollout, with `states` if keep_states.

    prompts: N lists of token ids; seeds: B integers; stop_ids: token ids that end a response. ValueError: an empty
    prompt; B is no multiple of N; max_new_tokens < 1.
    """
    samples = samples_each(prompts, seeds, max_new_tokens)
    device = next(policy.parameters()).device
    u = uniforms(seeds, max_new_tokens).to(device)  # [B, max_new_tokens]
    stops = torch.tensor(sorted(stop_ids), device=device)

    # Read each prompt once.
    ids, attention = left_padded(prompts, device)  # [N, P]
    cache = new_cache(policy.lm)
    logits, z = policy(ids, attention, cache=cache)  # [N, V], [N, D]

    # Repeat what was read for each of its samples, and make room for all tokens.
    repeat_rows(cache, len(prompts), samples)
    logits, z = logits.repeat_interleave(samples, 0), z.repeat_interleave(samples, 0)
    rollout = Rollout(**empty_rows(ids, attention, samples, max_new_tokens, z if keep_states else None))

    # `rows` [b] are the responses that go on. logits[i] and z[i] belong to response rows[i].
    rows = torch.arange(len(seeds), device=device)
    reader = Reader(policy, cache, rows)
    for t in range(max_new_tokens):
        # Draw token t of each, and write it down.
        token = inverse_cdf(logits, u[rows, t], temperature, top_p)  # [b]
        logp, H = token_logprobs(logits / (temperature or 1.0), token)  # [b] each; greedy: those of temperature 1
        rollout.write(rows, t, token, logp, H, z)

        # A stop token ends a response.
        ended = torch.isin(token, stops)  # [b] bool
        rollout.finished[rows[ended]] = True
        rows = rows[~ended]
        if len(rows) == 0 or t + 1 == max_new_tokens:
            return shortened(rollout, t + 1)

        # The model reads token t of the others. (Taking a row out of the cache copies it, so rows that have ended stay
        # until they are an eighth of it. Until then the model reads padding for them, and the result is dropped.)
        logits, z = reader.read(rollout, rows, t)  # [b, V], [b, D]


@torch.no_grad()
def score_logprobs(policy, rollout, temperature=1.0, max_tokens=16384):
    """Log-probs [B, T] float32 of a Rollout's tokens, by one pass over prompt and response; 0 off the mask."""
    # A part holds responses of similar length, with little padding. put_back restores their order and width.
    parts = []
    for rows, part in rollout.micro_batches(max_tokens):
        logp, _, _ = policy(part.ids, part.attention, part.responses, temperature=temperature, entropy=False)
        parts.append((rows, logp))
    (logprobs,) = put_back(parts, rollout.mask.shape)
    return logprobs


# A first reader can skip the rest: how a causal LM is asked; sampling with top_p < 1, which training never does; and
# `score`, which only tests and studies call.


class Policy(nn.Module):
    """A causal LM behind one door.

    layer: whose states are measured. -1: the final norm's output. 0: the embeddings. k: block k's output. ValueError:
    the model has no such layer.
    """

    def __init__(self, lm, layer=-1):
        super().__init__()
        check_layer(lm, layer)
        self.lm = lm
        self.layer = layer
        self.bfloat16 = False  # True: matrices are multiplied in bfloat16 (--bfloat16)

    def forward(self, ids, attention, targets=None, **options):
        """`next_token` without targets, `scores` with them."""
        # Both go through forward, because sharded weights (FSDP) are gathered when it is called.
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.bfloat16):
            if targets is None:
                return self.next_token(ids, attention, **options)
            return self.scores(ids, attention, targets, **options)

    def next_token(self, ids, attention, cache=None):
        """(logits [b, V] of the token after ids, the state [b, D] of the measured layer at the last of ids).

        ids [b, L] int64; attention [b, cached + L] int64, 0 on padding.
        """
        final, measured = self.states(ids, attention, cache)
        logits = self.logits(final[:, -1])
        return logits, measured[:, -1]

    def scores(self, ids, attention, targets, temperature=1.0, entropy=True):
        """(log-probs [b, T], entropies [b, T], states [b, T, D]) of targets [b, T], the last T tokens of ids [b, L].

        The first two are float32, 0 on padding. entropy=False: entropies are 0.
        """
        T = targets.shape[1]
        real = attention[:, -T:].bool()  # [b, T]
        final, measured = self.states(ids, attention)  # [b, L, D]

        # A state predicts the token at the next position. With prompt p p and response a b c (T = 3), the tokens a b c
        # are predicted at the positions of p a b: all but the last, and of those the last T.
        predicting = slice(-T - 1, -1)

        def of_tokens(z, token):  # [n, D], [n] -> [n], [n]
            return token_logprobs(self.logits(z) / temperature, token, entropy)

        # Logits of all tokens, [b, T, V], may not fit the memory. by_token applies of_tokens to some of the real tokens
        # at a time, and puts 0 on padding.
        z = final[:, predicting]  # [b, T, D]
        logp, H = by_token(of_tokens, z, targets, real, self.vocabulary)
        return logp, H, measured[:, predicting].clone()  # a copy: a view would keep the prompt's states in memory

    def states(self, ids, attention, cache=None):
        """(final states [b, L, D], states of the measured layer [b, L, D]) of ids [b, L]."""
        L = ids.shape[1]
        positions = attention.cumsum(-1) - 1  # padding takes no position
        out = self.lm.base_model(
            input_ids=ids,
            attention_mask=attention,
            position_ids=positions.clamp(min=0)[:, -L:],
            past_key_values=cache,
            use_cache=cache is not None,
            output_hidden_states=self.layer != -1,
        )
        final = out.last_hidden_state
        if self.layer == -1:
            return final, final
        return final, out.hidden_states[self.layer]

    @property
    def vocabulary(self):  # V
        return self.lm.get_output_embeddings().weight.shape[0]

    def logits(self, states):
        """LM head on final states [..., D] -> [..., V]."""
        logits = self.lm.get_output_embeddings()(states)
        return family_scaling(self.lm, logits)  # some families scale or cap them


def nucleus(p, top_p):
    """Probabilities p [b, V] with 0 outside the smallest set of tokens whose probability reaches top_p > 0."""
    ranked, order = p.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked
    in_tail = before >= top_p  # what comes before already reaches top_p
    tail = torch.zeros_like(in_tail).scatter(-1, order, in_tail)
    return p.masked_fill(tail, 0.0)


@torch.no_grad()
def score(policy, rollout, temperature=1.0, max_tokens=16384):
    """What `generate` must agree with: log-probs, entropies [B, T] float32, states [B, T, D]; 0 off the mask."""
    parts = []
    for rows, part in rollout.micro_batches(max_tokens):
        logp, H, z = policy(part.ids, part.attention, part.responses, temperature=temperature)
        z = z.masked_fill(~part.mask[..., None], 0.0)
        parts.append((rows, logp, H, z))
    return put_back(parts, rollout.mask.shape)
