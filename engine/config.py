"""Every option of train.py and eval.py, once: its meaning, its range, and whether a resumed run may change it.

An option is one field of a dataclass, made by `option`, and everything about it stands there: the sentence that --help
prints, the values that can work, the values that are usual. An option whose default is None takes the value of a
recipe: `toy` for the embedded default, else `paper`. What two options must satisfy together is checked in
`complete_train` and `complete_eval`, so that a run that cannot work ends before anything is loaded.

How it differs from other trainers' configurations: there is no second place. What an option is when it is left out, and
which values can work, is decided here (functions that can be called without train.py keep checks of their own), and an
option that a run was begun without cannot slip in when the run is resumed (engine/runs.py).
"""

import argparse
import operator
import os
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Literal, get_args, get_origin

import toy
from engine.prompts import TEMPLATES, chat_options
from engine.rewards import REWARDS
from grpo import NORMALISATIONS
from shaping import MODES


# Bounds of a number: how each is said, and when it holds.
BOUNDS = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def option(meaning, default=None, *, why="", usual="", may_change=False, aliases=(), **bounds):
    """A field of a configuration.

    bounds: by name of BOUNDS, with `why` where it is not plain; usual: the range that people use; may_change: whether
    --resume may give another value, because it does not change what is learnt.
    """
    words = [meaning]
    if usual:
        words.append(f"usually {usual}")
    words += [f"{BOUNDS[name][0]} {bound}" for name, bound in bounds.items()]
    about = {"help": "; ".join(words), "bounds": bounds, "why": why, "may_change": may_change, "aliases": aliases}
    return field(default=default, metadata=about)


@dataclass
class Shared:
    """What training and evaluation both ask for."""

    # Which model, asked what, and how its answers are sampled.
    model: str | None = option("toy, a hub id or a folder; train: toy if left out; eval: the newest run's checkpoint")
    system: str | None = option("system message, for --template chat")
    chat_options: str | None = option('JSON for the tokenizer\'s chat template, such as {"enable_thinking": false}')
    template: Literal[tuple(TEMPLATES)] | None = option("how a question becomes a prompt; eval: the checkpoint's own")
    stop: list[str] | None = option("tokens that end a response, besides the model's and the template's")
    bench: str | None = option("a benchmark or FILE.jsonl; eval: several, by commas, or list; train: or none")
    question: str = option("field of the question in a file or hub set of one's own; a.b is b within a", "question")
    answer: str = option("field of its answer", "answer")
    bench_dir: str | None = option("folder with <name>/test.jsonl, instead of the network", may_change=True)
    temperature: float | None = option("of sampling, and of the log-probs that are trained", usual="0.6 to 1", least=0)
    max_new_tokens: int | None = option("tokens per response", least=1)
    bfloat16: bool = option(
        "on a CPU, multiply in bfloat16: several times faster where it has AVX512-BF16 or AMX", False
    )
    # The ranks of a response.
    stride: int | None = option("tokens between the prefixes of ERV and ERA: about a sentence", least=1)
    window: int | None = option("ERV and ERA see the last tokens only; all if left out (release: 512)", least=2)
    rank_layer: int = option("states of which layer: -1 the final norm's output, 0 embeddings, k block k", -1, least=-1)
    # The run.
    seed: int = option("of batches, samples and shuffling", 0)
    threads: int | None = option("CPU threads: 1 for a tiny model, whose threads would wait", least=1, may_change=True)
    out: str | None = option("folder that keeps the results; runs/<time> if left out", may_change=True)
    resume: bool = option("go on with what stands in --out", False, may_change=True)
    show: int = option("print so many responses: of each benchmark; of each training step", 0, least=0, may_change=True)


@dataclass
class TrainConfig(Shared):
    """Options of train.py."""

    # What is learnt, and how the advantage is shaped.
    data: str | None = option("toy, a training set's name, a hub id, or a .jsonl, .json, .csv or .parquet file")
    reward: str | None = option(f"what a response is worth: {', '.join(REWARDS)}, or FILE.py:FUNCTION")
    overlong_buffer: int = option("soft overlong penalty on the last tokens before the limit (DAPO)", 0, least=0)
    shaping: Literal[MODES] = option("what is added to the advantage, see shaping.py", "verl")
    kappa: float = option(
        "bonus at most |A| / kappa", 2.0, usual="2", above=1, why="a larger bonus could turn the sign of an advantage"
    )
    gain: float = option("g of the meta-controller", 2.0, usual="1 to 4", least=0)
    alpha: float = option("weight of the new batch in the running means", 0.3, usual="0.1 to 0.5", above=0, most=1)
    # The size of a step.
    steps: int | None = option("training steps, each one rollout", least=1, may_change=True)
    prompts: int | None = option("prompts per step, over all processes", usual="32 to 512", least=1)
    group: int | None = option(
        "responses per prompt", usual="4 to 16", least=2,
        why="a response needs another of its group to be compared with",
    )  # fmt: skip
    mini_batches: int = option("optimizer updates per rollout", 2, usual="1 to 4", least=1)
    max_prompt_tokens: int | None = option("longer prompts are left out and counted", least=1)
    max_prompt_characters: int | None = option("likewise, template included; no limit if left out", least=1)
    # The loss and its optimizer.
    lr: float | None = option("AdamW learning rate", usual="5e-7 to 1e-5 for language models", above=0)
    warmup_steps: int = option("the learning rate rises linearly over so many steps, then stays", 0, least=0)
    adam_beta1: float = option("decay of AdamW's mean of gradients", 0.9, usual="0.9", least=0, below=1)
    adam_beta2: float | None = option("decay of its mean of squares", usual="0.95 to 0.999", least=0, below=1)
    weight_decay: float | None = option("share of a weight that AdamW takes off, times lr", usual="0 to 0.1", least=0)
    clip_low: float = option("eps_low of the loss", 0.2, usual="0.1 to 0.3", least=0)
    clip_high: float = option("eps_high of the loss", 0.2, usual="0.2 to 0.3 (DAPO: 0.28)", least=0)
    normalise: Literal[NORMALISATIONS] | None = option("weights of tokens in the loss, see grpo.token_weights")
    scale_std: bool = option("divide advantages by the group's std (Dr. GRPO: no)", True)
    kl_coef: float | None = option("weight of KL to the first model; 0: it is not kept", usual="0 to 0.01", least=0)
    entropy_coef: float | None = option("weight of the entropy bonus", usual="0 to 0.01", least=0)
    mask_truncated: bool = option("leave responses that hit max_new_tokens out of the loss (DAPO)", False)
    max_grad_norm: float = option("gradients are scaled down to this norm", 1.0, usual="1", above=0)
    # Memory against time; the results stay the same.
    micro_tokens: int = option("padded tokens per forward: memory, not results", 16384, least=1, may_change=True)
    sample_batch: int | None = option("responses sampled at a time; all if left out", least=1, may_change=True)
    recompute: bool = option("keep no activations: less memory, slower updates", False, may_change=True)
    # What is measured and kept on the way.
    eval_n: int = option("samples per problem of the table before and after", 8, least=1)
    eval_every: int = option("evaluate every N steps, with one sample; 0: never", 0, least=0, may_change=True)
    save_every: int = option("checkpoint every N steps", 10, least=1, may_change=True)
    keep: int = option("newest checkpoints to keep", 2, least=1, may_change=True)
    keep_best: bool = option("also keep the checkpoint with the best pass@1 of --eval_every", False, may_change=True)
    log_samples: int = option("responses of each step that go to DIR/samples.jsonl", 4, least=0, may_change=True)
    tensorboard: bool = option("also write every number to DIR/tensorboard", False, may_change=True)


@dataclass
class EvalConfig(Shared):
    """Options of eval.py."""

    n: int | None = option("samples per problem (under torchrun: --samples)", least=1, aliases=["--samples"])
    protocol: Literal["plain", "paper"] = option("paper: n by benchmark as in the paper, instead of --n", "plain")
    top_p: float | None = option("sample from the likeliest tokens that make up this share", above=0, most=1)
    limit: int | None = option("only the first N problems of each benchmark", least=1)
    batch: int = option("responses sampled together", 256, usual="64 to 1024, less for large models", least=1)
    last_number: bool = option("without a box or the like, accept the last number as the answer", False)
    compare: list[str] | None = option("two evaluation folders; nothing is sampled")


# What an option that was left out becomes. The paper leaves some choices open; its release is the source of those.
TRAIN_RECIPES = {
    "toy": dict(
        data="toy", template="plain", bench="toy", threads=1, temperature=1.0, stride=toy.STRIDE, steps=40, prompts=32,
        group=8, max_prompt_tokens=64, max_new_tokens=toy.MAX_NEW_TOKENS, reward="correct", lr=2e-4, adam_beta2=0.95,
        weight_decay=0.0, normalise="token", kl_coef=0.0, entropy_coef=0.0,
    ),
    "paper": dict(
        data="simplerl_level3to5", template="qwen-boxed", bench="none", temperature=1.0, stride=40, steps=160,
        prompts=48, group=4, max_prompt_tokens=512, max_prompt_characters=512, max_new_tokens=1536, lr=5e-7,
        kl_coef=0.001, entropy_coef=0.001, reward="graded", normalise="sequence", adam_beta2=0.999, weight_decay=0.01,
    ),
}  # fmt: skip
EVAL_RECIPES = {
    "toy": dict(n=8, temperature=1.0, top_p=1.0, max_new_tokens=toy.MAX_NEW_TOKENS, stride=toy.STRIDE, threads=1),
    "paper": dict(n=1, temperature=0.6, top_p=0.95, max_new_tokens=1536, stride=40),
}


def parse(kind, description, argv=None, stored=None):
    """The configuration of a command line: an instance of the dataclass `kind`, with None where nothing was given.

    stored: values of a run that is resumed, which take the place of the defaults. Unknown options, and values of the
    wrong type, end the program as argparse ends it: with what there is to choose from.
    """
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter, allow_abbrev=False)
    for option_field in fields(kind):
        add_to(parser, option_field)
    parser.set_defaults(**(stored or {}))
    return kind(**vars(parser.parse_args(argv)))


def add_to(parser, option_field):
    """--NAME VALUE for a field; a bool is also --NAME alone, and --no_NAME where it is True by default."""
    name, about = option_field.name, option_field.metadata
    kind = kind_of(option_field)
    form = {"type": kind}
    if kind is bool:
        form = {"type": yes_or_no, "nargs": "?", "const": True}
    elif get_origin(kind) is Literal:
        form = {"choices": get_args(kind)}
    elif get_origin(kind) is list:
        form = {"nargs": "+"}
    parser.add_argument(f"--{name}", *about["aliases"], default=option_field.default, help=about["help"], **form)
    if option_field.default is True:
        parser.add_argument(f"--no_{name}", dest=name, action="store_false", help=f"without --{name}")


def kind_of(option_field):
    """The type of a field's values, where they are not None."""
    declared = option_field.type
    if get_origin(declared) is Literal or NoneType not in get_args(declared):
        return declared
    (kind,) = [kind for kind in get_args(declared) if kind is not NoneType]
    return kind


def yes_or_no(text):
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return words[text.lower()]


def check(config):
    """ValueError, in one line, for the first option whose value is out of its bounds. NaN is out of all of them."""
    for option_field in fields(config):
        name, value, about = option_field.name, getattr(config, option_field.name), option_field.metadata
        if value is None:
            continue
        why = f": {about['why']}" if about["why"] else ""
        for bound_name, bound in about["bounds"].items():
            words, holds = BOUNDS[bound_name]
            if not holds(value, bound):
                raise ValueError(f"--{name} {value} must be {words} {bound}{why}")
        kind = kind_of(option_field)
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ValueError(f"--{name} {value}: choose one of {', '.join(get_args(kind))}")


def train_recipe(config):
    """The name of the recipe that gives the options that were left out."""
    embedded = config.model in (None, "toy") and config.data in (None, "toy")
    return "toy" if embedded else "paper"


def complete_train(config):
    """The TrainConfig with its recipe's values where none was given. ValueError for what cannot work."""
    take_from(TRAIN_RECIPES[train_recipe(config)], config)
    config.model = config.model or "toy"
    check(config)
    check_together(config)
    if config.keep_best and not (config.eval_every and config.bench != "none"):
        raise ValueError("--keep_best needs --eval_every N and a --bench: they say which checkpoint is the best")
    if config.overlong_buffer >= config.max_new_tokens:
        longest = config.max_new_tokens
        raise ValueError(f"--overlong_buffer {config.overlong_buffer} must be below --max_new_tokens {longest}")
    if config.temperature == 0:
        raise ValueError("--temperature 0 must be above 0: greedy responses of a group are all the same")
    processes = int(os.environ.get("WORLD_SIZE", 1))
    parts = config.mini_batches * processes
    if config.prompts % parts:
        raise ValueError(
            f"--prompts {config.prompts} does not divide by --mini_batches {config.mini_batches} x "
            f"{processes} processes = {parts}"
        )
    return config


def complete_eval(config):
    """The EvalConfig with its recipe's values where none was given. ValueError for what cannot work."""
    config.bench = config.bench or "toy"
    take_from(EVAL_RECIPES["toy" if config.bench == "toy" else "paper"], config)
    check(config)
    check_together(config)
    if config.compare and len(config.compare) != 2:
        raise ValueError(f"--compare {' '.join(config.compare)}: give two evaluation folders")
    if config.resume and not config.out:
        raise ValueError("--resume needs --out, the folder of the evaluation to go on with")
    return config


def check_together(config):
    """ValueError where options that training and evaluation share do not go together, or cannot be read."""
    if config.window is not None and config.window <= 3 * config.stride:
        raise ValueError(f"--window {config.window} must hold more than three strides of {config.stride}, for ERA")
    if (config.system or config.chat_options) and config.template not in (None, "chat"):
        raise ValueError(f"--system and --chat_options are for --template chat, not {config.template}")
    chat_options(config.chat_options)


def take_from(recipe, config):
    for name, value in recipe.items():
        if getattr(config, name) is None:
            setattr(config, name, value)


def parse_eval(argv=None):
    """The EvalConfig of a command line. ValueError for what cannot work."""
    return complete_eval(parse(EvalConfig, "Evaluate a model: pass@k, majority, intervals.", argv))


def may_change(kind):
    """Names of the options of a dataclass that a resumed run may change."""
    return {option_field.name for option_field in fields(kind) if option_field.metadata["may_change"]}
