"""The model families that people train, each as a small random model: our log-probs, samples and checkpoints of it.

The oracle is the model's own forward and `generate`. Windows of sliding attention are shorter than the sequences.
"""

import pytest
import torch
import transformers

import toy
from engine import batch
from engine.batch import sample_seed
from engine.checkpoints import save_checkpoint
from engine.models import blocks, check_family
from engine.parallel import World
from rollout import Policy, generate, score

WINDOW = 8  # tokens that a sliding layer sees, fewer than the prompts have
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
LINEAR = ["linear_attention", "full_attention", "linear_attention"]
DELTA = dict(
    layer_types=LINEAR, linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4
)
MAMBA = dict(mamba_n_heads=8, mamba_d_head=16, mamba_n_groups=1, mamba_d_state=8, mamba_chunk_size=16, mamba_expand=2)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2)
ROUTED = dict(
    n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, n_group=1, topk_group=1, moe_intermediate_size=32,
    first_k_dense_replace=1,
)  # fmt: skip
MLA = dict(  # keys and values that are compressed, and of different widths
    num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=12,
    head_dim=8,
)  # fmt: skip
FAMILIES = {
    "Llama": {},
    "Qwen2": {},
    "Qwen2, sliding": dict(use_sliding_window=True, sliding_window=WINDOW, layer_types=KINDS),
    "Qwen3": {},
    "Mistral": dict(sliding_window=WINDOW),
    "Gemma2": dict(sliding_window=WINDOW, layer_types=KINDS, final_logit_softcapping=3.0, query_pre_attn_scalar=16),
    "Gemma3": dict(sliding_window=WINDOW, layer_types=KINDS, query_pre_attn_scalar=16),
    "GPTNeo": dict(attention_types=[[["global"], 3]]),  # learnt positions: a shift of all of them shows
    "Granite": dict(logits_scaling=3.0, embedding_multiplier=2.0, residual_multiplier=0.7),
    "Cohere": dict(logit_scale=0.5),
    "Cohere2": dict(logit_scale=0.5, sliding_window=WINDOW, layer_types=KINDS),
    # Linear attention, state spaces or short convolutions beside full attention.
    "Qwen3Next": dict(**DELTA, **EXPERTS, moe_intermediate_size=32, shared_expert_intermediate_size=32),
    "Qwen3_5": DELTA,
    "Lfm2": dict(layer_types=["conv", "full_attention", "conv"], block_auto_adjust_ff_dim=False),
    "GraniteMoeHybrid": dict(
        **MAMBA, layer_types=["mamba", "attention", "mamba"], num_local_experts=4, num_experts_per_tok=2,
        shared_intermediate_size=48, logits_scaling=3.0,
    ),
    "Bamba": dict(**MAMBA, attn_layer_indices=[1]),
    "Jamba": dict(
        **EXPERTS, attn_layer_period=3, attn_layer_offset=1, mamba_d_state=8, mamba_dt_rank=8, use_mamba_kernels=False
    ),
    "DeepseekV2": MLA | ROUTED,
    "DeepseekV3": MLA | ROUTED,
    "MiniCPM3": dict(**MLA, scale_emb=1, dim_model_base=32),
}  # fmt: skip
TIED_ONLY = ("Cohere", "Cohere2")
HYBRID = ("Qwen3Next", "Qwen3_5", "Lfm2", "GraniteMoeHybrid", "Bamba", "Jamba")
LATENT = ("DeepseekV2", "DeepseekV3", "MiniCPM3")
EACH = [(name, tied) for name in FAMILIES for tied in (True, False)]
EACH = [(name, tied) for name, tied in EACH if tied or name not in TIED_ONLY]
EACH = [(name, tied) for name, tied in EACH if not tied or name not in HYBRID + LATENT]


def class_of(name, suffix):
    """A class of a family, such as LlamaForCausalLM. Some of these are not in every version of transformers."""
    found = getattr(transformers, name.split(",")[0] + suffix, None)
    if found is None:
        pytest.skip(f"transformers {transformers.__version__} has no {name}{suffix}")
    return found


def config_of(name, tied, tokenizer):
    config = class_of(name, "TextConfig" if name in ("Gemma3", "Qwen3_5", "Llama4") else "Config")
    common = dict(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=128, tie_word_embeddings=tied, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return config(**common | FAMILIES.get(name, {}))


def model_of(name, tied, tokenizer):
    """A random model with distributions that are far from uniform."""
    torch.manual_seed(0)
    model = class_of(name, "ForCausalLM")(config_of(name, tied, tokenizer)).eval()
    with torch.no_grad():  # norms that are not the identity; logits far from uniform, those of a cap in its bend
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(0.3 * torch.randn_like(weight))
        head = model.get_output_embeddings().weight
        if tied:
            head.mul_(4)
        else:
            head.normal_(std=0.3)
            model.get_input_embeddings().weight.normal_(std=0.3)
    return model


@pytest.fixture(params=EACH, ids=[f"{name} {'tied' if tied else 'untied'}" for name, tied in EACH])
def policy(request, tokenizer):
    name, tied = request.param
    return Policy(model_of(name, tied, tokenizer))


@pytest.fixture
def prompts(tokenizer):
    """Four prompts of lengths 8 to 25, so that most are left-padded and most are longer than the window."""
    return [tokenizer.encode(toy.problems(level, 1, seed=0)[0][0]) for level in (1, 3, 5, 6)]


def sample(policy, tokenizer, prompts, samples=4, length=24, stops=(8, 15), **other):
    """Two of 23 tokens end a response, so that lengths differ much."""
    seeds = [sample_seed(0, i, j) for i in range(len(prompts)) for j in range(samples)]
    return generate(policy, prompts, seeds, length, set(stops), **other)


def test_log_probs_are_those_of_the_models_own_logits(policy, tokenizer, prompts):
    check_family(policy)
    assert len(set(map(len, prompts))) > 1 and max(map(len, prompts)) > WINDOW
    r = sample(policy, tokenizer, prompts)
    logp, entropy, states = policy(r.ids, r.attention, targets=r.responses, temperature=0.8)
    for i in range(0, len(r.mask), 3):
        prompt, n = prompts[i // 4], int(r.mask[i].sum())
        ids = torch.tensor([prompt + r.responses[i, :n].tolist()])  # alone and without padding
        want = (policy.lm(input_ids=ids).logits[0, len(prompt) - 1 : -1].double() / 0.8).log_softmax(-1)  # [n, V]
        own = want.gather(-1, r.responses[i, :n, None])[:, 0]
        torch.testing.assert_close(logp[i, :n].double(), own, atol=1e-4, rtol=0)
        torch.testing.assert_close(entropy[i, :n].double(), -(want.exp() * want).sum(-1), atol=1e-4, rtol=0)
    assert states.shape == (*r.mask.shape, 64) and logp[r.mask].std() > 0.3  # far from uniform


def test_what_the_sampler_saw_is_what_score_gives_while_rows_leave_the_batch(policy, tokenizer, prompts):
    r = sample(policy, tokenizer, prompts, keep_states=True)
    lengths = r.mask.sum(1)
    assert len(lengths.unique()) > 3  # rows left at several moments, some of them past the window
    logp, entropy, states = score(policy, r, max_tokens=200)
    torch.testing.assert_close(r.logprobs, logp, atol=1e-4, rtol=0)
    torch.testing.assert_close(r.entropy, entropy.where(r.mask, 0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(r.states, states, atol=1e-4 * states.abs().max().item(), rtol=0)


def test_greedy_samples_are_those_of_model_generate(policy, tokenizer, prompts):
    r = sample(policy, tokenizer, prompts, samples=1, temperature=0, stops={tokenizer.eos_token_id})
    for prompt, tokens, mask in zip(prompts, r.responses, r.mask):
        ids = torch.tensor([prompt])
        want = policy.lm.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        assert tokens[mask].tolist() == want[0, len(prompt) :].tolist()


def test_log_probs_in_pieces_have_the_values_and_gradients_of_one(policy, tokenizer, prompts, monkeypatch):
    r = sample(policy, tokenizer, prompts)
    seen = []
    for numbers in (2**25, 7 * len(tokenizer)):  # all at once, and seven tokens at a time
        monkeypatch.setattr(batch, "LOGITS", numbers)
        policy.zero_grad()
        logp, entropy, _ = policy(r.ids, r.attention, targets=r.responses)
        (logp.sum() + 0.1 * entropy.sum()).backward()
        seen.append((logp, entropy, {k: p.grad.clone() for k, p in policy.named_parameters() if p.grad is not None}))
    for one, pieces in zip(*seen):
        torch.testing.assert_close(pieces, one, atol=1e-4, rtol=1e-4)


def test_its_blocks_are_found(policy):
    model = policy.lm.base_model
    assert blocks(policy) == list(model.h if hasattr(model, "h") else model.layers)


def test_plain_from_pretrained_loads_its_checkpoint(policy, tokenizer, tmp_path):
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    ids = torch.tensor([tokenizer.encode("((7*5)-7)+8=?")])
    policy(ids, torch.ones_like(ids), targets=ids[:, 1:])[0].sum().backward()
    optimizer.step()
    world = World(0, 1, torch.device("cpu"))
    path = save_checkpoint(tmp_path, policy, optimizer, tokenizer, {"step": 1}, {}, 1, world)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(path)
    assert type(loaded) is type(policy.lm)
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, policy.lm(ids).logits)


class Warmed(transformers.LlamaForCausalLM):
    """A family that divides its logits by a number of its own."""

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.logits = out.logits / 1.5
        return out


def test_a_family_that_scales_its_logits_in_a_new_way_is_refused(tokenizer):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="Warmed.*teach engine.models.family_scaling"):
        check_family(Policy(Warmed(config_of("Llama", True, tokenizer)).eval()))
