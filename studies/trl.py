"""A training step of ours beside one of TRL's GRPOTrainer: tokens per second and peak memory, on one machine.

    python3 -m venv trl_venv && trl_venv/bin/pip install torch==2.13.0 transformers==5.23.0 trl==1.16.0
    python studies/trl.py --python trl_venv/bin/python [--repeats 5] [--steps 4] [--threads 1]

16 prompts x 8 responses a step, one update per rollout, micro-batches of 32 responses (of as many padded tokens, for
ours), float32, AdamW, no KL, temperature 1, the same reward. The model is the same folder: the toy base's shape with
random weights, and an end token whose probability is set by its row of the LM head.

    full      never ends: every response has 64 tokens
    ragged    ends with probability 1/60 at each token: mean 59 of at most 256

Ours trains with VERL on (--shaping verl, stride 4). Workers run one after the other, ours and TRL's in turn, each in a
process of its own that is bound to `threads` cores, and imports in the function of its side, so that its memory holds
nothing of the other; its first two steps are not timed. Tokens are those sampled, up to and with the end token. On a
machine that others use too, tokens per second of CPU are the steadier number. Memory is the peak of resident memory,
and the part of it above what the process had before its first step, when libraries and model were loaded. Written to
--out as JSON and as the table that is printed: medians, with ranges.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, where `trl` would be this file
PROMPTS, GROUP, MICRO = 16, 8, 32
LENGTHS = {"full": 64, "ragged": 256}
WARM_UP = 2
INSTALL = "python3 -m venv trl_venv && trl_venv/bin/pip install torch==2.13.0 transformers==5.23.0 trl==1.16.0"


def make_model(folder, case, width, layers):
    """Save a random Llama whose end token has probability 0 (full) or about 1/60 (ragged) wherever it is asked."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    import toy
    from engine import toy_model

    torch.manual_seed(0)
    tokenizer = toy_model.make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=4, max_position_embeddings=512, tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model, end = LlamaForCausalLM(config).eval(), tokenizer.eos_token_id
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 1.0  # a coordinate that is nearly the same in all final states
        head = model.get_output_embeddings().weight
        head[:, 0] = 0.0
        head[end] = 0.0
        ids = torch.randint(1, len(tokenizer), (32, 128))
        states = model.base_model(ids).last_hidden_state.flatten(0, 1)
        others = (states @ head.T)[:, 1:].logsumexp(-1)
        want = (others - torch.tensor(59.0).log()).mean()  # log p / (1 - p) = -log 59
        head[end, 0] = -1e4 if case == "full" else want / states[:, 0].mean()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    questions = [question for question, _ in toy.problems(3, PROMPTS, seed=0)]
    lines = [json.dumps({"question": question, "answer": "1"}) for question in questions]
    (Path(folder) / "data.jsonl").write_text("\n".join(lines) + "\n")


def reward(text):
    """Something to learn that both grade alike."""
    return float(text.count("1") > text.count("2"))


def resident(kind):
    return int(re.search(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def clock():
    """(seconds, seconds of CPU of all threads): the second does not see what else the machine is doing."""
    return time.perf_counter(), time.process_time()


def ours(folder, case, steps, threads):
    """Tokens of each step, its [(seconds, CPU seconds)], and MiB before the first."""
    import train
    from engine import runs
    from engine.parallel import setup

    longest = max(len(json.loads(line)["question"]) for line in open(f"{folder}/data.jsonl"))
    options = dict(
        model=folder, data=f"{folder}/data.jsonl", template="plain", shaping="verl", stride=4, steps=steps,
        prompts=PROMPTS, group=GROUP, mini_batches=1, max_new_tokens=LENGTHS[case], lr=1e-6, kl_coef=0, entropy_coef=0,
        micro_tokens=MICRO * (longest + LENGTHS[case]), threads=threads, bench="none", out=f"{folder}/ours",
    )  # fmt: skip
    config, _, _ = runs.choose([f"--{name}={value}" for name, value in options.items()])
    state = train.start(train.Policy, config, setup(threads))
    state.reward = lambda prompt, response, gold, row: reward(response)
    tokens, clocks, before = [], [clock()], resident("VmRSS")
    for _ in range(steps):
        tokens.append(train.train_step(state)["tokens"])
        clocks.append(clock())
    return tokens, clocks, before


def theirs(folder, case, steps, threads):
    """Tokens of each step, its [(seconds, CPU seconds)], and MiB before the first."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(threads)
    questions = [json.loads(line)["question"] for line in open(f"{folder}/data.jsonl")]
    config = GRPOConfig(
        output_dir=f"{folder}/theirs", max_steps=steps, per_device_train_batch_size=MICRO,
        gradient_accumulation_steps=PROMPTS * GROUP // MICRO, num_generations=GROUP,
        max_completion_length=LENGTHS[case], beta=0.0, temperature=1.0, learning_rate=1e-6,
        lr_scheduler_type="constant",
        logging_steps=1, save_strategy="no", report_to="none", bf16=False, use_cpu=True, gradient_checkpointing=False,
        disable_tqdm=True, seed=0,
    )  # fmt: skip
    lengths, clocks, before = [], [], []

    class Clock(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            before.append(resident("VmRSS"))
            clocks.append(clock())

        def on_step_end(self, *args, **kwargs):
            clocks.append(clock())

        def on_log(self, args, state, control, logs=None, **kwargs):
            if "completions/mean_length" in logs:
                lengths.append(logs["completions/mean_length"])

    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        reward_funcs=lambda completions, **other: [reward(text) for text in completions],
        args=config, train_dataset=Dataset.from_dict({"prompt": questions}),
        processing_class=AutoTokenizer.from_pretrained(folder), callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    return [round(length * PROMPTS * GROUP) for length in lengths], clocks, before[0]


def worker(side, folder, case, steps, threads):
    """Print one JSON line: tokens per second over the timed steps, mean length, memory."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    tokens, clocks, before = {"ours": ours, "TRL": theirs}[side](folder, case, steps, threads)
    peak = resident("VmHWM")
    if len(tokens) != steps or len(clocks) != steps + 1:
        sys.exit(f"{side}: {len(tokens)} steps were logged, and {len(clocks) - 1} timed, of {steps}")
    seconds, cpu = (end - start for start, end in zip(clocks[WARM_UP], clocks[-1]))
    timed = sum(tokens[WARM_UP:])
    line = {"tokens_per_second": timed / seconds, "tokens_per_cpu_second": timed / cpu}
    line |= {"mean_length": timed / (steps - WARM_UP) / PROMPTS / GROUP, "steps": steps - WARM_UP}
    print("\n" + json.dumps(line | {"peak_mib": peak, "peak_over_start_mib": peak - before}))


def run(python, side, folder, case, args):
    command = [python, __file__, "--worker", side, folder, case, "--steps", str(args.steps)]
    environment = {
        **os.environ, "OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1",
    }  # fmt: skip
    done = subprocess.run(
        [*command, "--threads", str(args.threads)], capture_output=True, text=True, env=environment, timeout=900
    )
    if done.returncode:
        sys.exit(f"{side}, {case}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def span(values, form):
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table(results):
    """Markdown, a row for each case and side, medians with ranges, and the ratio of each pair of neighbouring runs."""
    head = ["responses", "", "tokens/s", "ours / TRL", "tokens per CPU second", "ours / TRL", "peak MiB", "above start"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for case, sides in results.items():
        for side, runs in sides.items():
            length = statistics.mean(r["mean_length"] for r in runs)
            cells = [f"{case}: mean {length:.0f} of at most {LENGTHS[case]} tokens", side]
            for key in ("tokens_per_second", "tokens_per_cpu_second"):
                ratios = [a[key] / b[key] for a, b in zip(sides["ours"], sides["TRL"])]
                cells += [span([r[key] for r in runs], ",.0f"), span(ratios, ".2f") if side == "ours" else ""]
            cells += [span([r[key] for r in runs], ",.0f") for key in ("peak_mib", "peak_over_start_mib")]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter that has trl")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help=f"timed steps of each worker, after {WARM_UP} others")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--out", default=str(ROOT / "studies" / "results"), help="folder for trl.json and trl.md")
    parser.add_argument("--worker", nargs=3, metavar=("SIDE", "FOLDER", "CASE"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main():
    args = parse()
    if args.worker:
        worker(*args.worker, args.steps + WARM_UP, args.threads)
        return
    code = "import trl, transformers, torch; print(trl.__version__, transformers.__version__, torch.__version__)"
    probe = subprocess.run([args.python, "-c", code], capture_output=True, text=True, cwd="/")
    if probe.returncode:
        sys.exit(f"{args.python} has no trl; install it aside:\n  {INSTALL}\nand give --python trl_venv/bin/python")
    versions = "trl {}, transformers {}, torch {}".format(*probe.stdout.split())
    results = {case: {"ours": [], "TRL": []} for case in args.cases}
    with tempfile.TemporaryDirectory() as folder:
        for case in args.cases:
            make_model(f"{folder}/{case}", case, args.width, args.layers)
        for repeat in range(args.repeats):
            for case in args.cases:
                for side in ("ours", "TRL") if repeat % 2 else ("TRL", "ours"):
                    python = sys.executable if side == "ours" else args.python
                    results[case][side].append(run(python, side, f"{folder}/{case}", case, args))
                    print(repeat, case, side, json.dumps(results[case][side][-1]), file=sys.stderr, flush=True)
    cores = f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} thread(s), load {os.getloadavg()[0]:.1f}"
    about = (
        f"{PROMPTS} prompts x {GROUP} responses, micro-batches of {MICRO}, Llama of width {args.width} and "
        f"{args.layers} layers; {args.repeats} alternating runs of {args.steps} steps; {cores}; {versions}"
    )
    text = f"{about}\n\n{table(results)}\n"
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "trl.json").write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    (out / "trl.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
