"""What happened during training? Draws metrics.jsonl of any runs: reward, ranks, entropy, length, beta and the bonus.

    python studies/plot.py runs/a runs/b                    picture.png
    python studies/plot.py runs/verl-* runs/none-* --out runs.png

Runs of one configuration, which differ in the seed or in what a resumed run may change, are one line: the mean over
them, with their range shaded. The legend names only what differs between lines. A number that is undefined (null in the
log) leaves a gap. Panels without any number are left out. Lines differ in dashes as well as in colour, so that a
picture can be read in grey; the background is white, so that it can be read on a dark page. Needs matplotlib: pip
install matplotlib
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from engine.config import TrainConfig, may_change
from engine.runs import read_metrics

PANELS = {
    "reward": "reward",
    "entropy": "entropy, nats per token",
    "length": "length, tokens",
    "er": "ER (exploration)",
    "erv": "ERV (velocity)",
    "era": "ERA (acceleration)",
    "beta": "beta (weight of exploration)",
    "bonus_fraction": "responses with a bonus, share",
    "bonus": "mean bonus on A",
}
# Okabe and Ito's palette, from dark to light, each with dashes of its own
STYLES = [
    ("#000000", "-"),
    ("#0072B2", (0, (6, 2))),
    ("#D55E00", (0, (2, 1.5))),
    ("#009E73", (0, (7, 2, 1.5, 2))),
    ("#882255", (0, (1, 1.2))),
    ("#CC79A7", (0, (10, 3))),
    ("#56B4E9", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
    ("#E69F00", "-"),
]
NOT_COMPARED = may_change(TrainConfig) | {"seed"}  # options that do not make another configuration


def pyplot():
    """matplotlib.pyplot, drawing to files. ModuleNotFoundError with the remedy where matplotlib is missing."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a picture needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "font.size": 8, "axes.titlesize": 8.5, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": "0.9", "legend.frameon": False, "lines.linewidth": 1.4,
        "figure.facecolor": "white", "savefig.facecolor": "white", "savefig.dpi": 160,
    })  # fmt: skip
    return plt


def read(folder):
    """{config, lines} of a run's folder. FileNotFoundError or ValueError where it does not hold a run."""
    folder = Path(folder)
    for name in ("config.json", "metrics.jsonl"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is not the folder of a run: it has no {name} (see --out of train.py)")
    lines = read_metrics(folder)
    if not lines:
        raise ValueError(f"{folder}/metrics.jsonl is empty: this run has not finished its first step")
    return {"config": json.loads((folder / "config.json").read_text()), "lines": lines}


def group(runs):
    """{label: runs} of those that share their configuration, in the order in which they came."""
    groups = defaultdict(list)
    for run in runs:
        compared = {name: value for name, value in run["config"].items() if name not in NOT_COMPARED}
        groups[json.dumps(compared, sort_keys=True)].append(run)

    # A label says what differs, and first of all the shaping.
    configs = [json.loads(key) for key in groups]
    names = dict.fromkeys(name for config in configs for name in config)
    differing = [name for name in names if any(config.get(name) != configs[0].get(name) for config in configs)]
    if "shaping" in differing or not differing:
        differing = ["shaping", *(name for name in differing if name != "shaping")]
    labels = [label_of(config, differing) for config in configs]
    return dict(zip(labels, groups.values()))


def label_of(config, names):
    """
    >>> label_of({"shaping": "verl", "lr": 0.001}, ["shaping", "lr"])
    'verl, lr 0.001'
    """
    words = [str(config.get(name)) if name == "shaping" else f"{name} {config.get(name)}" for name in names]
    return ", ".join(words)


def curve(runs, key):
    """Steps, and the mean, lowest and highest value of `key` over the runs that have one there; None where none has.

    >>> curve([{"lines": [{"step": 1, "beta": None}, {"step": 2, "beta": 0.5}]}], "beta")
    ([1, 2], [None, 0.5], [None, 0.5], [None, 0.5])
    """
    by_step = defaultdict(list)
    for run in runs:
        for line in run["lines"]:
            by_step[line["step"]].append(line.get(key))
    steps = sorted(by_step)
    means, lowest, highest = [], [], []
    for step in steps:
        known = [value for value in by_step[step] if value is not None]
        means.append(sum(known) / len(known) if known else None)
        lowest.append(min(known, default=None))
        highest.append(max(known, default=None))
    return steps, means, lowest, highest


def draw_curve(axes, groups, key, shade=lambda label: True, styles=None):
    """Lines of one quantity for {label: runs}. shade(label): the range of seeds or not; styles: by label, of STYLES."""
    for (label, runs), style in zip(groups.items(), STYLES):
        colour, dashes = styles[label] if styles else style
        steps, means, lowest, highest = curve(runs, key)
        if not has_numbers(means):
            continue
        seeds = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
        axes.plot(steps, with_gaps(means), color=colour, linestyle=dashes, label=label + seeds)
        if len(runs) > 1 and shade(label):
            axes.fill_between(steps, with_gaps(lowest), with_gaps(highest), color=colour, alpha=0.15, linewidth=0)


def has_numbers(values):
    return any(value is not None for value in values)


def with_gaps(values):
    """NaN for None: matplotlib leaves a gap there."""
    return [math.nan if value is None else value for value in values]


def draw(runs, out):
    """One picture of all PANELS, written to `out`. ValueError: more groups than there are line styles."""
    plt = pyplot()
    from matplotlib.ticker import MaxNLocator

    groups = group(runs)
    if len(groups) > len(STYLES):
        raise ValueError(f"{len(groups)} different configurations: {len(STYLES)} can be told apart, draw fewer")
    shown = []
    for key in PANELS:
        means = [curve(group_runs, key)[1] for group_runs in groups.values()]
        if any(has_numbers(values) for values in means):
            shown.append(key)
    rows = -(-len(shown) // 3)
    figure, grid = plt.subplots(
        rows, 3, figsize=(8, 1.9 * rows + 0.5), sharex=True, squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for axes, key in zip(grid.flat, shown):
        draw_curve(axes, groups, key)
        axes.set_title(PANELS[key])
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if key in ("reward", "bonus_fraction", "beta"):
            axes.set_ylim(-0.02, 1.02)
    for axes in grid[-1]:
        axes.set_xlabel("step")
    columns = max(1, 130 // (max(map(len, groups)) + 24))
    figure.legend(
        *grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=columns, handlelength=3.5
    )
    figure.savefig(out)
    plt.close(figure)


def parse(argv=None):
    parser = argparse.ArgumentParser(description="Draw metrics.jsonl of runs.")
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--out", default="picture.png", help="file to write; the ending says the format")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    try:
        draw([read(folder) for folder in args.runs], args.out)
    except (ModuleNotFoundError, ValueError, OSError) as error:
        sys.exit(f"plot.py: {error}")
    print(args.out)


if __name__ == "__main__":
    main()
