"""The picture of the README: what effective rank measures, and how it grows along two responses of the shipped model.

    python studies/rank_picture.py                     writes docs/rank.png; pip install matplotlib

Left and middle: 200 states in two dimensions, spread along one direction and along both, with their ER. Right: the
ranks m_j of the prefixes of two responses to one question: one shows all of its work, one skips a line.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "studies")]

from engine.models import load_model  # noqa: E402
from plot import STYLES, pyplot  # noqa: E402
from rank import effective_rank, prefix_ranks  # noqa: E402
from rollout import Policy  # noqa: E402
from toy import BASE, STRIDE  # noqa: E402

QUESTION = "(((7*5)-7)+8)*2=?"
RESPONSES = {
    "shows its work": "7*5=35\n35-7=28\n28+8=36\n36*2=72\n\\boxed{72}",
    "skips a line": "7*5=35\n35-7=28\n28+8=36\n\\boxed{36}",
}


def clouds(count=200, seed=0):
    """{title: states [count, 2]}: along one direction, and along two."""
    z = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turned = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
    thin = z * torch.tensor([1.0, 0.08]) @ turned
    return {"mostly one direction": thin, "two directions": z}


def curves():
    """{title: m_j [K]} of the two responses, from the states that predicted their tokens."""
    model, tokenizer = load_model(str(BASE), torch.device("cpu"))
    policy = Policy(model.eval())
    prompt = tokenizer.encode(QUESTION)
    found = {}
    for title, response in RESPONSES.items():
        answer = [*tokenizer.encode(response), tokenizer.eos_token_id]
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            _, _, z = policy(ids, torch.ones_like(ids), targets=ids[:, len(prompt) :])  # [1, T, D]
        found[title] = prefix_ranks(z[0], STRIDE)
    return found


def draw(out):
    plt = pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.5), layout="constrained")
    for ax, (title, z) in zip(axes, clouds().items()):
        ax.scatter(*z.T, s=4, color=STYLES[1][0], alpha=0.7)
        ax.set_title(f"{title}: ER = {effective_rank(z):.2f}")
        ax.set_xlim(-3.2, 3.2)
        ax.set_ylim(-3.2, 3.2)
        ax.set_aspect("equal")
        ax.set_xticks([])
        ax.set_yticks([])
    for (title, m), (colour, dashes) in zip(curves().items(), STYLES):
        axes[2].plot(range(1, len(m) + 1), m, color=colour, linestyle=dashes, marker="o", markersize=3, label=title)
    axes[2].set_title("rank of the first j strides, m_j")
    axes[2].set_xlabel("j")
    axes[2].legend()
    figure.savefig(out)
    plt.close(figure)


def parse(argv=None):
    parser = argparse.ArgumentParser(description="Draw the picture of effective rank.")
    parser.add_argument("--out", default=str(ROOT / "docs" / "rank.png"), help="file to write")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    try:
        draw(args.out)
    except ModuleNotFoundError as error:
        sys.exit(f"rank_picture.py: {error}")
    print(args.out)


if __name__ == "__main__":
    main()
