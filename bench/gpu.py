"""One command for one GPU: does training work there, what do its parts cost, how far are they from the limits?

    python bench/gpu.py --out gpu.json       at most 8 minutes on one H100 (80 GB)
    python bench/gpu.py --small              tiny sizes, on the CPU where there is no GPU: a dry run
    python bench/gpu.py --reckon             the column "reckoned" alone; runs nothing

The parts, each in a process of its own, so that none leaves memory or a process group to the next:

    device    bytes a second of a large copy, operations a second of matrix products
    toy       train.py on the toy (on a GPU: FSDP2 on one process, bfloat16 blocks): does it learn, and --resume?
    spectra   rank metrics of made-up bfloat16 states, exact and fast, with a window and without, and their errors
    memory    log-probs of N tokens in pieces, as we do it, and from all logits at once (bench/memory.py)
    sampler   ours beside transformers' generate and generate_batch, on a plain bfloat16 model
    qwen      one training step with VERL of Qwen2.5-1.5B's shape, by phase
    llama     the same of Llama-3.2-3B's shape

Weights are random, so no response would end by itself. A seeded choice of ids stops responses: so many that the mean
length is 600 of at most 1536 tokens, and in proportion where fewer are allowed. The step has the paper's recipe without
the KL reference; its reward is a coin that the response's text decides.

The column "reckoned" is what bench/gpu_reckoning.py expects of one H100, whatever the machine is; its formulas stand
there. "The limit" of a sampler is that all weights are read once for each position, at the bandwidth of a large copy.

How it differs from the other benches. They compare two ways in turn, on a machine at hand. This one is for a machine
that is lent for minutes: whatever goes wrong is a row with the error, and the rest goes on. A part that takes more than
its share of the time is stopped, and its rows so far stay.
"""

import argparse
import contextlib
import functools
import gc
import json
import math
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import train
from bench import memory
from bench.gpu_reckoning import FULL, GIB, SMALL, Sizes, reckon, spectra_cases, spectra_name, stop_share
from bench.rank import high_water, worst
from engine import parallel, runs
from engine.batch import fingerprint, sample_seed
from engine.checkpoints import last_checkpoint, read_weights
from engine.config import TrainConfig, complete_train
from engine.data import Problem
from engine.models import recompute
from engine.spectra import cheaper_method
from engine.state import State
from rank import acceleration, effective_rank, prefix_ranks, rank_metrics, velocity
from rollout import Policy, generate

# Rows


def row(part, what, reckoned=None, measured=None, unit="", note="", error=None):
    """A row of the table: a line of the part's file, an entry of the JSON file."""
    return dict(part=part, what=what, reckoned=reckoned, measured=measured, unit=unit, note=note, error=error)


class Rows:
    """The rows of a part, on the disk as they come: what it has found before it is stopped stays."""

    def __init__(self, part, path, expected):
        self.part, self.path, self.expected = part, path, expected

    def add(self, what, measured=None, note="", error=None, unit=""):
        """Write a row; beside a number that was reckoned stands the reckoning, in whose unit both are."""
        reckoned, unit = self.expected.get(what, (None, unit))
        runs.append_line(self.path, row(self.part, what, reckoned, measured, unit, note, error))

    @contextlib.contextmanager
    def guard(self, what):
        """Where what is measured inside fails, that is a row, and the part goes on."""
        try:
            yield
        except Exception as error:  # a GPU, its libraries and the model may raise anything: the row says what
            self.add(what, error=first_line(error))
        # Only now, since the error's frames hold tensors.
        gc.collect()
        torch.cuda.empty_cache()


def first_line(error):
    said = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {said[:200]}"


def said(value):
    """A number with three digits that count; words as they are."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    size = abs(value)
    if value and not 1e-3 <= size < 1e9:
        return f"{value:.1e}"
    if value % 1 == 0 or size >= 100:
        return f"{value:,.0f}"
    decimals = 2 - math.floor(math.log10(size))
    return f"{value:.{decimals}f}"


def table(rows):
    """Lines of a table that reads as text and as Markdown."""
    lines = [["part", "what", "reckoned", "measured", "unit", "note"]]
    for r in rows:
        note = f"FAILED {r['error']}" if r["error"] else r["note"]
        note = note.replace("|", "/")  # which would end the cell
        lines.append([r["part"], r["what"], said(r["reckoned"]), said(r["measured"]), r["unit"], note])

    # Columns of equal width, but for the notes, which end the line.
    widths = [max(map(len, column)) for column in zip(*lines)]
    widths[-1] = 0
    rule = ["-" * max(3, width) for width in widths]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths)] for line in [lines[0], rule, *lines[1:]]]
    return [f"| {' | '.join(cells)} |" for cells in padded]


# Clocks and meters


def settle(device):
    """Wait until the device has done all its work: a GPU only queues what Python asks for."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(work, device):
    """(result, seconds) of work()."""
    settle(device)
    began = time.perf_counter()
    result = work()
    settle(device)
    return result, time.perf_counter() - began


def forget_peak(device):
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak(device):
    """GiB at most since forget_peak: of tensors on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / GIB
    return high_water() / 1024


def bandwidth(sizes, device):
    """Bytes a second that a copy reads and writes; ten copies, so that starting them does not count."""
    source = torch.ones(sizes.copy_mib << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)  # memory that was never touched is slow
    _, seconds = timed(lambda: [target.copy_(source) for _ in range(10)], device)
    return 10 * 2 * source.numel() / seconds


def device_part(rows, sizes, device):
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        rows.add("GPU", about.name, f"{about.total_memory / GIB:.1f} GiB, CUDA {torch.version.cuda}")
    else:
        rows.add("GPU", "none")
    rows.add("memory, read and written by a copy", bandwidth(sizes, device) / 1e12)

    # Float64 is what spectra are computed in; it is slower, so its matrix is smaller.
    for dtype, n in ((torch.bfloat16, sizes.matrix), (torch.float64, sizes.matrix // 2)):
        name = str(dtype).removeprefix("torch.")
        with rows.guard(f"{name} matrix product"):
            a = torch.randn(n, n, device=device).to(dtype)
            a @ a  # the first call loads the library
            _, seconds = timed(lambda: [a @ a for _ in range(10)], device)
            operations = 10 * 2 * n**3
            rows.add(f"{name} matrix product", operations / seconds / 1e12, f"{n} x {n}")


# The toy


def toy_part(rows, sizes, device):
    steps, half = sizes.toy_steps, sizes.toy_steps // 2
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / "whole", Path(folder) / "cut"
        options = ["--bench", "none", "--save_every", str(half), *sizes.toy_options]

        def run(out, until, *more):
            program = [sys.executable, str(ROOT / "train.py")]
            command = [*program, *options, "--steps", str(until), "--out", str(out), *more]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                last = done.stderr.strip().rpartition("\n")[2]  # of a traceback, the error
                raise RuntimeError(f"train.py --steps {until}: {last}")

        # Does it learn? On a GPU sampler and scorer compute in bfloat16, in another order: their gap shows it.
        _, seconds = timed(lambda: run(whole, steps), device)
        lines = runs.read_metrics(whole)
        last = [line["reward"] for line in lines[-5:]]
        rows.add("reward, first step", lines[0]["reward"])
        rows.add("reward, mean of the last five", statistics.mean(last), f"after {steps} steps, {seconds:.0f} s in all")
        rows.add("seconds a step, median", statistics.median(line["step_seconds"] for line in lines))
        gaps = [line["sampler_gap"] for line in lines]
        rows.add(
            "sampler's against scorer's log-probs, mean difference", statistics.mean(gaps), "float32 on a CPU: 1e-7"
        )

        # The same again, stopped half-way: what differs by then is the device's own, and no fault of --resume.
        run(cut, half)
        twice = largest_difference(whole / f"checkpoint-{half}", last_checkpoint(cut))
        rows.add(f"weights after {half} steps, run twice: largest difference", twice, "sums on a GPU may change order")
        run(cut, steps, "--resume")
        resumed = largest_difference(last_checkpoint(whole), last_checkpoint(cut))
        rows.add(f"weights after {steps}, resumed at {half}: largest difference", resumed, "0 if the row above is 0")


def largest_difference(one, other):
    """Of the weights of two checkpoints."""
    a, b = read_weights(one), read_weights(other)
    differences = [(a[name] - b[name]).abs().max().item() for name in a]
    return max(differences)


# Spectra


def clouds(count, T, D, device):
    """Made-up states [count, T, D] in bfloat16: sigma_k ~ 1 / k, two massive directions, as in bench/rank.py."""
    generator = torch.Generator(device).manual_seed(0)
    scale = 1 / torch.arange(1, D + 1, device=device)
    scale[:2] *= 30
    mixing = torch.randn(D, D, generator=generator, device=device) / D**0.5
    hidden = torch.empty(count, T, D, dtype=torch.bfloat16, device=device)
    for i in range(count):
        hidden[i] = torch.randn(T, D, generator=generator, device=device) * scale @ mixing
    return hidden


def spectra_part(rows, sizes, device):
    hidden = None
    for T, D, count, window in spectra_cases(sizes):
        name = spectra_name(T, D, window)
        with rows.guard(name):
            # Cases of one shape share their states. The old ones go before the new ones come: they may be gigabytes.
            if hidden is None or hidden.shape != (count, T, D):
                hidden = None
                hidden = clouds(count, T, D, device)
                rows.add(f"states of {count} x {T} x {D}", hidden.numel() * hidden.element_size() / GIB)
            spectra_case(rows, sizes, hidden, window, name)


def spectra_case(rows, sizes, hidden, window, name):
    """Seconds and errors of both methods, and which of them wins."""
    count, T, D = hidden.shape
    device, stride = hidden.device, sizes.spectra_stride
    mask = torch.ones(count, T, dtype=torch.bool, device=device)

    def work(method, n, tokens=T):
        part = slice(n), slice(tokens)
        return rank_metrics(hidden[part], mask[part], stride, window, method)

    # How long does each method take for all responses? Where that is minutes, some of them stand for all.
    took, found = {}, {}
    for method in ("fast", "exact"):
        with rows.guard(f"{name}: {method}"):
            work(method, 1, T // 4)  # loads libraries
            forget_peak(device)
            found[method], took[method], n = result_of_many(
                functools.partial(work, method), count, sizes.patience, device
            )
            note = f"{'measured' if n == count else 'extrapolated'} from {n}, peak {peak(device):.1f} GiB"
            rows.add(f"{name}: {method}, {count} responses", took[method], note)

    # Which one wins, and does "auto" know?
    if len(took) == 2:
        auto = cheaper_method([*range(stride, T - 1, stride), T - 1], D, device.type == "cuda")
        note = "" if window else f"auto takes {auto}"
        rows.add(f"{name}: exact over fast", took["exact"] / took["fast"], note)

    # The errors against the definition, by float64 SVD on the CPU, of the first response.
    reference = by_definition(hidden[0].cpu(), stride, window)
    for method, metrics in found.items():
        first = {metric: values[:1].cpu() for metric, values in metrics.items()}
        er, changes = worst(first, reference)
        note = f"ER {er:.0e}, ERV and ERA {'-' if changes is None else f'{changes:.0e}'}"
        rows.add(f"{name}: {method}, largest relative error", max(er, changes or 0.0), note)


def by_definition(z, stride, window):
    """(ER, ERV, ERA) of one response z [T, D], as rank.py defines them."""
    m = prefix_ranks(z[-window:] if window else z, stride)
    return effective_rank(z).item(), velocity(m).item(), acceleration(m).item()


def result_of_many(work, count, patience, device):
    """(work(n), seconds of work(count), n): n is the largest of 1, 4, 16 .. count that patience allows."""
    n = 1
    while True:
        result, seconds = timed(functools.partial(work, n), device)
        if n == count or 4 * seconds > patience:
            return result, seconds * count / n, n
        n = min(count, 4 * n)


# Memory of log-probs


def memory_part(rows, sizes, device):
    shape = sizes.shapes["qwen"]
    for n in sizes.memory_tokens:
        for what in ("score", "update"):
            for way in ("ours", "naive"):
                name = f"{what} of {n} tokens, {way}"
                with rows.guard(name):
                    forget_peak(device)
                    before = peak(device)  # what is there now
                    memory.work(what, way, n, shape.width, shape.vocabulary, device)
                    settle(device)
                    rows.add(name, peak(device) - before)


# Samplers


def make_model(shape, device):
    """Random weights, float32."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(shape.make_config())
    model.generation_config = GenerationConfig()  # stops at nothing
    return model.eval()


def random_prompts(sizes, shape):
    draw = random.Random(0)
    return [[draw.randrange(shape.vocabulary) for _ in range(sizes.prompt_tokens)] for _ in range(sizes.prompts)]


def random_stops(sizes, shape, longest):
    """So many ids, by a seeded choice, that random weights make responses of the mean length wanted."""
    count = round(stop_share(sizes.mean_of(longest), longest) * shape.vocabulary)
    return set(random.Random(1).sample(range(shape.vocabulary), max(1, count)))


def sampler_part(rows, sizes, device):
    shape, T = sizes.shapes["qwen"], sizes.sampler_tokens
    model = make_model(shape, device)
    if device.type == "cuda":
        model = model.to(torch.bfloat16)
    prompts, policy = random_prompts(sizes, shape), Policy(model)

    # Each position reads all weights.
    limit = bandwidth(sizes, device) / sum(p.numel() * p.element_size() for p in model.parameters())
    rows.add("positions a second at the measured bandwidth", limit)

    def ours(stops, length, case):
        seeds = [sample_seed(case, i) for i in range(sizes.prompts * sizes.group)]
        return generate(policy, prompts, seeds, length, stops or {-1}).mask.sum().item()

    samplers = {
        "ours": ours,
        "generate": functools.partial(by_generate, model, prompts, sizes.group),
        "generate_batch": functools.partial(by_generate_batch, model, prompts, sizes.group),
    }
    cases = {"ragged": random_stops(sizes, shape, T), "equal": set()}
    # generate_batch is the last: it takes most of the memory, and may leave the model with another attention.
    for sampler, run in samplers.items():
        with rows.guard(f"{sampler}, warm-up"):
            run(set(), min(T, 8), "warm-up")
        for case, stops in cases.items():
            name = f"{case} lengths, {sampler}: tokens a second"
            with rows.guard(name):
                tokens, seconds = timed(lambda: run(stops, T, case), device)
                share = 100 * T / seconds / limit
                rows.add(name, tokens / seconds, f"{tokens} tokens, at most {T} a row; {share:.1f}% of the limit")


def sampling(stops, length, **more):
    """A GenerationConfig that samples as we do."""
    return GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=length, pad_token_id=0,
        eos_token_id=sorted(stops) or None, **more,
    )  # fmt: skip


@torch.no_grad()
def by_generate(model, prompts, group, stops, length, case):
    """Tokens that model.generate samples, the stop included. All prompts have one length."""
    torch.manual_seed(fingerprint(case))
    ids = torch.tensor(prompts, device=model.device)
    config = sampling(stops, length, num_return_sequences=group)
    made = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[:, ids.shape[1] :]
    if not stops:
        return made.numel()

    # What comes after a row's first stop is padding.
    ends = torch.isin(made, torch.tensor(sorted(stops), device=made.device)).long()
    before = ends.cumsum(1) - ends  # [B, T]: stops before each token
    return (before == 0).sum().item()


def by_generate_batch(model, prompts, group, stops, length, case):
    """Tokens of the paged sampler with continuous batching."""
    from transformers.generation.configuration_utils import ContinuousBatchingConfig  # where a version has it

    # Left to itself it takes most of the memory for its cache: right on a GPU, the end of other programs on a CPU.
    cache = None
    if model.device.type == "cpu":
        cache = ContinuousBatchingConfig(num_blocks=32, max_batch_tokens=64)

    # It knows no groups: each prompt goes in once for each of its samples.
    torch.manual_seed(fingerprint(case))
    inputs = [prompt for prompt in prompts for _ in range(group)]
    found = model.generate_batch(
        inputs=inputs, generation_config=sampling(stops, length), continuous_batching_config=cache
    )
    wrong = [result.error for result in found.values() if result.error]
    if wrong or len(found) != len(inputs):
        raise RuntimeError(f"{len(found)} of {len(inputs)} requests came back, {len(wrong)} failed: {wrong[:1]}")
    return sum(len(result.generated_tokens) for result in found.values())


# A training step


class MeasuringClock(runs.Clock):
    """The clock of a step, which writes each phase's seconds and peak memory as the phase ends."""

    def __init__(self, rows, device):
        self.rows, self.device = rows, device
        forget_peak(device)
        super().__init__()

    def lap(self, phase):
        super().lap(phase)
        self.rows.add(phase, self.seconds[phase], unit="s")
        self.rows.add(f"peak of {phase}", peak(self.device), unit="GiB")
        forget_peak(self.device)


def word_tokenizer(vocabulary):
    """A word for each id."""
    words = Tokenizer(models.WordLevel({f"w{i} ": i for i in range(vocabulary)}, unk_token="w0 "))
    words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0 ")


def coin(prompt, response, gold, row):
    """A reward that has nothing to do with the answer, so that groups differ and there is something to learn."""
    return fingerprint(response) % 2


def make_state(shape, sizes, world):
    """A training State with random weights, split as train.py splits them."""
    policy = Policy(make_model(shape, world.device))
    config = complete_train(TrainConfig(
        model=shape.title, prompts=sizes.prompts, group=sizes.group, max_new_tokens=shape.new_tokens, kl_coef=0.0,
        micro_tokens=shape.micro_tokens, recompute=shape.recompute, stride=sizes.spectra_stride, log_samples=0,
    ))  # fmt: skip

    # As in engine/state.py
    if config.recompute:
        recompute(policy)
    parallel.shard(policy, world)
    betas = config.adam_beta1, config.adam_beta2
    optimizer = torch.optim.AdamW(policy.parameters(), config.lr, betas, weight_decay=config.weight_decay)

    # Prompts are random tokens; the question and the gold are there for the verifier.
    problems = [
        (Problem("What is 1 + 1?", "2", "random", f"random-{i}"), prompt)
        for i, prompt in enumerate(random_prompts(sizes, shape))
    ]
    stops = random_stops(sizes, shape, shape.new_tokens)
    return State(config, world, policy, word_tokenizer(shape.vocabulary), problems, 0, stops, coin, optimizer)


def step_part(name, rows, sizes, device):
    shape = sizes.shapes[name]
    limit = bandwidth(sizes, device) / (shape.parameters() * (2 if device.type == "cuda" else 4))
    world = parallel.setup()
    s = make_state(shape, sizes, world)
    sharded = [module for module in s.policy.modules() if hasattr(module, "set_reshard_after_forward")]
    rows.add("parameters", shape.parameters() / 1e9, shape.title)
    rows.add("FSDP2 modules", len(sharded), "0 on a CPU")

    # A short step twice: the first makes the optimizer's state and loads libraries, the second times a position. If a
    # whole rollout would take too long, it gets fewer tokens.
    s.config.max_new_tokens = short = min(16, shape.new_tokens)
    train.train_step(s)
    position = train.train_step(s)["seconds"]["rollout"] / short
    T = min(shape.new_tokens, max(short, int(sizes.rollout_seconds / position)))
    s.config.max_new_tokens = T
    if T < shape.new_tokens:
        rows.add("new tokens", T, f"not {shape.new_tokens}: a position takes {1e3 * position:.0f} ms; reckoned are all")
    gc.collect()
    torch.cuda.empty_cache()

    # The step that counts; its phases write their rows as they end.
    kept = []
    train.runs.Clock = functools.partial(MeasuringClock, rows, device)
    train.generate = functools.partial(kept_generate, kept)
    line = train.train_step(s)
    note = f"{sizes.prompts} x {sizes.group} responses, {s.config.mini_batches} updates"
    rows.add("whole step", line["step_seconds"], note)
    rows.add("VERL's share of it (rank)", 100 * line["seconds"]["rank"] / line["step_seconds"])

    # How far is the sampler from the limit?
    ((longest, dtype, states),) = kept
    seconds = line["seconds"]["rollout"]
    rows.add("tokens sampled", line["tokens"], f"mean {line['length']:.0f}, at most {T}; prompts {sizes.prompt_tokens}")
    rows.add("positions (longest response)", longest)
    share = 100 * longest / seconds / limit
    rows.add("positions a second", longest / seconds, f"{share:.1f}% of {limit:,.0f}, the measured limit")
    rows.add("tokens a second", line["tokens"] / seconds)

    # Precision and memory
    rows.add("states kept", states / GIB, f"{dtype}, room for {T} tokens")
    rows.add(
        "sampler's against scorer's log-probs, mean difference",
        line["sampler_gap"],
        f"largest ratio {line['sampler_ratio']:.3f}",
    )
    if device.type == "cuda":
        rows.add("held by the allocator", torch.cuda.memory_reserved() / GIB, "it gives nothing back", unit="GiB")
    world.close()


def kept_generate(kept, *args, **options):
    """rollout.generate, of whose result the longest response and the states' dtype and bytes are noted."""
    rollout = generate(*args, **options)
    states = rollout.states
    storage = states.untyped_storage().nbytes()
    kept.append((rollout.mask.shape[1], str(states.dtype), storage))
    return rollout


# One command


STARTING = 10  # seconds that a process needs to begin with anything

# The parts, and seconds after which each is stopped
PARTS = {
    "device": (device_part, 60),
    "toy": (toy_part, 140),
    "spectra": (spectra_part, 120),
    "memory": (memory_part, 60),
    "sampler": (sampler_part, 130),
    "qwen": (functools.partial(step_part, "qwen"), 170),
    "llama": (functools.partial(step_part, "llama"), 150),
}


def child(name, path, sizes):
    """Do one part, in this process."""
    rows = Rows(name, path, reckon(sizes)[name])
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    work, _ = PARTS[name]
    with rows.guard("the rest"):
        work(rows, sizes, device)


def run_part(name, argv, seconds):
    """The rows of one part, done in a process of its own that is stopped after so many seconds."""
    if seconds < STARTING:
        return [row(name, "all", error="TimeoutExpired: not begun, the time of the whole is up")]
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "rows", Path(folder) / "output"
        path.touch()

        # A session of its own, so that a training run that it has started can be stopped with it.
        command = [sys.executable, __file__, *argv, "--child", name, str(path)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        with open(output, "w") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            try:
                process.wait(timeout=seconds)
                end = f"exit code {process.returncode}" if process.returncode else None
            except subprocess.TimeoutExpired:
                end = f"TimeoutExpired: stopped after {seconds:.0f} s"
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

        # What it has written, but for a torn last line; and why it ended, if not by itself.
        rows = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
        if end:
            last = output.read_text(errors="replace").strip().rpartition("\n")[2]
            rows.append(row(name, "the rest", error=f"{end}; last said: {last[:200]}"))
    return rows


def machine():
    """What the numbers were measured on, but for the GPU, which is a row: asked here, it would keep memory for it."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    cpu = names[0] if names else platform.machine()
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {"cpu": f"{os.cpu_count()} x {cpu}", **versions, "transformers": transformers.__version__}


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write table and machine to this JSON file, anew after each part")
    parser.add_argument("--small", action="store_true", help="tiny sizes; on the CPU where there is no GPU")
    parser.add_argument("--reckon", action="store_true", help="print the reckoning alone")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="only these")
    parser.add_argument("--seconds", type=float, default=470, help="of the whole, after which it is stopped")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)  # a part, and the file of its rows
    # The sizes: an option for each number.
    numbers = [field for field in fields(Sizes) if field.type in (int, float)]
    for field in numbers:
        parser.add_argument(f"--{field.name}", type=field.type, help=f"default {field.default}, less with --small")
    args = parser.parse_args(argv)
    values = {field.name: getattr(args, field.name) for field in numbers}
    given = {name: value for name, value in values.items() if value is not None}
    return args, replace(SMALL if args.small else FULL, **given)


def reckoned_rows(sizes, parts):
    """The rows that are expected, without what only a machine can tell."""
    rows = []
    for part, own in reckon(sizes).items():
        if part in parts:
            rows += [row(part, what, number, unit=unit) for what, (number, unit) in own.items()]
    return rows


def main(argv=None):
    began = time.monotonic()
    argv = sys.argv[1:] if argv is None else argv
    args, sizes = parse(argv)
    if args.child:
        child(*args.child, sizes)
        sys.stdout.flush()
        os._exit(0)  # threads of NCCL or of generate_batch may wait for ever
    if args.reckon:
        return print("\n".join(table(reckoned_rows(sizes, args.parts))))
    if not torch.cuda.is_available() and not args.small:
        sys.exit("bench/gpu.py: no GPU here; --small for a dry run on the CPU, --reckon for what is expected")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # and not without stopping the part

    about = machine()
    print("\n".join(f"{name}: {value}" for name, value in about.items()), flush=True)
    rows = []
    try:
        for name in args.parts:
            _, own_limit = PARTS[name]
            left = args.seconds - (time.monotonic() - began)
            rows += run_part(name, argv, min(own_limit, left))
            took = time.monotonic() - began
            print(f"{name}: done after {took:.0f} s", file=sys.stderr, flush=True)
            if args.out:
                found = {"machine": about, "sizes": asdict(sizes), "seconds": took, "rows": rows}
                runs.write_whole(args.out, json.dumps(found, indent=1, default=lambda kind: kind.__name__))
    finally:  # whoever stops it gets the parts that are done
        print("\n".join(table(rows)), flush=True)


if __name__ == "__main__":
    main()
