"""Evaluation: sample, grade, and say how sure the result is.

    python eval.py --bench toy                                 the newest checkpoint under runs/, else the shipped base
    python eval.py --bench gaokao2024 --model Qwen/Qwen2.5-7B  the paper's sampling: temperature 0.6, top_p 0.95
    torchrun --nproc_per_node 8 eval.py --bench math500 …      each process its share of the problems
    python eval.py --compare runs/a-eval runs/b-eval           is the second better than the first?

    1 sample   n responses to each problem, batch by batch        `evaluate`, `sample_batch`
    2 grade    answer, verdict and rank metrics of each response  `sample_batch`
    3 report   pass@k, majority vote and their intervals          engine/stats.py, `report`

How it differs from the field's scripts. The prompt, the sampler and the verifier are the ones that training uses. Each
number comes with a 95% interval over problems, and what decides it is in results.json. A problem whose prompt does not
fit the model is scored wrong and counted, never cut. Every finished batch is kept on disk, so an interrupted evaluation
goes on where it stopped and ends with the same samples.
"""

import sys
import time
from dataclasses import dataclass, fields, replace
from operator import itemgetter
from pathlib import Path

import torch
from tqdm import tqdm

from engine import stats
from engine.batch import sample_seed
from engine.checkpoints import checkpoint_prompting, versions
from engine.config import parse_eval
from engine.data import list_benchmarks, load_benchmarks, own_fields, paper_samples
from engine.evaluations import Finished, begin, check_folder, compare, decisions, resolve_model, write_results
from engine.models import check_bfloat16, check_family, load_model, model_room, weights_hash
from engine.parallel import World, end_with, leave, setup
from engine.prompts import opened_thought, render, stop_ids, stop_tokens, warn_of_foreign_markers
from engine.runs import joined
from engine.samples import sample_text
from engine.stats import summarise
from rank import METRICS, dataset_metrics, mean_states, rank_metrics
from rollout import Policy, generate
from verifier import extract_answer, verify


@dataclass(frozen=True)
class Protocol:
    """What decides a sample besides the model: the same protocol and model give the same samples."""

    template: str
    n: int  # samples per problem
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    batch: int  # responses sampled together: rounding, and so a sample now and then, can depend on it
    stride: int  # of ERV and ERA
    window: int | None = None  # likewise
    system: str | None = None
    chat_options: str | None = None
    last_number: bool = False

    @classmethod
    def of(cls, config, **others):
        """The Protocol that the options of a configuration ask for, but for `others`."""
        options = {field.name: getattr(config, field.name) for field in fields(cls) if hasattr(config, field.name)}
        return cls(**options | others)


# One batch


def batches(problems, prompts, protocol):
    """Problems cut into batches of about `protocol.batch` responses, longest prompts first: a function of its input."""
    # Prompts of similar length need little padding, and a batch too large for the memory fails at once.
    lengths = [len(prompt) for prompt in prompts]
    order = sorted(range(len(problems)), key=lengths.__getitem__, reverse=True)

    # A problem brings n responses along.
    size = max(1, protocol.batch // protocol.n)
    return [order[start : start + size] for start in range(0, len(order), size)]


def unsampled(problem, sample):
    """A line of samples.jsonl before its response is there, which says: too long for the model, and so wrong."""
    record = {
        "source": problem.source,
        "id": problem.id,
        "sample": sample,  # 0 to n - 1
        "question": problem.question,
        "gold": problem.answer,
        "response": None,  # text, without special tokens
        "answer": None,  # what the verifier took from the response; None where it found nothing
        "correct": False,
        "too_long": True,
        "length": None,  # tokens, the end token included
        "truncated": None,  # whether the response was cut at max_new_tokens
    }
    return joined(record, dict.fromkeys(METRICS))


def sample_batch(policy, tokenizer, problems, prompts, protocol, stop_ids):
    """Samples and grades of one batch: a list of records, n consecutive ones for each problem, and the mean hidden
    states of the responses, float64 [sampled, D] (None where no prompt fits)."""
    # A prompt that leaves no room for a whole response keeps its records as they are here.
    room = model_room(policy) - protocol.max_new_tokens
    records, asked, fitting = [], [], []
    for problem, prompt in zip(problems, prompts):
        own = [unsampled(problem, sample) for sample in range(protocol.n)]
        records += own
        if len(prompt) <= room:
            fitting.append(prompt)  # [N]
            asked += own  # [N n], in the order of the responses
    if not fitting:
        return records, None

    # Sample the others. A seed of its own makes a response independent of its batch and of the number of processes.
    seeds = []
    for record in asked:
        seeds.append(sample_seed(protocol.seed, record["source"], record["id"], record["sample"]))
    longest = protocol.max_new_tokens
    rollout = generate(
        policy, fitting, seeds, longest, stop_ids, protocol.temperature, protocol.top_p, keep_states=True
    )

    # Grade them by the verifier that rewards in training; only here it may fall back to the last number.
    texts = rollout.texts(tokenizer)
    opened = opened_thought(tokenizer, rollout)  # by the prompt
    lengths = rollout.mask.sum(1).tolist()
    finished = rollout.finished.tolist()
    for record, text, length, ended in zip(asked, texts, lengths, finished):
        record["response"] = text
        record["answer"] = extract_answer(opened + text, last_number=protocol.last_number)
        record["correct"] = verify(opened + text, record["gold"], last_number=protocol.last_number)
        record["too_long"] = False
        record["length"] = length
        record["truncated"] = not ended  # graded all the same

    # Measure their hidden states [N n, T, D]. The mean states [N n, D] are for the metrics of the whole set.
    metrics = rank_metrics(rollout.states, rollout.mask, protocol.stride, protocol.window)
    for name, values in metrics.items():
        for record, value in zip(asked, values.tolist()):
            record[name] = stats.finite(value)
    return records, mean_states(rollout.states, rollout.mask).cpu()


# All batches of one benchmark


def evaluate(policy, tokenizer, problems, protocol, stop_ids, world=None, out=None, desc="eval"):
    """Records of all `problems` of one benchmark in the order of their batches, and their mean states [samples, D].

    world: parallel.World; each process takes every size-th batch, and all return the same. out: a folder; each batch
    is added to a samples*.jsonl there when it is done, and a batch found there is not sampled again, so that an
    interrupted evaluation goes on where it was and ends as if it had not been interrupted.
    """
    # Without a world this process is alone; without a folder nothing is found, and nothing kept.
    world = world or World(0, 1, next(policy.parameters()).device)
    finished = Finished(out, world.rank)
    world.barrier()  # every process has read before one writes

    # The same batches on any number of processes, which take them in turn.
    asking = protocol.template, protocol.system, protocol.chat_options
    prompts = [render(tokenizer, problem.question, *asking) for problem in problems]
    cut = batches(problems, prompts, protocol)
    total = len(problems) * protocol.n
    own, verdicts = [], []  # of this process
    with tqdm(total=total, desc=desc, unit="sample", disable=world.quiet, leave=False) as bar:
        for number, batch in enumerate(cut):
            if number % world.size != world.rank:
                bar.update(len(batch) * protocol.n)  # another process takes about as long for it
                continue

            # What an interrupted evaluation has left is taken as it is.
            chosen = [problems[i] for i in batch]
            asked = [prompts[i] for i in batch]
            name = f"{problems[0].source}-{number}"
            done = finished.load(name, chosen, protocol.n)
            if done is None:
                done = sample_batch(policy, tokenizer, chosen, asked, protocol, stop_ids)
                finished.keep(name, *done)
            own.append((number, *done))

            # The bar shows the share of right answers so far.
            records, _ = done
            verdicts += [record["correct"] for record in records]
            right = stats.share(verdicts)
            bar.set_postfix(right=f"{right:.3f}", refresh=False)
            bar.update(len(batch) * protocol.n)

    # Put the batches of all processes back into their order.
    records, states = [], []
    for _, batch_records, batch_states in sorted(world.gather(own), key=itemgetter(0)):
        records += batch_records
        if batch_states is not None:  # some prompt of the batch fitted
            states.append(batch_states)
    return records, torch.cat(states) if states else None


# From the command line to results.json


def protocols_of(config, path, sets):
    """{source: Protocol} that the options ask for; ValueError where one greedy response would be sampled n times."""
    # What is not given is as the model was trained, if its checkpoint says so.
    trained = checkpoint_prompting(path)
    plain = Protocol.of(
        config,
        template=config.template or trained["template"] or "qwen-boxed",
        system=config.system or trained["system"],
        chat_options=config.chat_options or trained["chat_options"],
    )
    if plain.template != "chat" and (config.system or config.chat_options):
        raise ValueError(f"--system and --chat_options are for --template chat; this model's is {plain.template}")

    # The paper asks more often where there are few problems.
    protocols = {}
    for name in sets:
        n = paper_samples(name) if config.protocol == "paper" else plain.n
        if plain.temperature == 0 and n > 1:
            raise ValueError(f"--temperature 0 gives the same answer {n} times: use --n 1 or sample")
        protocols[name] = replace(plain, n=n)
    return protocols


def load_policy(path, dtype, sets, protocols, config, device):
    """(Policy, tokenizer, ids that end a response); ValueError for a model that a protocol cannot work with."""
    model, tokenizer = load_model(path, device, getattr(torch, dtype))
    policy = Policy(model.eval(), config.rank_layer)  # eval: no dropout
    template = next(iter(protocols.values())).template  # the same for all
    more = config.stop or checkpoint_prompting(path)["stop"] or []
    stops = stop_ids(model, tokenizer, template, more)
    warn_of_foreign_markers(tokenizer, template)
    check_family(policy)

    # What would fail at the first batch fails now.
    room = model_room(policy)
    for name, protocol in protocols.items():
        longest = protocol.max_new_tokens
        render(tokenizer, sets[name][0].question, protocol.template, protocol.system, protocol.chat_options)
        if longest >= room:
            what = f"--max_new_tokens {longest} leaves no room for any prompt"
            raise ValueError(f"{what}: {path} has {room} positions; give fewer tokens")
    return policy, tokenizer, stops


def report(name, records, states, show, world):
    """Summary of a benchmark's records and mean states [samples, D] or None; printed, with its first `show` samples."""
    summary = summarise(records)

    # The mean states of all responses, in a row, are one more trajectory to measure (the paper's section 4).
    if states is not None:
        metrics = dataset_metrics(states)
        summary["dataset"] = {metric: stats.finite(value.item()) for metric, value in metrics.items()}
    world.say(stats.summary_line(name, summary))

    # Some samples to read, as they were graded.
    for record in records[:show]:
        world.say(sample_text(record))
    return summary


def run(config):
    """One evaluation, from its options to its folder."""
    # Resolve the options: which problems, which model, sampled how.
    sets, pools = load_benchmarks(config.bench, config.bench_dir, config.limit, own_fields(config))
    path, said = resolve_model(config.model)
    world = setup(config.threads)
    check_bfloat16(config, world.device)
    protocols = protocols_of(config, path, sets)
    dtype = "bfloat16" if world.device.type == "cuda" or config.bfloat16 else "float32"

    # Load the model before the folder is made: what cannot work leaves nothing behind.
    policy, tokenizer, stops = load_policy(path, dtype, sets, protocols, config, world.device)
    weights, ends = weights_hash(policy.lm), stop_tokens(tokenizer, stops)
    decided = decisions(config, path, weights, ends, dtype, sets, protocols)

    # A folder holds one evaluation; only the same one may go on in it.
    now = time.strftime("%Y%m%d-%H%M%S")
    out = Path(config.out or world.gather([f"runs/{now}-eval"])[0])  # the first process's clock
    check_folder(out, decided, config.resume)
    world.barrier()  # every process has checked the folder
    begin(out, decided)
    options = " ".join(f"{option}={value}" for option, value in decided["protocol"].items())
    machine = f"{dtype} on {world.device}, processes: {world.size}"
    world.say(f"{said} · {options} · {machine} · to {out}")

    # Evaluate each benchmark.
    began = time.time()
    records, summaries = {}, {}
    for name, problems in sets.items():
        records[name], states = evaluate(policy, tokenizer, problems, protocols[name], stops, world, out, name)
        summaries[name] = report(name, records[name], states, config.show, world)

    # A benchmark of several sources has a summary of all its samples, too.
    for name, sources in pools.items():
        pooled = []
        for source in sources:
            pooled += records[source]
        title = f"{name} pooled"
        summaries[title] = report(title, pooled, None, 0, world)

    # All processes have all records; the first one writes them.
    if world.rank == 0:
        results = decided | {"benchmarks": summaries, "versions": versions(), "device": str(world.device)}
        results |= {"processes": world.size, "seconds": time.time() - began}  # without loading
        write_results(out, records, results)
    world.say(f"results and samples: {out}/results.json, {out}/samples.jsonl")
    world.close()


def main(argv=None):
    try:
        config = parse_eval(argv)
        if config.compare:
            for name, compared in compare(*config.compare).items():
                print(stats.comparison_line(name, compared))
        elif config.bench == "list":
            print(list_benchmarks())
        else:
            run(config)
    except (ValueError, OSError) as error:
        end_with("eval.py", error)
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; every finished batch is kept: the same command with --out and --resume goes on")


if __name__ == "__main__":
    main()
    leave()
