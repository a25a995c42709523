"""What bench/gpu.py runs, and what its table should show: reckoned on paper, before any GPU had seen it.

The reckoning is for one H100 SXM, whatever the machine is:

    W = 3.35e12 bytes/s, nominal     F = 4e14 operations/s, bfloat16     F64 = 6.7e13, nominal     c = 0.03 s
    N parameters, D width, L layers, I width of the MLP, V vocabulary, k keys and values of a token and layer
    B responses of at most T tokens, of t on average, behind prompts of P; n_i = T_i - 1; M tokens of a micro-batch

    positions/s of the sampler, at most     W / (2 N)                     each reads all weights once, in bfloat16
    tokens/s, at most                       B t / T times that            a position serves all rows that go on
    seconds of the rollout                  c T                           c: some 28 x 30 kernels launched from Python
    seconds of score                        2 N B (P + t) / F
    seconds of update                       6 N B (P + t) / F             8 N with --recompute
    seconds of rank                         sum_i (n_i^2 D + Q n_i^3 / 3) / F64         fast; Q = 40 nodes
    bytes of the states                     2 B T D
    bytes, rollout                          14 N + 2 L k max_t sum_i [T_i >= t] (P + t) + 2 B T D + 24 B V
                                            float32 weights and AdamW's moments, bfloat16 weights, cache, states, logits
    bytes, score; rank                      14 N + 2 B T D + 16 C; 12 N + 2 B T D + 5 GiB     C = 2^25 logits at a time
    bytes, update                           16 N + 2 V D + M L (26 D + 8 I) + 24 C
                                            recompute: M (2 L D + 26 D + 8 I) for the middle term
    bytes of log-probs, ours; naive         4 (V D + N D) + 16 C; 4 (V D + N D) + 16 N V            here N is tokens
                  with a backward pass      4 (3 V D + 2 N D) + 24 C; 4 (2 V D + 2 N D) + 24 N V

Seconds are bounds from below, but for the rollout's. Operations of spectra are divided by the peak that tensor cores
have in float64, which no eigensolver comes near, and launching their many small kernels is left out; so is attention
(2% at this length) where score and update are reckoned. Limits of the samplers leave out reading the cache.
"""

from dataclasses import dataclass, replace

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from engine.batch import LOGITS
from engine.spectra import CHUNK, NODES

BANDWIDTH, BFLOAT16, FLOAT64 = 3.35e12, 4e14, 6.7e13  # W, F, F64 of the docstring
LAUNCHING = 0.03  # c: seconds of a position of 28 layers, of which a GPU at 128 rows needs a few milliseconds
VERIFYING = 1e-4  # seconds of a response: docs/costs.md
GIB = 2**30


# Sizes


@dataclass(frozen=True)
class Shape:
    """A family's shape, and how its step is cut so that it fits 80 GB."""

    title: str
    config: type
    width: int
    layers: int
    heads: int
    key_heads: int
    mlp: int
    vocabulary: int
    new_tokens: int
    micro_tokens: int
    recompute: bool = False

    def make_config(self):
        return self.config(
            vocab_size=self.vocabulary, hidden_size=self.width, intermediate_size=self.mlp,
            num_hidden_layers=self.layers, num_attention_heads=self.heads, num_key_value_heads=self.key_heads,
            head_dim=self.width // self.heads, max_position_embeddings=4096, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=None, pad_token_id=None,
        )  # fmt: skip

    def parameters(self):
        with torch.device("meta"):  # shapes without memory
            return AutoModelForCausalLM.from_config(self.make_config()).num_parameters()


@dataclass(frozen=True)
class Sizes:
    """How much is measured; each number is an option of bench/gpu.py."""

    shapes: dict
    spectra_cells: tuple  # (T, D) beside the large one
    memory_tokens: tuple
    toy_options: tuple = ()
    toy_steps: int = 20
    spectra_responses: int = 384
    spectra_tokens: int = 1536
    spectra_width: int = 3584
    spectra_window: int = 512
    spectra_stride: int = 40
    cell_responses: int = 32
    patience: float = 3.0  # seconds for which one timing of the spectra may go on growing
    prompts: int = 16
    group: int = 8
    prompt_tokens: int = 256
    mean_tokens: int = 600  # of at most 1536, and in proportion where fewer are allowed
    sampler_tokens: int = 256
    rollout_seconds: float = 60.0  # a rollout that would take longer has fewer tokens
    copy_mib: int = 2048
    matrix: int = 8192

    def mean_of(self, longest):
        """t: the mean length that stop ids are chosen for."""
        return self.mean_tokens * longest / max(shape.new_tokens for shape in self.shapes.values())


QWEN = Shape("Qwen2.5-1.5B", Qwen2Config, 1536, 28, 12, 2, 8960, 151936, new_tokens=1536, micro_tokens=8192)
LLAMA = Shape("Llama-3.2-3B", LlamaConfig, 3072, 28, 24, 8, 8192, 128256, 768, 8192, recompute=True)
CELLS = ((256, 896), (512, 1536), (1536, 1536), (512, 3584))
FULL = Sizes({"qwen": QWEN, "llama": LLAMA}, CELLS, memory_tokens=(8192, 32768))
TINY = dict(width=32, layers=2, heads=2, key_heads=1, mlp=64, vocabulary=257, new_tokens=24, micro_tokens=128)
SMALL = Sizes(
    {name: replace(shape, **TINY) for name, shape in FULL.shapes.items()},
    spectra_cells=((48, 64), (96, 16)), memory_tokens=(64,), toy_steps=4,
    toy_options=tuple("--prompts 4 --group 4 --max_new_tokens 24".split()),
    spectra_responses=6, spectra_tokens=96, spectra_width=128, spectra_window=48, spectra_stride=8, cell_responses=4,
    patience=0.2, prompts=4, group=2, prompt_tokens=8, mean_tokens=12, sampler_tokens=12, copy_mib=8, matrix=128,
)  # fmt: skip


def spectra_cases(sizes):
    """(T, D, responses, window) of all timings, the longest last: if it is stopped, the others are there."""
    cells = [(T, D, sizes.cell_responses, None) for T, D in sizes.spectra_cells]
    large = sizes.spectra_tokens, sizes.spectra_width, sizes.spectra_responses
    return [*cells, (*large, sizes.spectra_window), (*large, None)]


def spectra_name(T, D, window):
    return f"{T} x {D}" + (f", window {window}" if window else "")


# The reckoning


def stop_share(mean, longest):
    """The chance of a token to be the last for which responses of at most `longest` tokens have this mean length."""
    low, high = 1e-9, 1.0
    for _ in range(60):
        share = (low + high) / 2
        lengthier = (1 - (1 - share) ** longest) / share > mean  # the mean of a geometric length, cut
        if lengthier:
            low = share
        else:
            high = share
    return high


def likely_lengths(count, mean, longest):
    """So many lengths, evenly spread over the distribution of such responses, longest first."""
    whole = torch.arange(1, longest + 1)
    still_going = (1 - stop_share(mean, longest)) ** (whole - 1)  # the share that has a token number 1, 2, ..
    ranks = (torch.arange(count) + 0.5) / count
    return [int((still_going >= rank).sum()) for rank in ranks]


def spectra_operations(T, D, stride, window, method):
    """Operations of the rank metrics of one response: engine/spectra.py, points 3 and 4."""

    def solved(sizes):
        n = max(sizes, default=0)
        gram = n * n * D
        if method == "fast":
            # One factorisation for each node serves all sizes.
            return gram + NODES * n**3 / 3
        return gram + sum(4 / 3 * min(size, D) ** 3 for size in sizes)

    # Without a window the whole response is the last of the blocks; with one it is a problem of its own.
    whole = T - 1
    if window is None:
        return solved([*range(stride, whole, stride), whole])
    prefixes = range(stride, min(T, window), stride)
    return solved([whole]) + solved(prefixes)


def reckon_spectra(sizes):
    found = {}
    for T, D, count, window in spectra_cases(sizes):
        name = spectra_name(T, D, window)
        if window is None:
            found[f"states of {count} x {name}"] = 2 * count * T * D / GIB, "GiB"

        # Seconds, and what engine/spectra.py promises of the errors.
        seconds = {}
        for method, error in (("fast", 1e-6), ("exact", 1e-11)):
            operations = count * spectra_operations(T, D, sizes.spectra_stride, window, method)
            seconds[method] = operations / FLOAT64
            found[f"{name}: {method}, {count} responses"] = seconds[method], "s"
            found[f"{name}: {method}, largest relative error"] = error, ""
        found[f"{name}: exact over fast"] = seconds["exact"] / seconds["fast"], "times"
    return found


def reckon_memory(sizes):
    shape, found = sizes.shapes["qwen"], {}
    D, V = shape.width, shape.vocabulary
    for n in sizes.memory_tokens:
        # The LM head and the states; how many logits there are at a time.
        given = V * D + n * D
        ours, naive = min(n * V, LOGITS), n * V
        numbers = {
            f"score of {n} tokens, ours": given + 4 * ours,  # logits, log-probs, probabilities, their product
            f"score of {n} tokens, naive": given + 4 * naive,
            f"update of {n} tokens, ours": 2 * given + V * D + 6 * ours,  # gradients; a piece's, before it is added
            f"update of {n} tokens, naive": 2 * given + 6 * naive,
        }
        for what, number in numbers.items():
            found[what] = 4 * number / GIB, "GiB"
    return found


def reckon_step(sizes, name):
    """The rows of one training step of a shape; letters as in the docstring of this file."""
    shape = sizes.shapes[name]
    N, D, L, I, V = shape.parameters(), shape.width, shape.layers, shape.mlp, shape.vocabulary
    B, P, T, M = sizes.prompts * sizes.group, sizes.prompt_tokens, shape.new_tokens, shape.micro_tokens
    lengths = likely_lengths(B, sizes.mean_of(T), T)
    tokens = B * P + sum(lengths)  # B (P + t)

    # Seconds
    seconds = {"rollout": LAUNCHING * T, "verify": VERIFYING * B, "score": 2 * N * tokens / BFLOAT16}
    operations = [spectra_operations(t, D, sizes.spectra_stride, None, "fast") for t in lengths if t > 1]
    seconds["rank"] = sum(operations) / FLOAT64
    passes = 8 if shape.recompute else 6  # forward, backward twice as much, and forward again
    seconds["update"] = passes * N * tokens / BFLOAT16
    whole = sum(seconds.values())
    found = {phase: (value, "s") for phase, value in seconds.items()}
    found["whole step"] = whole, "s"
    found["VERL's share of it (rank)"] = 100 * seconds["rank"] / whole, "%"

    # What the sampler could do if reading weights were all its work
    positions = BANDWIDTH / (2 * N)
    found["tokens sampled"] = sum(lengths), ""
    found["positions (longest response)"] = max(lengths), ""
    found["positions a second"] = positions, "1/s"
    found["tokens a second"] = positions * sum(lengths) / max(lengths), "1/s"

    # Bytes
    head_width = D // shape.heads
    k = 2 * shape.key_heads * head_width
    cached = max((i + 1) * (P + t) for i, t in enumerate(lengths))  # the i + 1 longest go on until token t
    states = 2 * B * T * D
    kept = M * L * (26 * D + 8 * I)
    if shape.recompute:
        kept = M * (2 * L * D + 26 * D + 8 * I)  # each block's input, and one block at a time
    found["peak of rollout"] = (14 * N + 2 * L * k * cached + states + 24 * B * V) / GIB, "GiB"
    found["peak of score"] = (14 * N + states + 16 * LOGITS) / GIB, "GiB"
    found["peak of rank"] = (12 * N + states + 5 * CHUNK["cuda"]) / GIB, "GiB"
    found["peak of update"] = (16 * N + 2 * V * D + kept + 24 * LOGITS) / GIB, "GiB"
    found["states kept"] = states / GIB, "GiB"
    found["parameters"] = N / 1e9, "10^9"
    found["FSDP2 modules"] = L + 1, ""
    return found


def reckon_sampler(sizes):
    found = {}
    B, T = sizes.prompts * sizes.group, sizes.sampler_tokens
    N = sizes.shapes["qwen"].parameters()
    limit = BANDWIDTH / (2 * N)  # positions a second
    lengths = likely_lengths(B, sizes.mean_of(T), T)
    for case, tokens in (("ragged", sum(lengths)), ("equal", B * T)):
        for sampler in ("ours", "generate", "generate_batch"):
            found[f"{case} lengths, {sampler}: tokens a second"] = limit * tokens / T, "1/s"
    found["positions a second at the measured bandwidth"] = limit, "1/s"
    return found


def reckon(sizes):
    """{part: {row: (number or None, unit)}} of all rows that are expected."""
    half = sizes.toy_steps // 2
    return {
        "device": {
            "memory, read and written by a copy": (BANDWIDTH / 1e12, "TB/s"),
            "bfloat16 matrix product": (BFLOAT16 / 1e12, "TFLOP/s"),
            "float64 matrix product": (FLOAT64 / 1e12, "TFLOP/s"),
        },
        "toy": {
            "reward, first step": (0.125, ""),  # both as on the CPU, where the steps are 20
            "reward, mean of the last five": (0.762, ""),
            "seconds a step, median": (1.0, "s"),
            "sampler's against scorer's log-probs, mean difference": (1e-2, "nats"),
            f"weights after {half} steps, run twice: largest difference": (0.0, ""),
            f"weights after {sizes.toy_steps}, resumed at {half}: largest difference": (0.0, ""),
        },
        "spectra": reckon_spectra(sizes),
        "memory": reckon_memory(sizes),
        "sampler": reckon_sampler(sizes),
        "qwen": reckon_step(sizes, "qwen"),
        "llama": reckon_step(sizes, "llama"),
    }
