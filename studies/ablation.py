"""Which part of VERL does the work, and is the difference larger than the noise between seeds?

    python studies/ablation.py                                    7 arms x 8 seeds x 2 settings; resumable
    python studies/ablation.py --settings default --seeds 12      more seeds: what is done already is kept
    python studies/ablation.py --table                            only the table and the picture, from the results

Each arm is one --shaping of train.py, described in shaping.py; `none` is plain GRPO. Arms share their seeds:
seed s sees the same prompts in the same order, and draws its samples with the same uniform numbers. What is compared is
the paired difference to `none` at the same seed, with a 95% t interval over seeds (ablation_table.py). The results that
are kept have an eighth arm, `release`, of a mode that shaping.py has no more: it is in the table, and cannot be run.

The measures were chosen before this study was run, and are all reported:

    area                  mean reward over all training steps: how fast it learns
    pass@1, pass@8        of the last checkpoint on held-out problems (8 samples each), mean over levels, and by level
    entropy, length, ER   mean over the last 5 training steps

Two settings. `default` is `python train.py` as it stands: it saturates, so that little but speed can differ. `headroom`
has longer chains, 4 to 10 operators from a start in 2..60, and 24 prompts a step: as cheap, and plain GRPO ends with
room above and below. It was chosen on three runs of `none` alone: 4 to 12 operators with 32 prompts (last rewards near
0.5, but nearly twice as dear as the default), then this (pass@1 0.65 for both seeds). No other arm had been run on it
but for three steps, to try the script, and no arm was tuned in either setting.

Written to --out (studies/results): ablation-SETTING.json, all runs with commands, versions, machine; ablation.md, the
table; ablation.png, the picture, where matplotlib is installed.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import toy
from ablation_table import OTHERS, measures, report
from engine.runs import read_lines, read_metrics, write_whole
from rank import METRICS
from shaping import MODES

CURVES = ("reward", *METRICS, "entropy", "length", "beta", "bonus_fraction", "bonus")
CHAINS = (4, 6, 8, 10)  # operators of the headroom setting
EVAL = "--n 8 --temperature 1 --top_p 1 --max_new_tokens 96 --stride 4"


def keep_nothing(samples):
    return {}


class Setting(NamedTuple):
    """What the runs of a setting have in common. In the options, DIR stands for a folder of the run's own."""

    train: str  # options of train.py
    eval: str  # options of eval.py
    write: Callable  # write(folder, seed) makes the files that the options name
    model: str = "toy"
    curves: tuple = CURVES  # what is kept of metrics.jsonl
    scripts: dict = {}  # {arm: (script in place of train.py, --shaping in place of the arm's name)}
    keep: Callable = keep_nothing  # keep(lines of samples.jsonl): {name: what the record holds of them}


def write_nothing(folder, seed):
    """The embedded data need no files."""


def write_chains(folder, seed, train=512, test=64):
    """The files of the headroom setting: the test problems are the same for all seeds, and never trained on."""
    training = {}
    for k in CHAINS:
        tested = chains(f"headroom test/{k}", k, test)
        training |= chains(f"headroom {seed}/{k}", k, train, exclude=tested)
        write_problems(folder / f"{k}-operators.jsonl", tested)
    write_problems(folder / "train.jsonl", training)


def chains(key, operators, count, exclude=()):
    """{question: answer} of `count` chains, drawn by a generator that `key` decides; no question is in `exclude`."""
    rng, problems = random.Random(key), {}
    while len(problems) < count:
        steps = toy.chain(rng, operators, (2, 60))
        question = toy.question(steps)
        if question not in exclude:
            problems[question] = str(steps[-1].value)
    return problems


def write_problems(path, problems):
    lines = [json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in problems.items()]
    path.write_text("".join(lines))


SETTINGS = {
    "default": Setting("", f"--bench toy {EVAL}", write_nothing),
    "headroom": Setting(
        "--data DIR/train.jsonl --template plain --stride 4 --steps 40 --prompts 24 --group 8 --lr 2e-4 "
        "--max_prompt_tokens 64 --max_new_tokens 96 --kl_coef 0 --entropy_coef 0",
        f"--bench {','.join(f'DIR/{k}-operators.jsonl' for k in CHAINS)} {EVAL}",
        write_chains,
    ),
}


def python(script, options, folder):
    """Run a script of the repository on one thread; `options` says DIR for `folder`. RuntimeError where it fails."""
    command = [sys.executable, str(ROOT / script), *options.replace("DIR", str(folder)).split()]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{script} {options}\n{(done.stdout + done.stderr)[-2000:]}")
    return f"python {script} {options}"


def one(setting, arm, seed, options):
    """Train one run and evaluate its last checkpoint, or evaluate the base (arm "base"); its record, JSON-able."""
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        setting.write(folder, seed)
        commands, lines, samples, model = [], [], [], setting.model
        if arm != "base":
            script, shaping = setting.scripts.get(arm, ("train.py", arm))
            train = f"--shaping {shaping} --seed {seed} {options['train']} --bench none --save_every 1000 --out DIR/run"
            commands.append(python(script, train, folder))
            lines = read_metrics(folder / "run")
            samples = read_lines(folder / "run/samples.jsonl")
            model = f"DIR/run/checkpoint-{len(lines)}"
        commands.append(python("eval.py", f"--model {model} {options['eval']} --out DIR/eval", folder))
        results = json.loads((folder / "eval/results.json").read_text())
    levels = {level: summary for level, summary in results["benchmarks"].items() if "pooled" not in level}
    record = {
        "pass@1": {level: round(summary["pass@1"], 6) for level, summary in levels.items()},
        "pass@8": {level: round(summary["pass@8"], 6) for level, summary in levels.items()},
        "curves": {name: [five_digits(line[name]) for line in lines] for name in setting.curves},
        "seconds": round(time.time() - began, 1),
        "commands": commands,
        "versions": results["versions"],
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
    }
    return record | setting.keep(samples)


def five_digits(value):
    return None if value is None else float(f"{value:.5g}")


def run(name, setting, arms, seeds, jobs, path, train="", evaluate=""):
    """Make the runs of one Setting that are not in the file `path` yet; each is written down as it ends."""
    options = {"train": f"{setting.train} {train}".strip(), "eval": f"{setting.eval} {evaluate}".strip()}
    kept = json.loads(path.read_text()) if path.exists() else {"options": options, "runs": {}}
    if kept["options"] != options:
        raise ValueError(f"{path} holds runs with {kept['options']}, not {options}: give another --out")
    todo = [] if "base" in kept else [("base", 0)]
    todo += [(arm, seed) for seed in range(seeds) for arm in arms if f"{arm}/{seed}" not in kept["runs"]]
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(one, setting, arm, seed, options): (arm, seed) for arm, seed in todo}
        try:
            for i, future in enumerate(as_completed(futures), 1):
                (arm, seed), record = futures[future], future.result()
                if arm == "base":
                    kept["base"] = record
                else:
                    kept["runs"][f"{arm}/{seed}"] = record
                write_whole(path, json.dumps(kept, separators=(",", ":")))
                found = "  ".join(f"{name} {value:.3f}" for name, value in measures(record).items())
                print(f"[{i}/{len(todo)}] {name} {arm} seed {seed}, {record['seconds']:.0f} s: {found}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)


def parse(argv=None):
    parser = argparse.ArgumentParser(description="Every shaping against plain GRPO, over seeds.")
    parser.add_argument("--settings", default="default,headroom")
    parser.add_argument(
        "--arms", default=",".join(OTHERS), help="none is always run: it is what the others are paired to"
    )
    parser.add_argument("--seeds", type=int, default=8, help="seeds 0 .. N-1")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--out", type=Path, default=ROOT / "studies/results")
    parser.add_argument("--table", action="store_true", help="only write table and picture again")
    parser.add_argument("--train", default="", help="more options for train.py, such as '--steps 10'")
    parser.add_argument("--eval", default="", help="more options for eval.py, such as '--limit 8'")
    args = parser.parse_args(argv)
    return args, *chosen(parser, args, SETTINGS, MODES)


def chosen(parser, args, settings, arms):
    """(names of --settings, names of --arms with none first); the parser refuses what is not among these."""
    names = args.settings.split(",")
    compared = ["none", *(arm for arm in args.arms.split(",") if arm != "none")]
    for option, given, known in (("--settings", names, settings), ("--arms", compared, arms)):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"{option} {','.join(unknown)}: choose from {', '.join(known)}")
    return names, compared


def main(argv=None):
    args, names, arms = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        for name in [] if args.table else names:
            path = args.out / f"ablation-{name}.json"
            run(name, SETTINGS[name], arms, args.seeds, args.jobs, path, args.train, args.eval)
        report(args.out, [name for name in SETTINGS if (args.out / f"ablation-{name}.json").exists()])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"ablation.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; finished runs are kept, and the same command goes on")


if __name__ == "__main__":
    main()
