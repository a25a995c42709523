"""What a training step reads and changes, and how it comes to be: loaded, checked, split over the processes.

How it differs from the textbook: everything that cannot work is found here, on every process, before the first step. A
model that does not fit the memory, a family whose cache cannot be trusted, data that differ between machines or from
those of the checkpoint, a benchmark that is missing: one line says so, and nothing has been begun.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from engine.batch import fingerprint
from engine.checkpoints import load_state
from engine.config import TrainConfig
from engine.data import load_benchmark, own_fields, training_prompts
from engine.models import check_bfloat16, check_family, check_memory, load_model, model_room, recompute
from engine.parallel import World, shard
from engine.prompts import stop_ids, stop_tokens, warn_of_foreign_markers
from engine.rewards import load_reward
from toy import BASE


@dataclass
class State:
    """What a step reads and changes."""

    config: TrainConfig
    world: World
    policy: nn.Module  # a rollout.Policy
    tokenizer: object
    problems: list  # of the training set, each with its prompt: [(Problem, token ids)]
    data: int  # their fingerprint: a resumed run must have the same
    stop_ids: set  # token ids that end a response
    reward: Callable  # what --reward names
    optimizer: torch.optim.Optimizer | None = None
    reference: nn.Module | None = None  # the model at the start, frozen, where --kl_coef asks for it
    step: int = 0  # steps done
    mu: dict | None = None  # running means {name of a rank metric: mean}; None before the first step
    samples: list = field(default_factory=list)  # a few responses of the last step, for people to read


def start(make_policy, config, world, checkpoint=None):
    """The State of a new run, or of a checkpoint (a folder) to go on from. make_policy: rollout.Policy."""
    # Load and check, on every process. What one of them cannot do ends all of them, with its reason.
    source = str(BASE) if config.model == "toy" else config.model
    with world.all_or_none():
        check_memory(source, world, config.kl_coef > 0)
        model, tokenizer = load_model(checkpoint or source, world.device)  # the reference stays the first model
        policy = make_policy(model.eval(), config.rank_layer)  # eval: no dropout, or old and new log-probs would differ
        check_family(policy)
        check_bfloat16(config, world.device)
        policy.bfloat16 = config.bfloat16
        warn_of_foreign_markers(tokenizer, config.template)
        if config.bench != "none":  # a benchmark that is missing is an error now, not after the training
            load_benchmark(config.bench, config.bench_dir, own=own_fields(config))
        problems = training_prompts(config, tokenizer, model_room(policy), world.say)
        data = fingerprint(*problems)
        stops = stop_ids(model, tokenizer, config.template, config.stop or [])
        s = State(config, world, policy, tokenizer, problems, data, stops, load_reward(config.reward))
        if config.kl_coef:
            frozen, _ = load_model(source, world.device)
            s.reference = make_policy(frozen.eval().requires_grad_(False))
            s.reference.bfloat16 = config.bfloat16
    world.agree("data", s.data)
    world.say(f"a response ends with {' or '.join(stop_tokens(tokenizer, s.stop_ids))}")

    # Split what was loaded over the processes, and only then make the optimizer, whose state is split likewise.
    if config.recompute:
        recompute(s.policy)
    shard(s.policy, world)
    if s.reference:
        shard(s.reference, world)
    betas = config.adam_beta1, config.adam_beta2
    s.optimizer = torch.optim.AdamW(s.policy.parameters(), config.lr, betas, weight_decay=config.weight_decay)

    # Go on where the checkpoint was made.
    if checkpoint:
        kept = load_state(checkpoint, s.policy, s.optimizer, world)
        if kept["data"] != s.data:
            raise ValueError(f"--data {config.data} is not what {checkpoint} was trained on: start a new run for that")
        s.step, s.mu = kept["step"], kept["baseline"]
    return s
