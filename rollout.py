"""Sampling responses, and scoring them: the only file that calls the model.

The idea. The hidden state z_t at the position *before* token t (final layer, after the final norm) predicts token t:
the LM head turns it into the token's log-prob, and rank.py counts the directions that z_1..z_T explore. `generate`
keeps both as it samples; `score` computes them anew for whole responses: the sampler is tested against it.

    token = min{ v : p_1 + ... + p_v > u }       u: a number of the response's own generator, one for each position

so a response depends on its seed (seed, step, prompt, sample), not on the rows beside it or the number of processes.

How it differs from `model.generate`. Each prompt is read once for all its samples; a response that has ended leaves the
batch, so ragged lengths cost what their tokens cost; `mask` marks what was sampled, the end token included, whatever
the pad token is. Left out: beams, penalties, top-k, speculative decoding, paging.

Symbols: N prompts, B = N x samples responses, P longest prompt, T longest response, D hidden width, V vocabulary; a
part of a batch has b rows.
"""

from dataclasses import dataclass

import torch
from torch import nn

from engine.batch import by_token, empty_rows, first_above, left_padded, micro_batches, shortened, uniforms
from engine.cache import LiveRows, new_cache, repeat_rows
from grpo import token_logprobs

LOGITS = 2**25  # logits in float32 at a time where log-probs are asked for: 128 MiB, and some copies


class Policy(nn.Module):
    """A causal LM behind one door.

    layer: whose states are kept: -1, the final norm's output, which the LM head reads; 0, the embeddings; k, the output
    of block k. ValueError for a layer that the model does not have.
    """

    def __init__(self, lm, layer=-1):
        super().__init__()
        last = lm.config.get_text_config().num_hidden_layers - 1
        if not -1 <= layer <= last:
            raise ValueError(f"layer {layer}: {type(lm).__name__} has 0 (embeddings) to {last}, and -1, the final norm")
        self.lm = lm
        self.layer = layer
        self.bfloat16 = False  # True: matrices are multiplied in bfloat16, whatever the weights are kept in

    def forward(self, ids, attention, targets=None, **options):
        """`next_token` without targets, `scores` with them. Sharded weights are gathered only for calls of forward."""
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.bfloat16):
            if targets is None:
                return self.next_token(ids, attention, **options)
            return self.scores(ids, attention, targets, **options)

    def next_token(self, ids, attention, cache=None):
        """(logits [b, V] of the token after ids, the state [b, D] that they were made from).

        ids [b, L] are the last L of the positions that attention [b, L + cached] knows; 0 in it marks padding.
        """
        final, kept = self.states(ids, attention, cache)
        logits = self.logits(final[:, -1])
        return logits, kept[:, -1]

    def scores(self, ids, attention, targets, temperature=1.0, entropy=True):
        """(log-probs [b, T], entropies [b, T], states [b, T, D]) of targets [b, T], the last T tokens of ids [b, L].

        The first two are float32 at `temperature`, 0 on padding; entropy=False: entropies are 0, and cost nothing.
        """
        T = targets.shape[1]
        real = attention[:, -T:].bool()  # [b, T]
        final, kept = self.states(ids, attention)  # [b, L, D]
        predicting = slice(-T - 1, -1)  # the state *before* a token predicts it

        def of_tokens(states, targets):  # [n, D], [n] -> [n], [n]
            return token_logprobs(self.logits(states) / temperature, targets, entropy)

        # A few tokens at a time, and none that is padding: never are all the logits [b, T, V] in memory.
        vocabulary = self.lm.get_output_embeddings().weight.shape[0]
        logp, H = by_token(of_tokens, LOGITS // vocabulary, real, final[:, predicting], targets)
        return logp, H, kept[:, predicting].clone()  # a copy: a view would keep the prompt's states in memory, too

    def states(self, ids, attention, cache=None):
        """(final states [b, L, D], states of the layer that is kept [b, L, D]) of ids [b, L]."""
        L = ids.shape[1]
        positions = attention.cumsum(-1) - 1
        positions = positions.clamp(min=0)  # padding takes no position
        out = self.lm.base_model(
            input_ids=ids,
            attention_mask=attention,
            position_ids=positions[:, -L:],
            past_key_values=cache,
            use_cache=cache is not None,
            output_hidden_states=self.layer != -1,
        )
        final = out.last_hidden_state
        if self.layer == -1:
            return final, final
        return final, out.hidden_states[self.layer]

    def logits(self, states):
        """LM head on final states [..., D] -> [..., V], with the scaling or cap that some families put on logits."""
        config = self.lm.config.get_text_config()
        logits = self.lm.get_output_embeddings()(states)
        logits = logits * (getattr(config, "logit_scale", None) or 1.0)  # Cohere; MPT has None
        logits = logits / getattr(config, "logits_scaling", 1.0)  # Granite
        cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
        if cap is None:
            return logits
        return cap * torch.tanh(logits / cap)


@dataclass
class Rollout:
    """B responses behind left-padded prompts, consecutive runs of `samples` to one prompt: all that training reads."""

    ids: torch.Tensor  # [B, P + T] int64: padding, prompt, response, padding
    attention: torch.Tensor  # [B, P + T] int64: 1 on prompt and sampled tokens
    mask: torch.Tensor  # [B, T] bool: what was sampled
    logprobs: torch.Tensor  # [B, T] float32: as the sampler saw them, at its temperature, 0 outside the mask
    entropy: torch.Tensor  # [B, T] float32: of the model's distribution at each token (before top_p), nats
    finished: torch.Tensor  # [B] bool: ended with a stop token; the others were cut at max_new_tokens
    states: torch.Tensor | None = None  # [B, T, D]: what predicted each token, where it was asked for
    # What a training step adds, [B, T] each.
    advantages: torch.Tensor | None = None
    old_logprobs: torch.Tensor | None = None  # before the update, where it was asked for
    ref_logprobs: torch.Tensor | None = None  # of the frozen reference, where there is one
    learnt: torch.Tensor | None = None  # bool: what the loss counts, of what the mask marks

    @property
    def prompt_width(self):  # P
        return self.ids.shape[1] - self.mask.shape[1]

    @property
    def responses(self):  # [B, T] int64
        return self.ids[:, self.prompt_width :]

    def texts(self, tokenizer):
        """The responses as B strings, without special tokens."""
        sampled = [tokens[m] for tokens, m in zip(self.responses, self.mask)]
        return tokenizer.batch_decode(sampled, skip_special_tokens=True)

    def rows(self):
        """0..B-1, [B] int64."""
        return torch.arange(len(self.mask), device=self.mask.device)

    def micro_batches(self, max_tokens, rows=None):
        """Parts of at most `max_tokens` padded tokens, of `rows` [b] or of all; yields (rows, their Rollout).

        Columns that are padding for all of a part's rows are cut off. States stay behind: they are large.
        """
        return micro_batches(self, max_tokens, rows)


def inverse_cdf(logits, u, temperature=1.0, top_p=1.0):
    """Tokens [b] for logits [b, V] and uniform numbers u [b] float64; temperature 0 is the most likely token."""
    if temperature == 0:
        return logits.argmax(-1)
    p = (logits.float() / temperature).softmax(-1)
    p = p.double()  # a float32 sum over a large vocabulary drifts
    if top_p < 1:
        p = nucleus(p, top_p)
    return first_above(p.cumsum(-1), u)


def nucleus(p, top_p):
    """Probabilities p [b, V] with 0 outside the smallest set of tokens whose probability reaches top_p > 0."""
    ranked, order = p.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked
    in_tail = before >= top_p  # what comes before already reaches top_p
    tail = torch.zeros_like(in_tail).scatter(-1, order, in_tail)
    return p.masked_fill(tail, 0.0)


@torch.no_grad()
def generate(policy, prompts, seeds, max_new_tokens, stop_ids, temperature=1.0, top_p=1.0, keep_states=False):
    """Sample len(seeds) / len(prompts) responses to each prompt; a Rollout, with `states` if keep_states.

    prompts: N lists of token ids, none empty; seeds: B integers, in the order of the responses; stop_ids: token ids
    that end a response. A response that has not ended after max_new_tokens is cut, and `finished` says so.
    """
    N = len(prompts)
    B = len(seeds)
    if N == 0 or B % N or not all(prompts):
        raise ValueError(f"{N} prompts and {B} seeds: want non-empty prompts, and as many seeds for each")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens {max_new_tokens}: must be at least 1")
    device = next(policy.parameters()).device
    samples = B // N

    # 1. Read each prompt once. What it leaves in the cache, and the logits of the first token, serve all its samples.
    ids, attention = left_padded(prompts, device)  # [N, P]
    cache = new_cache(policy.lm)
    logits, state = policy(ids, attention, cache=cache)  # [N, V], [N, D]

    # 2. Repeat it for the samples, and make room for what they will say.
    repeat_rows(cache, N, samples)
    logits = logits.repeat_interleave(samples, 0)  # [B, V]
    state = state.repeat_interleave(samples, 0)  # [B, D]
    r = Rollout(**empty_rows(ids, attention, samples, max_new_tokens))
    if keep_states:
        r.states = state.new_zeros(B, max_new_tokens, state.shape[1])

    # 3. Sample token by token. `rows` [b] are the responses that go on, as numbers in 0..B-1; logits, state, token and
    #    so on have a row for each of them. With three responses of which number 1 ends, rows are 0 1 2, then 0 2.
    u = uniforms(seeds, max_new_tokens).to(device)  # [B, max_new_tokens]
    stops = torch.tensor(sorted(stop_ids), device=device)
    live = LiveRows(policy, cache, B, device)
    for t in range(max_new_tokens):
        rows = live.rows  # [b]
        token = inverse_cdf(logits, u[rows, t], temperature, top_p)  # [b]
        logp, H = token_logprobs(logits / (temperature or 1.0), token)  # [b] each; greedy: as at temperature 1
        write_token(r, t, rows, token, logp, H, state)
        ended = torch.isin(token, stops)  # [b] bool
        r.finished[rows[ended]] = True
        if ended.all() or t + 1 == max_new_tokens:
            break
        length = r.prompt_width + t + 1
        logits, state = live.next_token(token, ended, r.attention[:, :length])  # fewer rows, where some have ended
    return shortened(r, t + 1)  # without the room that no response has used


def write_token(r, t, rows, token, logp, H, state):
    """Token t of the responses `rows` [b], and what it was drawn from: [b] each, state [b, D]."""
    place = r.prompt_width + t
    r.ids[rows, place] = token
    r.attention[rows, place] = 1
    r.mask[rows, t] = True
    r.logprobs[rows, t] = logp
    r.entropy[rows, t] = H
    if r.states is not None:
        r.states[rows, t] = state


@torch.no_grad()
def score(policy, rollout, temperature=1.0, max_tokens=16384):
    """The definition of what was sampled: log-probs, entropies [B, T] (float32), states [B, T, D]; 0 off the mask.

    One forward over prompt and response together, in micro-batches; states are in the model's dtype.
    """
    logp = torch.zeros_like(rollout.logprobs)
    entropy = torch.zeros_like(rollout.logprobs)
    states = None
    for rows, part in rollout.micro_batches(max_tokens):
        l, H, z = policy(part.ids, part.attention, part.responses, temperature=temperature)
        _, T, D = z.shape
        logp[rows, :T] = l
        entropy[rows, :T] = H
        if states is None:
            states = z.new_zeros(*logp.shape, D)
        off_mask = ~part.mask[..., None]  # [b, T, 1]
        states[rows, :T] = z.masked_fill(off_mask, 0.0)
    return logp, entropy, states


@torch.no_grad()
def score_logprobs(policy, rollout, temperature=1.0, max_tokens=16384):
    """The log-probs [B, T] of `score`, without the rest: a third less work."""
    logp = torch.zeros_like(rollout.logprobs)
    for rows, part in rollout.micro_batches(max_tokens):
        l, _, _ = policy(part.ids, part.attention, part.responses, temperature=temperature, entropy=False)
        T = l.shape[1]
        logp[rows, :T] = l
    return logp
