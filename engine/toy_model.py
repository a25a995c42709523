"""The tiny model of toy.py, made from scratch (17 minutes of one core; seed 0 is the one that is shipped):

    python -m engine.toy_model --out toy_base

It first learns full working, then demonstrations that leave lines out. At temperature 1 the shipped base solves 5 to 9%
of the problems of level 4 with one sample and 30 to 47% with eight (three sampling seeds), and 85.7% after
`python train.py`. Bases made with `--seed 1` and `--seed 2` solve 9.6 and 9.4%, and 91.6 and 89.8% after it.
"""

import argparse
import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import toy


def make_tokenizer():
    """One token a character, `\\boxed` one token; anything else becomes <unk>. pad is eos, as in many models."""
    tokens = ["<eos>", "<unk>", "\\boxed", *"\n0123456789+-*=()?{}"]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\\boxed|[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>")


def make_model(tokenizer, seed: int):
    """A Llama of 162k parameters (width 64, 3 layers, 4 heads), random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def response(steps, shown=None):
    """The working of a chain (toy.chain) and its box; `shown` says which lines are written, all by default."""
    if shown is None:
        shown = [True] * len(steps)
    lines = [f"{s.left}{s.op}{s.right}={s.value}" for s, show in zip(steps, shown, strict=True) if show]
    return "\n".join([*lines, f"\\boxed{{{steps[-1].value}}}"])


def warm_up(model, tokenizer, steps: int, keep: float, seed: int, lr: float = 3e-3, batch: int = 128):
    """Supervised learning on demonstrations that show each line with probability `keep`; yields the loss of each step.

    Chains have 1 to 8 operators and any start, so the base knows every number and length that a level may ask for.
    """
    rng = random.Random(f"warm-up {seed} {keep}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        rows = []
        for _ in range(batch):
            done = toy.chain(rng, rng.randint(1, 8), (2, 60))
            shown = [rng.random() < keep for _ in done]
            rows.append((tokenizer.encode(toy.question(done)), tokenizer.encode(response(done, shown) + "<eos>")))
        width = max(len(p) + len(r) for p, r in rows)
        ids = torch.full((batch, width), tokenizer.pad_token_id)  # [batch, width]
        labels = torch.full((batch, width), -100)
        for i, (p, r) in enumerate(rows):
            ids[i, : len(p) + len(r)] = torch.tensor(p + r)
            labels[i, len(p) : len(p) + len(r)] = torch.tensor(r)
        logits = model(input_ids=ids).logits  # [batch, width, V]; padding is on the right, so causality hides it
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield loss.item()


def main():
    parser = argparse.ArgumentParser(description="Make the base model of the toy task again, from scratch.")
    parser.add_argument("--out", required=True, help="folder to write the model and its tokenizer to")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and demonstrations")
    parser.add_argument("--steps", type=int, default=2000, help="steps with full working")
    parser.add_argument("--skip_steps", type=int, default=200, help="steps with demonstrations that skip lines")
    parser.add_argument("--keep", type=float, default=0.86, help="share of lines that those demonstrations show")
    args = parser.parse_args()

    tokenizer = make_tokenizer()
    model = make_model(tokenizer, args.seed)
    for steps, keep, lr in ((args.steps, 1.0, 3e-3), (args.skip_steps, args.keep, 1e-3)):
        bar = tqdm(warm_up(model, tokenizer, steps, keep, args.seed, lr), total=steps, desc=f"keep {keep:g}")
        for loss in bar:
            bar.set_postfix(loss=f"{loss:.3f}")
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (Path(args.out) / "run.json").write_text(json.dumps({"template": "plain"}))


if __name__ == "__main__":
    main()
