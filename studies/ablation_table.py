"""How sure is a difference between arms? Table and picture of the ablation, from its results alone.

Arms share their seeds, so what is compared is a paired difference to `none`, d_s = x_arm,s - x_none,s. Its mean over n
seeds has the 95% interval

    mean(d) -+ t_{0.975, n-1} std(d) / sqrt(n)                    std with n - 1; d_s roughly normal, seeds independent

`python studies/ablation.py` calls this; it says which measures there are, and when they were chosen. The arm `release`
of the results that are kept was measured with a mode of shaping.py that is gone: it is shown, and cannot be run.
"""

import itertools
import json
import math
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from engine.stats import student_t_quantile
from plot import STYLES, draw_curve, pyplot
from shaping import MODES

OTHERS = tuple(mode for mode in MODES if mode != "none")  # what is compared with plain GRPO
GONE = "release"
ARMS = ("none", *OTHERS, GONE)  # in the order of tables and colours
LAST = 5  # training steps behind entropy, length and ER at the end
AT_THE_END = ("er", "entropy", "length", "equal_groups")  # the last only where a run has kept it
SCALE = {"area": 100, "pass@1": 100, "pass@8": 100, "entropy": 1000, "equal_groups": 100}  # for the tables
TWO_DIGITS = ("er", "length")  # after the point; the others have one

HEAD = """# Ablation: paired differences to plain GRPO

Made by `python studies/ablation.py`. Row `none`: mean over seeds with its 95% interval. Other rows: the arm
minus `none` at the same seed, mean and 95% t interval over seeds; * where that excludes 0. area: mean training reward.
area and pass@k in per cent; entropy in 1/1000 nat per token; entropy, length (tokens) and ER: last 5 training steps.
"""
OF_GONE = """The arm `release` was measured with a mode of shaping.py that is gone, which put the bonus on the last
token only: it cannot be run any more.
"""


def measures(record):
    """{measure: number} of one run, in the order of the table; of the base only what it has."""
    found = {}
    curves = record["curves"]
    if curves["reward"]:
        found["area"] = statistics.fmean(curves["reward"])
    for k in ("pass@1", "pass@8"):
        found[k] = statistics.fmean(record[k].values())
    for name in AT_THE_END:
        if curves.get(name):
            found[name] = statistics.fmean(curves[name][-LAST:])
    return found


def interval(values):
    """Mean and 95% t interval (mean, low, high) of one value per seed; an endless interval for a single seed.

    >>> interval([1.0, 2.0, 3.0])  # std 1, t = 4.3027, so 2 -+ 4.3027 / sqrt(3)
    (2.0, -0.484137..., 4.484137...)
    """
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return mean, -math.inf, math.inf
    t = student_t_quantile(0.975, n - 1)
    reach = t * statistics.stdev(values) / math.sqrt(n)
    return mean, mean - reach, mean + reach


def differences(runs, value):
    """{arm: (mean, low, high)} of value(record) minus that of `none` at the same seed; runs: {arm: {seed: record}}.

    An arm whose runs do not have the value (NaN) is left out.
    """
    none = runs["none"]
    found = {}
    for arm, own in runs.items():
        d = [value(record) - value(none[seed]) for seed, record in own.items() if seed in none]
        if arm != "none" and d and not any(map(math.isnan, d)):
            found[arm] = interval(d)
    return found


def by_arm(kept):
    """{arm: {seed: record}} of a results file, in the order of ARMS; then arms that are no mode of shaping.py."""
    runs = {arm: {} for arm in ARMS}
    for key, record in kept["runs"].items():
        arm, seed = key.split("/")
        runs.setdefault(arm, {})[seed] = record
    return {arm: own for arm, own in runs.items() if own}


def measure_of(name):
    """The function of a record that gives a measure, in the table's unit; NaN where the run does not have it."""
    return lambda record: SCALE.get(name, 1) * measures(record).get(name, math.nan)


def level_of(k, level):
    """The function of a record that gives pass@1 or pass@8 (k) of one level, in per cent."""
    return lambda record: 100 * record[k][level]


def rows(runs, columns):
    """A markdown table of {title: function of a record}, and whether each interval of a difference excludes 0."""
    lines = ["| arm | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    form = [".2f" if title in TWO_DIGITS else ".1f" for title in columns]

    # Plain GRPO as it is.
    cells = []
    for f, value in zip(form, columns.values()):
        mean, low, high = interval([value(record) for record in runs["none"].values()])
        cells.append(f"{mean:{f}} [{low:{f}}, {high:{f}}]")
    lines.append(f"| none | {' | '.join(cells)} |")

    # The others as differences to it.
    found = [differences(runs, value) for value in columns.values()]  # one for each column
    clear = []
    for arm in found[0]:
        cells = []
        for f, column in zip(form, found):
            if arm not in column:
                cells.append("-")
                continue
            mean, low, high = column[arm]
            excludes_0 = low > 0 or high < 0
            star = "*" if excludes_0 else ""
            cells.append(f"{mean:+{f}} [{low:+{f}}, {high:+{f}}]{star}")
            clear.append(excludes_0)
        lines.append(f"| {arm} - none | {' | '.join(cells)} |")
    return [*lines, ""], clear


def markdown(setting, kept):
    """The tables of one setting: all measures, then pass@1 and pass@8 by level."""
    runs = by_arm(kept)
    some = next(iter(runs["none"].values()))
    tables = [{name: measure_of(name) for name in measures(some)}]
    for k in ("pass@1", "pass@8"):
        tables.append({f"{k} {level.removeprefix('toy-')}": level_of(k, level) for level in kept["base"][k]})

    base = ", ".join(f"{name} {SCALE[name] * value:.1f}" for name, value in measures(kept["base"]).items())
    text = [f"## {setting}: {len(runs['none'])} seeds; the base has {base}", ""]
    clear = []
    for columns in tables:
        lines, excludes_0 = rows(runs, columns)
        text += lines
        clear += excludes_0
    by_chance = len(clear) / 20
    text.append(f"{sum(clear)} of these {len(clear)} intervals exclude 0; chance alone would give {by_chance:.0f}.")
    return "\n".join([*text, ""])


def draw(settings, out):
    """{setting: results} -> a picture: reward by step, and the differences in area, pass@1 and pass@8 to `none`."""
    plt = pyplot()
    figure, grid = plt.subplots(
        len(settings), 4, figsize=(8, 2.6 * len(settings) + 0.4), squeeze=False, layout="constrained",
        width_ratios=(2, 1, 1, 1),
    )  # fmt: skip
    styles = dict(zip(ARMS, itertools.cycle(STYLES)))
    lowest = list(settings)[-1]  # the row that has the labels of the x axes
    for row, (setting, kept) in zip(grid, settings.items()):
        runs = by_arm(kept)

        # Reward by step.
        groups = {}
        for arm, own in runs.items():
            rewards = [record["curves"]["reward"] for record in own.values()]
            groups[arm] = [{"lines": [{"step": i, "reward": x} for i, x in enumerate(R, 1)]} for R in rewards]
        draw_curve(row[0], groups, "reward", shade=lambda arm: arm == "none", styles=styles)
        row[0].set_title(f"{setting}: reward, seeds of none shaded")
        row[0].set_ylim(0, 1)
        row[0].set_xlabel("step" if setting == lowest else "")

        # Differences, one dot and one interval for each arm.
        for axes, name in zip(row[1:], ("area", "pass@1", "pass@8")):
            found = differences(runs, measure_of(name))
            draw_differences(axes, found, styles, named=name == "area")
            axes.set_title(f"{name} - none")
            axes.set_xlabel("points, 95%" if setting == lowest else "")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, handlelength=3.5)
    figure.savefig(out)
    plt.close(figure)


def draw_differences(axes, found, styles, named):
    """A dot for each arm of {arm: (mean, low, high)}, and its interval unless that is endless; named: by its arm."""
    for y, (arm, (mean, low, high)) in enumerate(found.items()):
        reach = [[mean - low], [high - mean]] if math.isfinite(low) else None
        axes.errorbar([mean], [y], xerr=reach, color=styles[arm][0], marker="o", markersize=4, capsize=2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), list(found) if named else [""] * len(found))
    axes.set_ylim(len(found) - 0.5, -0.5)


def report(out, names):
    """Write ablation.md and, with matplotlib, ablation.png from the results in `out`."""
    settings = {}
    for name in names:
        path = out / f"ablation-{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else {"runs": {}}
        if "none" in by_arm(kept) and "base" in kept:
            settings[name] = kept
    if not settings:
        raise FileNotFoundError(f"no results with the arm none in {out} for {', '.join(names)}: run without --table")

    parts = [HEAD]
    if any(GONE in by_arm(kept) for kept in settings.values()):
        parts.append(OF_GONE)
    parts += [markdown(name, kept) for name, kept in settings.items()]
    text = "\n".join(parts)
    (out / "ablation.md").write_text(text)
    print(text)
    try:
        draw(settings, out / "ablation.png")
    except ModuleNotFoundError as error:
        print(f"no picture: {error}")
