"""A training run as the outside sees it: its folder, its log, its command line when it is resumed, and how it stops.

    DIR/config.json          the options, all of them
        metrics.jsonl        one line per step
        samples.jsonl        a few responses of each step
        evaluations.jsonl    one line per evaluation
        checkpoint-N/        see engine/checkpoints.py

How it differs from a framework's. A step is whole or it did not happen: Ctrl-C and SIGTERM wait for its end and for its
checkpoint. Lines past the last checkpoint are cut off when a run is resumed, so that the log is that of one run. What a
run was begun with cannot change half-way, and an option that it was begun without is refused in one sentence.
"""

import contextlib
import json
import math
import signal
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path

import torch
from tqdm import tqdm

from engine.checkpoints import PROMPTING, clean, flush, last_checkpoint, save_checkpoint, versions, written
from engine.config import TrainConfig, complete_train, may_change, parse, train_recipe
from engine.parallel import end_with, first_process, several_processes
from engine.rewards import RewardError
from engine.samples import sample_text
from engine.stats import before_after
from engine.tensorboard import Nowhere, TensorBoard, summary_writer

DESCRIPTION = "Train with VERL or plain GRPO."
LOGS = ("metrics.jsonl", "evaluations.jsonl", "samples.jsonl")
LINES = 20  # what a run says of its steps where standard error is no terminal, and so has no bar
TIMES = ("seconds", "step_seconds")  # the fields of metrics.jsonl that no two runs share


# Logs


def append_line(path, line):
    """Add one JSON line to a log."""
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def read_lines(path, last_step=math.inf):
    """The lines of a log up to a step; a torn last line, and lines past the checkpoint, are no part of the run."""
    path = Path(path)
    if not path.exists():
        return []
    whole_lines = path.read_text().split("\n")[:-1]
    lines = [json.loads(line) for line in whole_lines if line]
    return [line for line in lines if line["step"] <= last_step]


def read_metrics(folder, times=True):
    """The lines of a run's metrics.jsonl; times=False leaves out the fields that no two runs share."""
    lines = read_lines(Path(folder) / "metrics.jsonl")
    return [{name: value for name, value in line.items() if times or name not in TIMES} for line in lines]


def joined(*parts):
    """One line of several dicts. ValueError where two have a name in common, of which one would hide the other."""
    line = {}
    for part in parts:
        twice = line.keys() & part.keys()
        if twice:
            raise ValueError(f"two numbers of a step are called {', '.join(sorted(twice))}: rename the metric")
        line |= part
    return line


def write_whole(path, text):
    """Replace a file's text: whoever is killed meanwhile leaves the old text or the new, never a part."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    flush(part)
    part.replace(path)


def cut_log(path, last_step):
    """Rewrite a log so that it ends at `last_step`."""
    write_whole(path, "".join(json.dumps(line) + "\n" for line in read_lines(path, last_step)))


def refuse_non_finite(step, loss, norm):
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise FloatingPointError(
            f"step {step}: loss {loss:g}, gradient norm {norm:g}; this update was not made. A smaller --lr may help"
        )


class Clock:
    """Seconds by phase of a step: `lap` books what has passed since the last lap."""

    def __init__(self):
        self.began = self.last = time.perf_counter()
        self.seconds = {}

    def lap(self, phase):
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # or its work would be booked on the next phase
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.last
        self.last = now

    def total(self):
        return self.last - self.began


# Which run does a command line mean?


def choose(argv=None):
    """(TrainConfig, folder, checkpoint or None) of a command line; refuses to mix runs, and to change one half-way.

    ValueError, FileExistsError, FileNotFoundError: in one line, with the way out.
    """
    config = parse(TrainConfig, DESCRIPTION, argv)
    if not config.resume:
        config = complete_train(config)
        folder = Path(config.out or f"runs/{time.strftime('%Y%m%d-%H%M%S')}")
        if any((folder / name).exists() for name in ("config.json", "metrics.jsonl")):
            raise FileExistsError(f"{folder} holds a run: give another --out, or --resume to go on with it")
        return config, folder, None

    runs = [Path(config.out)] if config.out else [path.parent for path in Path("runs").glob("*/config.json")]
    runs = [run for run in runs if (run / "config.json").exists()]
    if not runs and config.out:  # so that one command both starts a run and, after a machine has died, goes on with it
        return complete_train(config), Path(config.out), None
    if not runs:
        raise FileNotFoundError(f"--resume: no run in {Path('runs').resolve()} (looked for runs/*/config.json)")
    newest = max(runs, key=lambda run: (run / "config.json").stat().st_mtime)
    return resumed_config(newest, argv), newest, last_checkpoint(newest)


def resumed_config(folder, argv=None):
    """The TrainConfig of a run that goes on: what it was begun with, and what the command line may change of it."""
    stored = json.loads((folder / "config.json").read_text())
    known = [option.name for option in fields(TrainConfig)]
    strange = [name for name in stored if name not in known]
    if strange:
        raise ValueError(
            f"{folder} was begun by another version of this program, with options that this one does not know: "
            f"{', '.join(strange)}; resume it with that version"
        )
    as_begun = stored | {"resume": False, "out": str(folder)}
    before = complete_train(parse(TrainConfig, DESCRIPTION, [], as_begun))
    config = complete_train(parse(TrainConfig, DESCRIPTION, argv, as_begun))
    different = [name for name in known if getattr(before, name) != getattr(config, name)]
    for name in set(different) - may_change(TrainConfig):
        if name not in stored:
            raise ValueError(
                f"--resume of {folder} cannot set --{name}: the run was begun by a version without that option; start "
                "a new run for it"
            )
        raise ValueError(
            f"--resume of {folder} cannot change {name}: {getattr(before, name)} -> {getattr(config, name)}; start a "
            "new run for that"
        )
    return config


class Run:
    """The folder of a training run, and what has been done in it. All processes have one; the first one writes."""

    def __init__(self, config, world, folder, checkpoint=None):
        """Folder and checkpoint are the first process's: clocks differ, and so would runs/<time>."""
        self.config, self.world = config, world
        self.folder, self.checkpoint = world.gather([(folder, checkpoint)])[0]
        self.saved_step = None
        self.bar = None
        self.stop = StopAtStepEnd()
        self.board = Nowhere()
        if config.tensorboard:
            summary_writer()  # a package that is missing is an error now
        options = " ".join(f"{name}={value}" for name, value in asdict(config).items() if value is not None)
        world.say(f"run {self.folder} (recipe {train_recipe(config)}, processes: {world.size}): {options}")
        if config.resume and not self.checkpoint:
            world.say(f"{self.folder} holds no checkpoint to resume from: from the start")

    def begin(self, step):
        """Make the folder, and let its logs end at the step that the run goes on from."""
        with written(self.folder, self.world):
            if self.world.first:
                self.folder.mkdir(parents=True, exist_ok=True)
                clean(self.folder)
                write_whole(self.folder / "config.json", json.dumps(asdict(self.config), indent=1))
                for name in LOGS:
                    cut_log(self.folder / name, step)
        there = (self.folder / "config.json").exists()
        lost = [rank for rank, sees in enumerate(self.world.gather([there])) if not sees]
        if lost:
            raise OSError(f"--out {self.folder} is not there on ranks {lost}: give a folder that all machines see")
        self.world.say(f"log: {self.folder}/metrics.jsonl")
        if self.config.tensorboard and self.world.first:
            self.board = TensorBoard(self.folder / "tensorboard")
        if self.checkpoint:
            self.saved_step = step
            self.world.say(f"going on from {self.checkpoint}")

    def log(self, line, samples=()):
        """One line of metrics.jsonl, where what is undefined is null and never 0; `samples` go to samples.jsonl."""
        line = {name: None if is_nan(value) else value for name, value in line.items()}
        if self.world.first:
            append_line(self.folder / "metrics.jsonl", line)
            self.board.write(line, line["step"])
        reward, step, steps = f"{line['reward']:.3f}", line["step"], self.config.steps
        self.bar.set_postfix(reward=reward, refresh=False)
        every = max(1, steps // LINES)
        if self.bar.disable and step % every == 0:  # no terminal, no bar
            self.world.say(f"step {step} of {steps}: reward {reward}, {line['step_seconds']:.1f} s")
        self.log_samples(samples)

    def log_samples(self, records):
        """A few responses of a step: lines of samples.jsonl, and on the screen as many as --show asks for."""
        if self.world.first:
            for record in records:
                append_line(self.folder / "samples.jsonl", record)
        for record in records[: self.config.show]:
            self.world.say(sample_text(record))

    def log_evaluation(self, line):
        if self.world.first:
            append_line(self.folder / "evaluations.jsonl", line)
            for name, summary in line["benchmarks"].items():
                self.board.write({f"{name}/pass@1": summary["pass@1"]}, line["step"])

    def evaluations(self, samples):
        """{step: {benchmark: summary}} of the evaluations with so many samples per problem, the same on all processes.

        The first one reads the file, because it wrote it; another might not see its last line yet.
        """
        lines = read_lines(self.folder / "evaluations.jsonl") if self.world.first else None
        lines = self.world.gather([lines])[0]
        return {line["step"]: line["benchmarks"] for line in lines if line["n"] == samples}

    def say_results(self, step):
        """The table of the first evaluation beside the last, where the results are, and what to do with them."""
        samples = self.config.eval_n
        found = self.evaluations(samples)
        if 0 in found and step in found:
            self.world.say(before_after(found[0], found[step], samples))
        model = f"{self.folder}/checkpoint-{step}"
        self.world.say(f"metrics: {self.folder}/metrics.jsonl · model: {model}")
        self.world.say(f"evaluate it with: python eval.py --model {model} --bench NAME")

    def save(self, s):
        """Checkpoint of the training State s."""
        about = {"step": s.step, "config": asdict(s.config), "data": s.data, "versions": versions()}
        about |= {name: getattr(s.config, name) for name in PROMPTING}
        state = {"step": s.step, "baseline": s.mu, "data": s.data}  # mu is "baseline" in all checkpoints so far
        save_checkpoint(
            self.folder, s.policy, s.optimizer, s.tokenizer, about, state, s.config.keep, self.world, self.best_step()
        )
        self.saved_step = s.step

    def keep_best(self, s):
        """With --keep_best, see to it that the best evaluation so far has its checkpoint."""
        if s.step == self.best_step() and s.step != self.saved_step:
            with self.stop:
                self.save(s)

    def best_step(self):
        """With --keep_best, the step of the highest mean pass@1 of the evaluations on the way; else None."""
        if not self.config.keep_best:
            return None
        means = {}
        for step, benchmarks in self.evaluations(1).items():
            means[step] = sum(summary["pass@1"] for summary in benchmarks.values()) / len(benchmarks)
        return max(means, key=means.get, default=None)

    @contextlib.contextmanager
    def whole_step(self, s):
        """A step that Ctrl-C and SIGTERM cannot cut in two: they wait for its end, and then for its checkpoint."""
        if self.bar is None:
            total = self.config.steps
            self.bar = tqdm(total=total, initial=s.step, desc="train", unit="step", disable=self.world.quiet)
        with self.stop:  # also while saving, where processes wait for each other
            yield
            due = s.step % self.config.save_every == 0 or s.step == self.config.steps
            if due or any(self.world.gather([self.stop.asked])):
                self.save(s)
            # Who asks after this line is heard at the end of the next step: `asked` stays. Step and checkpoint are the
            # same on all processes, so that all of them gather, or none.
            stop_now = self.saved_step == s.step and any(self.world.gather([self.stop.asked]))
        self.bar.update()
        if s.step == self.config.steps:
            self.bar.close()
        if stop_now:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def whole_evaluation(self):
        """An evaluation that Ctrl-C and SIGTERM interrupt at once on one process, and not before its end on several.

        To stop, several processes must come to the checkpoint together.
        """
        if self.world.size == 1:
            yield
            return
        with self.stop:
            yield
            stop_now = any(self.world.gather([self.stop.asked]))
        if stop_now:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def stopping_cleanly(self, s):
        """Whoever stops the run inside gets what was done saved, and is told how to go on."""
        try:
            yield
        except KeyboardInterrupt:
            if s.step and s.step != self.saved_step:
                with self.stop:
                    self.save(s)
            if not self.world.first:
                sys.exit(1)
            program = "python" if self.world.size == 1 else "torchrun …"
            again = f"{program} train.py --out {self.folder} --resume"
            sys.exit(f"\nstopped after step {s.step} of {self.config.steps}; go on with: {again}")
        finally:
            if self.bar is not None:
                self.bar.close()


def is_nan(value):
    return isinstance(value, float) and math.isnan(value)


# How a program ends


class StopAtStepEnd:
    """Ctrl-C and SIGTERM wait for the end of the `with` block: `asked` is True from then on.

    A second Ctrl-C ends the program at once, in the middle of a step, whose state is therefore not saved. (Not under
    torchrun, which turns a Ctrl-C into a SIGTERM to its processes, and kills those that have not ended 30 s later.)
    """

    def __init__(self):
        self.asked = False

    def _note(self, number, frame):
        if self.asked and number == signal.SIGINT:
            raise SystemExit("\nstopped inside a step: go on from the last checkpoint with --resume")
        if not self.asked and first_process():
            at_once = "" if several_processes() else "; Ctrl-C to stop at once, back to the last checkpoint"
            print(f"\nstopping after this step{at_once}", file=sys.stderr)
        self.asked = True

    def __enter__(self):
        self.previous = [signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(self, *error):
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), self.previous):
            signal.signal(number, handler)


@contextlib.contextmanager
def refusals(program):
    """What cannot work ends the program with one line, from one process."""
    try:
        yield
    except (ValueError, OSError, ModuleNotFoundError) as error:
        end_with(program, error)


@contextlib.contextmanager
def failures(program, run):
    """What goes wrong in training ends the program with one line that says why and what is left.

    SIGTERM is a Ctrl-C in here, and not before: while processes wait for each other to start, Python hears no signal, and
    torchrun would have to wait, and then to kill them.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    except (OSError, FloatingPointError) as error:
        end_with(program, f"{error}\nlast checkpoint: {last_checkpoint(run.folder)}")
    except RewardError as error:  # of this process alone
        sys.exit(f"{program}: rank {run.world.rank}: {error}\nlast checkpoint: {last_checkpoint(run.folder)}")
    except torch.OutOfMemoryError as error:
        remedies = "try a smaller --sample_batch if it was sampling, --recompute or a smaller --micro_tokens if not"
        sys.exit(f"{program}: rank {run.world.rank}: {error}\n{remedies}")
    except RuntimeError as error:
        if "peer" not in str(error):  # how gloo says that a connection was closed
            raise
        sys.exit(f"{program}: rank {run.world.rank} stops, because another process has ended")
