"""VERL: GRPO with the advantage shaped by effective rank, velocity and acceleration.

One training step (`train_step`), for the B = prompts x group responses of a batch:

    1 sample   G responses to each prompt, and the hidden states that predicted their tokens      rollout.py
    2 verify   the reward R: for the toy 1 where the answer is right, else 0 (--reward)           verifier.py
    3 shape    A from R over the group; ER, ERV, ERA from the states; A' from all of them         grpo, rank, shaping
    4 update   clipped loss on A', backward, step, for each mini-batch                            grpo.py
    5 log      one line of metrics.jsonl

    python train.py                                         the embedded default: a minute on a laptop
    python train.py --shaping none                          plain GRPO: A' = A
    python train.py --out runs/a --resume                   go on after a crash
    python train.py --model Qwen/Qwen2.5-0.5B --data gsm8k  a real model, with the paper's options
    torchrun --nproc_per_node 8 train.py …                  the same on 8 GPUs

A mini-batch is the responses of one optimizer update: half of the step's, by default. A micro-batch is a part of it, of
at most --micro_tokens padded tokens: what the memory must hold. The default run has 32 prompts x 8 responses, and
neither KL nor entropy in its loss.

How it differs from a framework's trainer. Seed and step decide the prompts; seed, step, prompt and sample decide the
random numbers of a response. So a resumed run repeats what was lost, and several processes end with the weights of one,
up to rounding. Left out: LoRA, several turns, dynamic sampling.

In the code c is the configuration (engine/config.py) and s the state of the run (engine/state.py). s.world knows about
other processes. A first reader can take there to be none: then counts, sums and means are those of this process.
"""

from engine import gradients, parallel, runs
from engine.batch import in_batches, joined_rollouts, per_token, sample_seed
from engine.data import load_benchmark, own_fields
from engine.describe import dataset_ranks, describe, measure_trajectories
from engine.rewards import grade
from engine.samples import few_samples
from engine.state import start
from engine.stats import summarise
from eval import Protocol, evaluate
from grpo import group_advantages, policy_loss, token_weights
from rank import rank_metrics
from rollout import Policy, generate, score_logprobs
from shaping import shape_advantages, update_means


def train_step(s):
    """One step of VERL; returns its line of metrics.jsonl.

    s: engine.state.State. A step changes its policy, optimizer, step, mu (the running means) and samples.
    """
    c, clock = s.config, runs.Clock()

    # 1. Sample responses to the step's prompts. `places`: which they are, of 0, 1, 2 ..; several processes share them.
    places, problems, prompts = s.world.step_batch(s.problems, s.step, c.prompts, c.mini_batches, c.seed)
    rollout = sample(s, places, prompts)  # B responses of at most T tokens
    clock.lap("rollout")

    # Measure the states, for part 3. With one CPU thread this begins now, on another core; else at pending.result().
    pending = parallel.in_background(s.world.device, measure_states, rollout, c)

    # 2. Verify the answers.
    asked = [problem for problem in problems for _ in range(c.group)]  # the problem of each response
    graded = grade(s.reward, asked, rollout, s.tokenizer, c.max_new_tokens, c.overlong_buffer)
    clock.lap("verify")

    # The loss will compare with the policy before the step's first update, and with the reference if there is one.
    rollout.old_logprobs, rollout.ref_logprobs = other_logprobs(s, rollout)  # [B, T], or None if not needed
    clock.lap("score")

    # 3. Shape the advantages.
    A = group_advantages(graded.rewards, c.group, c.scale_std)  # [B]
    metrics, trajectories = pending.result()  # {name: [B]}; mean states and prefix ranks, which are only logged
    signal = metrics if c.shaping != "shuffled" else dealt_out(s, metrics, places)
    shaped, bonus_stats = shape_advantages(
        A, signal, s.mu, c.kappa, c.gain, c.shaping, mask=rollout.mask, entropy=rollout.entropy
    )

    # Only now update the running means: this step had to be compared with those before it. A metric's mean is over the
    # responses where it is not NaN; `undefined` counts the others.
    means, undefined = s.world.known_means(metrics)  # {name: mean}, {name_undefined: count}
    s.mu = update_means(s.mu, means, c.alpha)
    clock.lap("rank")

    # 4. Update the policy.
    rollout.states = None  # large, and not needed any more
    rollout.advantages = per_token(shaped, rollout.mask)  # [B, T]
    updated = update_policy(s, rollout)
    s.step += 1
    clock.lap("update")

    # 5. Log.
    s.samples = few_samples(s.step, c.log_samples, graded, metrics, trajectories.curves, A, shaped, rollout.mask)
    described = describe(s.world, rollout, graded, c.group)
    bonuses = s.world.means(bonus_stats)
    of_dataset = dataset_ranks(s.world, trajectories.mean_state, places)
    line = runs.joined({"step": s.step}, described, bonuses, updated, means, undefined, of_dataset)
    clock.lap("other")
    return line | {"seconds": clock.seconds, "step_seconds": clock.total()}


def sample(s, places, prompts):
    """A Rollout of `group` responses to each of the prompts, with the states that predicted each token."""
    c = s.config
    seeds = [sample_seed(c.seed, s.step, place, j) for place in places for j in range(c.group)]
    parts = []
    with parallel.unsharded(s.policy):
        for some, own_seeds in in_batches(prompts, seeds, c.sample_batch):
            part = generate(s.policy, some, own_seeds, c.max_new_tokens, s.stop_ids, c.temperature, keep_states=True)
            parts.append(part)
    return joined_rollouts(parts)


def measure_states(rollout, c):
    """Rank metrics {name: [B]} of the responses, and what else of their states goes to the log."""
    z = rollout.states  # [B, T, D]
    mask = rollout.mask  # [B, T]
    metrics = rank_metrics(z, mask, c.stride, c.window)
    return metrics, measure_trajectories(z, mask, c)


def other_logprobs(s, rollout):
    """Log-probs [B, T] of the policy before the first update and of the reference; None where they are not needed."""
    c = s.config
    old = reference = None
    with parallel.unsharded(s.policy, s.reference):
        # Why not the sampler's log-probs? The sampler rounds differently, in bfloat16 by 1e-2: a policy that has not
        # moved would not have ratios of 1. With a single mini-batch loss_of has what is needed.
        if c.mini_batches > 1:
            old = score_logprobs(s.policy, rollout, c.temperature, c.micro_tokens)
        if s.reference:
            reference = score_logprobs(s.reference, rollout, c.temperature, c.micro_tokens)
    return old, reference


def update_policy(s, rollout):
    """`mini_batches` optimizer updates on the clipped loss, each on its own prompts; the means of what they log.

    FloatingPointError where loss or gradient is not finite; that update has then not touched the weights. In the first
    update all ratios are 1, up to rounding: the clip acts from the second on.
    """
    c = s.config
    rollout.learnt = gradients.learnt_tokens(rollout, c.mask_truncated)  # [B, T] bool
    lr = gradients.warmed_up_rate(c, s.step)
    s.optimizer.param_groups[0]["lr"] = lr

    updates = []
    for rows in gradients.rows_of_updates(rollout, c.mini_batches):  # consecutive ones: whole groups
        # The loss of an update is one sum over its tokens, whose weights divide by counts over the whole mini-batch (of
        # all processes). So the gradients of its micro-batches add up to the right one.
        token_count, response_count = s.world.counts(rollout.learnt[rows])
        logged = []
        parts = [part for _, part in rollout.micro_batches(c.micro_tokens, rows)]
        for part in s.world.equally_often(parts):  # alone: for part in parts
            weights = token_weights(part.learnt, c.normalise, token_count, response_count, c.max_new_tokens)  # [b, T]
            loss, stats = loss_of(s, part, weights)
            s.world.backward(loss)  # alone: loss.backward()
            logged.append(stats)

        # One step of the optimizer.
        totals = s.world.sums(*logged)
        totals["grad_norm"] = gradients.clip(s.policy, c.max_grad_norm)
        runs.refuse_non_finite(s.step + 1, totals["loss"], totals["grad_norm"])
        s.optimizer.step()
        s.optimizer.zero_grad(set_to_none=True)
        updates.append(totals)
    return {"lr": lr} | gradients.mean_over(updates)


def loss_of(s, part, weights):
    """(loss, stats) of a micro-batch, a Rollout of b responses; weights [b, T]: token_weights."""
    c = s.config
    logp, entropy, _ = s.policy(
        part.ids, part.attention, part.responses, temperature=c.temperature, entropy=c.entropy_coef > 0
    )
    old = part.old_logprobs
    if old is None:  # a single mini-batch: no update has come between, so these are the old ones
        old = logp.detach()
    loss, stats = policy_loss(
        logp, old, part.advantages, weights, c.clip_low, c.clip_high, entropy, c.entropy_coef,
        part.ref_logprobs, c.kl_coef,
    )  # fmt: skip
    return loss, stats | {"loss": loss.detach()}


def train(s, run):
    """The whole run of State s: evaluate, train, evaluate, print the table."""
    c = s.config
    run.begin(s.step)
    with run.stopping_cleanly(s):  # then --resume goes on
        if s.step == 0:
            benchmark(s, run, c.eval_n)
        while s.step < c.steps:
            with run.whole_step(s):  # Ctrl-C waits for its end; then a checkpoint, if it is time
                run.log(train_step(s), s.samples)
            if c.eval_every and s.step % c.eval_every == 0 and s.step < c.steps:
                benchmark(s, run, 1)
                run.keep_best(s)
        benchmark(s, run, c.eval_n)
    run.say_results(s.step)


# A first reader can skip the rest: a control, evaluation, and the command line.


def dealt_out(s, metrics, places):
    """The control `shuffled`: the metrics of the step's responses, dealt out among them at random."""
    return s.world.deal_out(metrics, places, s.config.group, sample_seed(s.config.seed, s.step, "order"))


def benchmark(s, run, samples):
    """Evaluate on --bench, `samples` for each problem, unless that was done at this step already."""
    c = s.config
    if c.bench == "none" or s.step in run.evaluations(samples):
        return
    batch = c.sample_batch or 256  # responses at a time
    protocol = Protocol.of(c, n=samples, top_p=1.0, batch=batch)
    line = {"step": s.step, "n": samples, "benchmarks": {}}
    with run.whole_evaluation(), parallel.unsharded(s.policy):
        for name, problems in load_benchmark(c.bench, c.bench_dir, own=own_fields(c)).items():
            title = f"step {s.step}: {name}"
            records, _ = evaluate(s.policy, s.tokenizer, problems, protocol, s.stop_ids, s.world, desc=title)
            line["benchmarks"][name] = summarise(records)
        run.log_evaluation(line)


def main(argv=None):
    with runs.refusals("train.py"):
        config, folder, checkpoint = runs.choose(argv)
        world = parallel.setup(config.threads)
        run = runs.Run(config, world, folder, checkpoint)
        state = start(Policy, config, world, run.checkpoint)
    with runs.failures("train.py", run):
        train(state, run)
        world.close()


if __name__ == "__main__":
    main()
    parallel.leave()
