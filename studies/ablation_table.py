"""How sure is a difference between arms? Table and picture of the ablation, from its results alone.

Arms share their seeds, so what is compared is a paired difference to `none`, d_s = x_arm,s - x_none,s. Its mean over n
seeds has the 95% interval

    mean(d) -+ t_{0.975, n-1} std(d) / sqrt(n)                    std with n - 1; d_s roughly normal, seeds independent

`python studies/ablation.py` calls this; it says which measures there are, and when they were chosen.
"""

import json
import statistics

from plot import STYLES, draw_curve, pyplot

ARMS = ("none", "verl", "er", "erv", "equal", "shuffled", "entropy", "release")
LAST = 5  # training steps behind entropy, length and ER at the end
SCALE = {"area": 100, "pass@1": 100, "pass@8": 100, "entropy": 1000}  # for the tables
# 97.5% quantiles of Student's t for 1, 2, .. degrees of freedom; the normal one beyond
T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
        2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


def measures(record):
    """{measure: number} of one run, in the order of the table; of the base only what it has."""
    last = {
        k: statistics.fmean(v[-LAST:]) for k, v in record["curves"].items() if k in ("entropy", "length", "er") and v
    }
    area = {"area": statistics.fmean(record["curves"]["reward"])} if last else {}
    return area | {k: statistics.fmean(record[k].values()) for k in ("pass@1", "pass@8")} | last


def interval(values):
    """Mean and 95% t interval (mean, low, high) of one value per seed; an endless interval for a single seed.

    >>> interval([1.0, 2.0, 3.0])  # std 1, t = 4.303, so 2 -+ 4.303 / sqrt(3)
    (2.0, -0.484338..., 4.484338...)
    """
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return mean, float("-inf"), float("inf")
    t = T975[n - 2] if n - 2 < len(T975) else 1.96
    reach = t * statistics.stdev(values) / n**0.5
    return mean, mean - reach, mean + reach


def differences(runs, value):
    """{arm: (mean, low, high)} of value(record) minus that of `none` at the same seed; runs: {arm: {seed: record}}."""
    none = runs["none"]
    pairs = {arm: [value(r) - value(none[s]) for s, r in own.items() if s in none] for arm, own in runs.items()}
    return {arm: interval(d) for arm, d in pairs.items() if arm != "none" and d}


def by_arm(kept):
    """{arm: {seed: record}} of a results file, in the order of ARMS."""
    seeds = {arm: {k.split("/")[1]: r for k, r in kept["runs"].items() if k.split("/")[0] == arm} for arm in ARMS}
    return {arm: own for arm, own in seeds.items() if own}


def markdown(setting, kept):
    """The tables of one setting: all measures, then pass@1 and pass@8 by level."""
    runs, levels = by_arm(kept), list(kept["base"]["pass@1"])
    tables = [
        {k: (lambda r, k=k: SCALE.get(k, 1) * measures(r)[k]) for k in measures(next(iter(runs["none"].values())))}
    ]
    for k in ("pass@1", "pass@8"):
        of_level = {f"{k} {x.removeprefix('toy-')}": (lambda r, k=k, x=x: 100 * r[k][x]) for x in levels}
        tables.append(of_level)
    base = ", ".join(f"{k} {SCALE[k] * v:.1f}" for k, v in measures(kept["base"]).items())
    text = [f"## {setting}: {len(runs['none'])} seeds; the base has {base}", ""]
    clear = []  # of every interval, whether it excludes 0
    for columns in tables:
        text += ["| arm | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        form = [".2f" if k in ("er", "length") else ".1f" for k in columns]
        none = [interval([f(r) for r in runs["none"].values()]) for f in columns.values()]
        cells = [f"{m:{f}} [{low:{f}}, {high:{f}}]" for f, (m, low, high) in zip(form, none)]
        text.append(f"| none | {' | '.join(cells)} |")
        found = [differences(runs, f) for f in columns.values()]
        for arm in found[0]:
            cells = []
            for f, (m, low, high) in zip(form, (column[arm] for column in found)):
                clear.append(low > 0 or high < 0)
                cells.append(f"{m:+{f}} [{low:+{f}}, {high:+{f}}]{'*' * clear[-1]}")
            text.append(f"| {arm} - none | " + " | ".join(cells) + " |")
        text.append("")
    text.append(
        f"{sum(clear)} of these {len(clear)} intervals exclude 0; chance alone would give {len(clear) / 20:.0f}."
    )
    return "\n".join([*text, ""])


HEAD = """# Ablation: paired differences to plain GRPO

Made by `python studies/ablation.py`. Row `none`: mean over seeds with its 95% interval. Other rows: the arm
minus `none` at the same seed, mean and 95% t interval over seeds; * where that excludes 0. area: mean training reward.
area and pass@k in per cent; entropy in 1/1000 nat per token; entropy, length (tokens) and ER: last 5 training steps.
"""


def draw(settings, out):
    """{setting: results} -> a picture: reward by step, and the differences in area, pass@1 and pass@8 to `none`."""
    plt = pyplot()
    figure, grid = plt.subplots(len(settings), 4, figsize=(8, 2.6 * len(settings) + 0.4), squeeze=False,
                                layout="constrained", width_ratios=(2, 1, 1, 1))  # fmt: skip
    styles = dict(zip(ARMS, STYLES))
    for row, (setting, kept) in zip(grid, settings.items()):
        runs = by_arm(kept)
        groups = {arm: [{"lines": [{"step": i, "reward": x} for i, x in enumerate(r["curves"]["reward"], 1)]}
                        for r in own.values()] for arm, own in runs.items()}  # fmt: skip
        draw_curve(row[0], groups, "reward", shade=lambda arm: arm == "none", styles=styles)
        row[0].set_title(f"{setting}: reward, seeds of none shaded")
        row[0].set_ylim(0, 1)
        row[0].set_xlabel("step" if setting == list(settings)[-1] else "")
        for axes, name in zip(row[1:], ("area", "pass@1", "pass@8")):
            found = differences(runs, lambda r, name=name: 100 * measures(r)[name])
            for y, (arm, (mean, low, high)) in enumerate(found.items()):
                finite = [[mean - low], [high - mean]] if low > float("-inf") else None
                axes.errorbar([mean], [y], xerr=finite, color=styles[arm][0], marker="o", markersize=4, capsize=2)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.set_yticks(range(len(found)), list(found) if name == "area" else [""] * len(found))
            axes.set_ylim(len(found) - 0.5, -0.5)
            axes.set_title(f"{name} - none")
            axes.set_xlabel("points, 95%" if setting == list(settings)[-1] else "")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, handlelength=3.5)
    figure.savefig(out)
    plt.close(figure)


def report(out, names):
    """Write ablation.md and, with matplotlib, ablation.png from the results in `out`."""
    settings = {
        name: json.loads((out / f"ablation-{name}.json").read_text())
        for name in names
        if (out / f"ablation-{name}.json").exists()
    }
    settings = {name: kept for name, kept in settings.items() if "none" in by_arm(kept) and "base" in kept}
    if not settings:
        raise FileNotFoundError(f"no results with the arm none in {out} for {', '.join(names)}: run without --table")
    text = "\n".join([HEAD, *(markdown(name, kept) for name, kept in settings.items())])
    (out / "ablation.md").write_text(text)
    print(text)
    try:
        draw(settings, out / "ablation.png")
    except ModuleNotFoundError as error:
        print(f"no picture: {error}")
