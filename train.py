"""VERL: GRPO with the advantage shaped by effective rank, velocity and acceleration.

One training step (`train_step`), for the B = prompts x group responses of a batch:

    1 sample   G responses to each prompt, and the hidden states that predicted their tokens      rollout.py
    2 verify   R = 1 where the answer is right, else 0 (or another --reward)                      verifier.py
    3 shape    A from R over the group; ER, ERV, ERA from the states;                             grpo.py, rank.py
               A' from both, against the running means of ER, ERV and ERA                         shaping.py
    4 update   clipped loss on A', backward, clip, step; `mini_batches` times per rollout         grpo.py
    5 log      one line of DIR/metrics.jsonl

Plain GRPO is the same with A' = A (--shaping none).

    python train.py                                         the embedded default: a minute on a laptop
    python train.py --shaping none                          the same run as plain GRPO
    python train.py --out runs/a --resume                   go on after Ctrl-C, a crash or a kill
    python train.py --model Qwen/Qwen2.5-0.5B --data gsm8k  a real model; options left out are the paper's
    torchrun --nproc_per_node 8 train.py …                  the same on 8 GPUs; the global batch does not change

How it differs from a framework's trainer. One step is one function that reads as the method does. Batches and samples
are functions of (seed, step, prompt, sample): a run that was stopped and resumed ends with the same weights, to the bit
on one CPU process, and a run on several processes has the prompts and samples of a run on one. What is called on
`s.world` may speak to other processes; on one process it does nothing. Left out: LoRA, several turns, dynamic sampling.
"""

from engine import parallel, runs
from engine.batch import in_batches, joined_rollouts, sample_seed
from engine.data import load_benchmark, own_fields
from engine.describe import describe
from engine.gradients import accumulate, clip_gradient
from engine.rewards import grade
from engine.samples import few_samples, prefix_curves
from engine.state import start
from engine.stats import before_after, summarise
from eval import Protocol, evaluate
from grpo import group_advantages, policy_loss
from rank import dataset_metrics, mean_states, rank_metrics
from rollout import Policy, generate, score_logprobs
from shaping import shape_advantages, update_baseline


def train_step(s):
    """One step of VERL; returns its line of metrics.jsonl, the same on all processes.

    s: engine.state.State: the config, the policy and its optimizer, the problems, the steps done, the running means.
    """
    c, clock = s.config, runs.Clock()

    # 1. Sample: this process's prompts of the step, and G responses to each.
    batch = s.world.step_batch(s.problems, s.step, c.prompts, c.mini_batches, c.seed)
    numbers = [number for number, _, _ in batch]  # of the prompts within the step: 0, 1, 2 .. on one process
    rollout = sample(s, batch)  # B responses of at most T tokens
    clock.lap("rollout")

    # 2. Verify. What the hidden states say is computed meanwhile, if a core is idle.
    measured = parallel.in_background(s.world.device, measure_states, rollout, c)
    answered = [problem for _, problem, _ in batch for _ in range(c.group)]  # one for each response
    graded = grade(s.reward, answered, rollout, s.tokenizer, c.max_new_tokens, c.overlong_buffer)
    clock.lap("verify")

    # The loss compares with the policy before the update and, if asked to, with the first policy of all.
    rollout.old_logprobs, rollout.ref_logprobs = other_logprobs(s, rollout)  # [B, T] each
    clock.lap("score")

    # 3. Shape: what the group says of a response, and what its hidden states say.
    A = group_advantages(graded.rewards, c.group, c.scale_std)  # [B]
    metrics, mean_state, curves = measured.result()  # {name: [B]}, [B, D], [few, K]
    signal = metrics
    if c.shaping == "shuffled":  # the control that keeps the size of the bonus and loses its signal
        signal = s.world.of_other_responses(metrics, numbers, c.group, sample_seed(c.seed, s.step, "order"))
    shaped, bonus = shape_advantages(
        A, signal, s.baseline, c.kappa, c.gain, c.shaping, mask=rollout.mask, entropy=rollout.entropy
    )
    means, undefined = s.world.known_means(metrics)  # {name: number} each, over all processes
    s.baseline = update_baseline(s.baseline, means, c.alpha)  # only now: this step was compared with those before it
    dataset = dataset_metrics(s.world.by_prompt(mean_state, numbers))  # of the step's responses as one trajectory
    clock.lap("rank")

    # 4. Update: learn from the shaped advantages.
    rollout.states = None  # large, and not needed any more
    if shaped.dim() == 2:  # tokens of a response differ
        rollout.advantages = shaped
    else:  # every token gets the response's own
        rollout.advantages = shaped[:, None].expand(rollout.mask.shape)  # [B, T]
    updated = update(s, rollout)
    s.step += 1
    clock.lap("update")

    # 5. Log.
    s.samples = few_samples(s.step, c.log_samples, graded, metrics, curves, A, shaped, rollout.mask)
    counts = {f"{name}_undefined": count for name, count in undefined.items()}
    whole = {f"dataset_{name}": value.item() for name, value in dataset.items()}
    described = describe(s.world, rollout, graded, c.group)
    bonuses = s.world.means(bonus)
    line = runs.joined({"step": s.step}, described, bonuses, updated, means, counts, whole)
    clock.lap("other")
    return line | {"seconds": clock.seconds, "step_seconds": clock.total()}


def sample(s, batch):
    """A Rollout of `group` responses to each prompt of `batch`, with the states that predicted each token."""
    c = s.config
    prompts = [ids for _, _, ids in batch]
    seeds = [sample_seed(c.seed, s.step, number, j) for number, _, _ in batch for j in range(c.group)]
    parts = []
    with parallel.unsharded(s.policy):
        for some, own_seeds in in_batches(prompts, seeds, c.sample_batch):
            parts.append(
                generate(s.policy, some, own_seeds, c.max_new_tokens, s.stop_ids, c.temperature, keep_states=True)
            )
    return joined_rollouts(parts)


def other_logprobs(s, rollout):
    """Log-probs [B, T] before the update and under the frozen reference, each None where it is not needed.

    The sampler's own will not do: it computes in another order, and on a GPU in bfloat16, so that a policy that has not
    moved would have ratios other than 1. With a single update per rollout the policy never moves before it is compared:
    all ratios are 1, nothing is clipped, and loss_of takes its own log-probs as the old ones.
    """
    c = s.config
    old = reference = None
    with parallel.unsharded(s.policy, s.reference):
        if c.mini_batches > 1:
            old = score_logprobs(s.policy, rollout, c.temperature, c.micro_tokens)
        if s.reference:
            reference = score_logprobs(s.reference, rollout, c.temperature, c.micro_tokens)
    return old, reference


def measure_states(rollout, c):
    """Rank metrics {name: [B]} of the responses, their mean states [B, D], and m_j of a few of them [few, K]."""
    z, mask = rollout.states, rollout.mask  # [B, T, D], [B, T]
    few = slice(c.log_samples)
    curves = prefix_curves(z[few], mask[few], c.stride, c.window)
    return rank_metrics(z, mask, c.stride, c.window), mean_states(z, mask), curves


def update(s, rollout):
    """`mini_batches` optimizer updates on the clipped loss, each on its own prompts; the means of what they log.

    FloatingPointError, before the weights are touched, where loss or gradient is not finite.
    """
    c = s.config
    rollout.learnt = rollout.mask  # [B, T]: the tokens that are learnt from
    if c.mask_truncated:
        rollout.learnt = rollout.mask & rollout.finished[:, None]
    warmth = (s.step + 1) / max(1, c.warmup_steps)
    lr = c.lr * min(1.0, warmth)  # rises over the warm-up, then stays
    s.optimizer.param_groups[0]["lr"] = lr

    updates = []
    # step_batch has put the prompts of the first mini-batch first, and so on, each with its whole group.
    for mini_batch in rollout.rows().chunk(c.mini_batches):
        # backward() of the loss over the tokens of all processes, in as many pieces as the memory asks for.
        totals = accumulate(s, rollout, mini_batch, loss_of)
        totals["grad_norm"] = clip_gradient(s.policy, c.max_grad_norm)
        runs.refuse_non_finite(s.step + 1, totals["loss"], totals["grad_norm"])
        s.optimizer.step()
        s.optimizer.zero_grad(set_to_none=True)
        updates.append(totals)

    means = {"lr": lr}
    for name in updates[0]:
        means[name] = sum(totals[name] / len(updates) for totals in updates)
    return means


def loss_of(s, part, weights):
    """(loss, stats) of a part of the rollout, whose tokens have these weights [b, T] in the loss."""
    c = s.config
    with_entropy = c.entropy_coef > 0
    logp, entropy, _ = s.policy(
        part.ids, part.attention, part.responses, temperature=c.temperature, entropy=with_entropy
    )
    old = part.old_logprobs
    if old is None:  # the only update of this rollout, see other_logprobs
        old = logp.detach()
    return policy_loss(
        logp, old, part.advantages, weights,
        clip_low=c.clip_low, clip_high=c.clip_high,
        entropy=entropy, entropy_coef=c.entropy_coef,
        ref_logp=part.ref_logprobs, kl_coef=c.kl_coef,
    )  # fmt: skip


def train(s, run):
    """The whole run of State s: evaluate, train, evaluate, print the table."""
    c = s.config
    run.begin(s.step)
    with run.stopping_cleanly(s):  # whoever stops the run in here can go on with --resume
        if s.step == 0:
            measure(s, run, c.eval_n)
        while s.step < c.steps:
            with run.whole_step(s):  # Ctrl-C waits for its end, and for its checkpoint if one is due
                run.log(train_step(s), s.samples)
            if c.eval_every and s.step % c.eval_every == 0 and s.step < c.steps:
                measure(s, run, 1)
                run.keep_best(s)
        measure(s, run, c.eval_n)

    # What has changed? The table of the first evaluation beside the last.
    found = run.evaluations(c.eval_n)
    if 0 in found and s.step in found:
        s.world.say(before_after(found[0], found[s.step], c.eval_n))
    s.world.say(run.whereabouts(s.step))


def measure(s, run, samples):
    """Evaluate on --bench, `samples` for each problem, unless the run has done so at this step already."""
    c = s.config
    if c.bench == "none" or s.step in run.evaluations(samples):
        return
    # As in training: the same prompt, temperature, length limit and verifier.
    protocol = Protocol.of(c, n=samples, top_p=1.0, batch=256)
    line = {"step": s.step, "n": samples, "benchmarks": {}}
    with parallel.unsharded(s.policy):
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
