"""What an evaluation leaves on disk, how it is found again, and how two of them compare.

    DIR/evaluation.json         what decides the samples; who resumes must decide the same
        samples.<rank>.jsonl    the batches that each process has finished, while it runs
        means/<batch>.pt        the mean states of their responses
        samples.jsonl           all samples, when it has ended
        results.json            the numbers, and what decided them

How it differs from the field's scripts. A batch counts as finished once it is on the disk, so that an evaluation that
was interrupted ends with the same samples. Questions, golds and weights are known by their hash: who resumes must have
the same, and two evaluations are compared only if they asked the same questions by the same protocol.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch

import toy
from engine import stats
from engine.checkpoints import checkpoints
from engine.data import problems_hash
from rank import METRICS


# Which model


def resolve_model(name):
    """(path or hub id, words that say which): `toy`, what was asked for, or the newest checkpoint under runs/."""
    if name == "toy":
        return str(toy.BASE), "the shipped toy base"
    if name:
        return name, name
    found = [path for run in Path("runs").glob("*") for _, path in checkpoints(run)]
    if not found:
        return str(toy.BASE), "the shipped toy base (no checkpoint under runs/)"
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return str(newest), f"{newest} (the newest checkpoint under runs/)"


# The folder


def decisions(config, path, weights, stops, dtype, sets, protocols):
    """What decides the samples, as evaluation.json and results.json hold it.

    weights: the hash of the model's; stops: the tokens that end a response. An evaluation is resumed only with the same
    decisions, and compared only with one of the same protocol on the same questions and golds.
    """
    protocol = asdict(next(iter(protocols.values())))  # they differ in n only
    protocol["n"] = {name: own.n for name, own in protocols.items()}
    protocol["rank_layer"] = config.rank_layer
    protocol["metrics"] = list(METRICS)  # what every record has
    protocol["stops"] = stops
    sizes = {name: len(problems) for name, problems in sets.items()}
    hashes = {name: problems_hash(problems) for name, problems in sets.items()}
    return {
        "protocol": protocol, "model": path, "weights": weights, "dtype": dtype, "problems": sizes, "data": hashes
    }  # fmt: skip


def check_folder(out, decided, resume):
    """Refuse a folder that holds another evaluation, or this one without --resume. decided: see `decisions`."""
    file = out / "evaluation.json"
    if not file.exists():
        return
    if not resume:
        raise FileExistsError(f"{out} holds an evaluation: give another --out, or --resume to go on with it")
    before = json.loads(file.read_text())
    different = stats.differing(flat(before), flat(decided))
    if different:
        raise ValueError(f"{out} was begun with other values, {different} (then, now): give another --out")


def flat(decided):
    """Decisions with the protocol's fields beside the others, so that what differs has a short name."""
    return decided["protocol"] | {name: value for name, value in decided.items() if name != "protocol"}


def begin(out, decided):
    """Make the folder, and say in it what decides its samples."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(decided, indent=1))


def key(record):
    """What names a sample in files."""
    return record["source"], record["id"], record["sample"]


def read_samples(path):
    """Records of a samples.jsonl, without a last line that a crash left half-written."""
    whole, _, _ = Path(path).read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.split("\n") if line]


def cut_torn_line(path):
    """Cut a half-written last line off a file that will be appended to, with a note."""
    whole, newline, torn = path.read_text(encoding="utf-8").rpartition("\n")
    if torn:
        print(f"{path}: dropped a half-written last line")
        path.with_suffix(".new").write_text(whole + newline, encoding="utf-8")
        path.with_suffix(".new").replace(path)


def write_samples(path, records, mode="a"):
    """Append records to a samples.jsonl, on the disk when this returns."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    with open(path, mode, encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


class Finished:
    """The batches that an evaluation has finished, in its folder: samples.<rank>.jsonl and means/<batch>.pt.

    Without a folder (out None) nothing is found and nothing is kept.
    """

    def __init__(self, out, rank):
        self.out, self.rank, self.found = out, rank, {}
        if not out:
            return
        own = out / f"samples.{rank}.jsonl"  # that of another process is its own to mend
        if own.exists():
            cut_torn_line(own)
        for file in sorted(out.glob("samples*.jsonl")):
            for record in read_samples(file):
                self.found[key(record)] = record

    def load(self, name, problems, n):
        """(records, mean states) of a batch, n samples of each problem; None if a part of it is missing."""
        keys = [(problem.source, problem.id, sample) for problem in problems for sample in range(n)]
        if not all(sample in self.found for sample in keys):
            return None
        states = self.out / "means" / f"{name}.pt"
        if not states.exists():
            return None
        return [self.found[sample] for sample in keys], torch.load(states, weights_only=True)

    def keep(self, name, records, means):
        """Write a batch; the states first, since a batch counts as finished once its last record is there."""
        if not self.out:
            return
        states = self.out / "means" / f"{name}.pt"
        states.parent.mkdir(exist_ok=True)
        torch.save(means, states)
        write_samples(self.out / f"samples.{self.rank}.jsonl", records)


def write_results(out, records, results):
    """All samples in one file, records {source: its records} in their order, then results.json and the command line.

    Parts are removed once the whole is there, and results.json is last, so who is killed meanwhile can resume.
    """
    everything = [record for own in records.values() for record in own]
    write_samples(out / "samples.jsonl.new", everything, "w")
    os.replace(out / "samples.jsonl.new", out / "samples.jsonl")
    for part in out.glob("samples.*.jsonl"):
        part.unlink()
    results = {"command": [sys.executable, *sys.argv], **results}
    (out / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False))


def read_evaluation(folder):
    """(protocol with the number of problems, {(source, id): share of right samples}) of a finished evaluation.

    The seed is left out: it decides which samples are drawn, not how.
    """
    results = json.loads((Path(folder) / "results.json").read_text())
    protocol = results["protocol"] | {"problems": results["problems"], "data": results.get("data")}
    protocol.pop("seed", None)
    return protocol, stats.right_shares(read_samples(Path(folder) / "samples.jsonl"))


# Two of them


def compare(folder_a, folder_b):
    """Paired difference of pass@1, B - A, of two evaluation folders: engine.stats.paired_comparison.

    ValueError where the two were not sampled by the same protocol on the same problems: it names what differs.
    """
    protocol_a, shares_a = read_evaluation(folder_a)
    protocol_b, shares_b = read_evaluation(folder_b)

    # Another protocol could be what makes the difference.
    different = stats.differing(protocol_a, protocol_b)
    if different:
        raise ValueError(f"{folder_a} and {folder_b} cannot be compared, they differ in {different}")

    # Each problem is compared with itself.
    unmatched = sorted(shares_a.keys() ^ shares_b.keys())
    if unmatched:
        raise ValueError(f"{folder_a} and {folder_b} hold different problems: {unmatched[:3]} …")
    return stats.paired_comparison(shares_a, shares_b)
