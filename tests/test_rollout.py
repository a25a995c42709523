import pytest
import torch

import toy
from engine.batch import runs_of_similar_length, sample_seed, uniforms
from engine.models import check_family
from rollout import Policy, generate, inverse_cdf, score, score_logprobs


@pytest.fixture
def prompts(tokenizer):
    """Six prompts of three lengths, so that most are left-padded."""
    return [tokenizer.encode(q) for level in (1, 3, 6) for q, _ in toy.problems(level, 2, seed=0)]


def sample(policy, tokenizer, prompts, samples=4, length=40, **other):
    seeds = [sample_seed(0, i, j) for i in range(len(prompts)) for j in range(samples)]
    return generate(policy, prompts, seeds, length, {tokenizer.eos_token_id}, **other)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.5])
def test_score_agrees_with_the_log_probs_and_states_of_the_sampler(policy, tokenizer, prompts, temperature):
    r = sample(policy, tokenizer, prompts, temperature=temperature, keep_states=True)
    assert 0 < r.finished.sum() < len(r.finished)  # early stops and cut responses both occur
    assert len(set(map(len, prompts))) >= 3  # and left padding
    logp, entropy, hidden = score(policy, r, temperature=temperature, max_tokens=500)
    assert (logp - r.logprobs).abs().max() < 1e-4
    assert (hidden - r.states).abs().max() < 1e-4 * hidden.abs().max()
    assert (logp[~r.mask] == 0).all() and (entropy[r.mask] >= 0).all()


def test_score_is_the_models_own_distribution_without_padding_or_batching(policy, tokenizer, prompts):
    r = sample(policy, tokenizer, prompts, samples=2, temperature=0.8)
    logp, entropy, _ = score(policy, r, temperature=0.8)
    for i in range(len(r.mask)):
        prompt, n = prompts[i // 2], int(r.mask[i].sum())
        ids = torch.tensor([prompt + r.responses[i, :n].tolist()])
        logits = policy.lm(input_ids=ids).logits[0].double() / 0.8
        p = logits[len(prompt) - 1 : -1].log_softmax(-1)  # [n, V]: what predicts each token
        torch.testing.assert_close(
            logp[i, :n].double(), p.gather(-1, r.responses[i, :n, None])[:, 0], atol=1e-4, rtol=0
        )
        torch.testing.assert_close(entropy[i, :n].double(), -(p.exp() * p).sum(-1), atol=1e-4, rtol=0)


def test_a_response_of_one_token_is_the_beginning_of_a_longer_one(policy, tokenizer, prompts):
    one, longer = (sample(policy, tokenizer, prompts, length=length) for length in (1, 5))
    assert one.responses.shape == (24, 1) and one.mask.all()
    assert torch.equal(one.responses[:, 0], longer.responses[:, 0])


def test_a_response_does_not_depend_on_the_rows_beside_it(policy, tokenizer, prompts):
    together = sample(policy, tokenizer, prompts)
    for i, prompt in enumerate(prompts):
        seeds = [sample_seed(0, i, j) for j in (2, 1)]  # another order and another number of samples
        alone = generate(policy, [prompt], seeds, 40, {tokenizer.eos_token_id})
        for row, j in zip(range(2), (2, 1)):
            assert (
                alone.responses[row][alone.mask[row]].tolist()
                == together.responses[4 * i + j][together.mask[4 * i + j]].tolist()
            )


def test_the_stop_token_is_inside_the_mask_where_pad_is_eos(policy, tokenizer, prompts):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    r = sample(policy, tokenizer, prompts)
    for tokens, mask, finished in zip(r.responses, r.mask, r.finished):
        n = int(mask.sum())
        assert mask[:n].all() and not mask[n:].any()
        assert (tokens[n - 1] == tokenizer.eos_token_id) == finished
        assert tokenizer.eos_token_id not in tokens[: n - 1]
        assert finished or n == 40


def test_responses_that_end_with_their_first_token_leave_the_others_as_they_are(policy, tokenizer, prompts):
    whole = sample(policy, tokenizer, prompts)
    first = whole.responses[:, 0].mode().values.item()  # ends several responses at once, before the others go on
    seeds = [sample_seed(0, i, j) for i in range(len(prompts)) for j in range(4)]
    r = generate(policy, prompts, seeds, 40, {tokenizer.eos_token_id, first})
    assert (r.mask.sum(1) == 1).sum() > 2 and (r.mask.sum(1) > 1).any()
    for row in range(len(seeds)):
        n = int(r.mask[row].sum())
        assert r.responses[row, :n].tolist() == whole.responses[row, :n].tolist()


def test_greedy_sampling_matches_model_generate(policy, tokenizer, prompts):
    r = sample(policy, tokenizer, prompts, samples=1, temperature=0)
    for prompt, tokens, mask in zip(prompts, r.responses, r.mask):
        want = policy.lm.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=40, do_sample=False
        )
        assert tokens[mask].tolist() == want[0, len(prompt) :].tolist()


def test_inverse_cdf_inverts_the_distribution_on_a_grid_of_u():
    p = torch.tensor([0.1, 0.0, 0.6, 0.3, 0.0])
    u = torch.tensor([0.0, 0.0999, 0.1001, 0.6999, 0.7001, 1 - 2**-53], dtype=torch.float64)
    tokens = inverse_cdf(p.log().expand(6, 5), u)
    assert tokens.tolist() == [0, 0, 2, 2, 3, 3]  # tokens of probability 0 never, not even at the ends


def test_samples_follow_temperature_and_top_p():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    u = uniforms([sample_seed("u")], 40_000)[0]
    for temperature, top_p in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.9), (2.0, 0.6)):
        p = (logits / temperature).softmax(-1)
        keep = p.cumsum(-1) - p < top_p  # logits are sorted here
        want = (p * keep) / (p * keep).sum()
        got = inverse_cdf(logits.expand(len(u), 4), u, temperature, top_p).bincount(minlength=4) / len(u)
        assert (got - want).abs().max() < 4 * (0.25 / len(u)) ** 0.5
        assert (got[~keep] == 0).all()


def test_seeds_depend_on_every_part_of_their_key():
    keys = [(s, t, p, j) for s in range(3) for t in range(3) for p in range(3) for j in range(3)]
    assert len({sample_seed(*k) for k in keys}) == len(keys)
    assert sample_seed(1, 11) != sample_seed(11, 1) and 0 <= sample_seed(1) < 2**63


def test_micro_batches_hold_every_row_once_with_all_that_belongs_to_it_and_keep_to_the_budget(policy, tokenizer, prompts):
    r = sample(policy, tokenizer, prompts, keep_states=True)
    r.advantages = torch.randn(r.mask.shape)
    rows = torch.randperm(len(r.mask), generator=torch.Generator().manual_seed(0))[:-3]
    found, budget = [], 300
    for chosen, part in r.micro_batches(budget, rows):
        assert part.ids.numel() <= budget or len(chosen) == 1
        assert part.states is None and part.old_logprobs is None  # too large to copy; not there
        found += chosen.tolist()
        for i, row in enumerate(chosen.tolist()):
            assert part.responses[i][part.mask[i]].tolist() == r.responses[row][r.mask[row]].tolist()
            assert part.ids[i][part.attention[i] == 1].tolist() == r.ids[row][r.attention[row] == 1].tolist()
            assert part.finished[i] == r.finished[row]
            for name in ("logprobs", "entropy", "advantages"):
                assert torch.equal(getattr(part, name)[i][part.mask[i]], getattr(r, name)[row][r.mask[row]])
    assert sorted(found) == sorted(rows.tolist())
    assert sorted(i for chosen, _ in r.micro_batches(budget) for i in chosen.tolist()) == list(range(len(r.mask)))


@pytest.mark.parametrize("budget", [1, 7, 20, 21, 1000])
def test_runs_of_similar_length_are_as_long_as_the_budget_allows(budget):
    g = torch.Generator().manual_seed(0)
    prompts, responses = torch.randint(1, 9, (2, 30), generator=g).tolist()
    runs = runs_of_similar_length(prompts, responses, budget)
    padded = lambda run: (max(prompts[i] for i in run) + max(responses[i] for i in run)) * len(run)
    assert sorted(i for run in runs for i in run) == list(range(30))
    assert all(padded(run) <= budget or len(run) == 1 for run in runs)
    for run, following in zip(runs, runs[1:]):
        assert padded([*run, following[0]]) > budget  # one more would not have fitted
    lengths = [prompts[i] + responses[i] for run in runs for i in run]
    assert lengths == sorted(lengths)


def test_micro_batching_does_not_change_scores(policy, tokenizer, prompts):
    r = sample(policy, tokenizer, prompts)
    for one, other in zip(score(policy, r, max_tokens=10**9), score(policy, r, max_tokens=1)):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


def test_score_logprobs_are_those_of_score(policy, tokenizer, prompts):
    r = sample(policy, tokenizer, prompts)
    want = score(policy, r, temperature=0.7, max_tokens=300)[0]
    assert torch.equal(score_logprobs(policy, r, temperature=0.7, max_tokens=300), want)


def test_a_model_that_changes_its_logits_in_an_unknown_way_is_refused(policy):
    check_family(policy)
    policy.lm.lm_head.register_forward_hook(lambda module, args, out: out * (1.0 if args[0].dim() == 2 else 3.0))
    with pytest.raises(ValueError, match="LlamaForCausalLM"):
        check_family(policy)


def test_bad_input_is_refused(policy):
    with pytest.raises(ValueError, match="prompts"):
        generate(policy, [[1], []], [0, 1], 5, {0})
    with pytest.raises(ValueError, match="max_new_tokens"):
        generate(policy, [[1]], [0], 0, {0})


def test_the_states_of_any_layer_can_be_looked_at_and_log_probs_do_not_change(policy, tokenizer, prompts):
    r = sample(policy, tokenizer, prompts)
    want = score(policy, r)[0]
    P = r.ids.shape[1] - r.mask.shape[1]
    i = int(r.attention[:, :P].all(1).nonzero()[0])  # a row without padding before it
    n = int(r.mask[i].sum())
    hidden_states = policy.lm(r.ids[i : i + 1], output_hidden_states=True).hidden_states
    for layer in (0, 1, 2):
        looked = Policy(policy.lm, layer)
        logp, _, states = score(looked, r)
        assert torch.equal(logp, want)
        torch.testing.assert_close(states[i, :n], hidden_states[layer][0, P - 1 : P - 1 + n], atol=1e-4, rtol=1e-4)
        again = sample(looked, tokenizer, prompts, keep_states=True)
        torch.testing.assert_close(again.states, states, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="layer 3"):
        Policy(policy.lm, 3)
