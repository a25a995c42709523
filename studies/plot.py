"""What happened during training? Draws metrics.jsonl of any runs: reward, ranks, entropy, length, beta and the bonus.

    python studies/plot.py runs/a runs/b                    picture.png
    python studies/plot.py runs/verl-* runs/none-* --out runs.png

Runs whose config.json differs in the seed alone are one line: the mean over seeds, with their range shaded. The legend
names only what differs between lines. A number that is undefined (null in the log) leaves a gap. Panels without any
number are left out. Lines differ in dashes as well as in colour, so that a picture can be read in grey; the background
is white, so that it can be read on a dark page. Needs matplotlib: pip install matplotlib
"""

import argparse
import json
import sys
from pathlib import Path

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
# What changes no result
NOT_COMPARED = set("seed out resume eval_every save_every keep micro_tokens recompute threads bench_dir".split())


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
    whole = (folder / "metrics.jsonl").read_text().split("\n")[:-1]  # what follows the last newline is half a line
    if not whole:
        raise ValueError(f"{folder}/metrics.jsonl is empty: this run has not finished its first step")
    return {"config": json.loads((folder / "config.json").read_text()), "lines": [json.loads(x) for x in whole]}


def group(runs):
    """{label: runs} of those that share everything but the seed, in the order in which they came."""
    groups = {}
    for run in runs:
        key = {k: v for k, v in run["config"].items() if k not in NOT_COMPARED}
        groups.setdefault(json.dumps(key, sort_keys=True), []).append(run)
    configs = [json.loads(key) for key in groups]
    names = dict.fromkeys(name for c in configs for name in c)
    differing = [k for k in names if any(c.get(k) != configs[0].get(k) for c in configs)] or ["shaping"]
    differing.sort(key=lambda k: k != "shaping")  # first what matters most
    labels = [", ".join(_said(k, c.get(k)) for k in differing) for c in configs]
    return dict(zip(labels, groups.values()))


def _said(key, value):
    return str(value) if key == "shaping" else f"{key} {value}"


def curve(runs, key):
    """Steps, and the mean, lowest and highest value of `key` over the runs that have one there; None where none has.

    >>> curve([{"lines": [{"step": 1, "beta": None}, {"step": 2, "beta": 0.5}]}], "beta")
    ([1, 2], [None, 0.5], [None, 0.5], [None, 0.5])
    """
    by_step = {}
    for run in runs:
        for line in run["lines"]:
            seen = by_step.setdefault(line["step"], [])
            if line.get(key) is not None:
                seen.append(line[key])
    steps = sorted(by_step)
    values = [by_step[step] for step in steps]
    return steps, *([f(v) if v else None for v in values] for f in (lambda v: sum(v) / len(v), min, max))


def draw_curve(axes, groups, key, shade=lambda label: True, styles=None):
    """Lines of one quantity for {label: runs}. shade(label): the range of seeds or not; styles: by label, of STYLES."""
    for (label, runs), style in zip(groups.items(), STYLES):
        colour, dashes = styles[label] if styles else style
        steps, *bounds = curve(runs, key)
        mean, low, high = ([float("nan") if v is None else v for v in values] for values in bounds)
        if any(v is not None for v in bounds[0]):
            seeds = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
            axes.plot(steps, mean, color=colour, linestyle=dashes, label=label + seeds)
            if len(runs) > 1 and shade(label):
                axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def draw(runs, out):
    """One picture of all PANELS, written to `out`. ValueError: more groups than there are line styles."""
    plt = pyplot()
    from matplotlib.ticker import MaxNLocator

    groups = group(runs)
    if len(groups) > len(STYLES):
        raise ValueError(f"{len(groups)} different configurations: {len(STYLES)} can be told apart, draw fewer")
    shown = [key for key in PANELS if any(v is not None for r in groups.values() for v in curve(r, key)[1])]
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
