"""What did VERL do on the language model? Tables and picture of language_model.py, from its results alone.

Three things for each setting. The measures, as paired differences to `none` (ablation_table.py). Each run's pass@1, and
how many runs ended in collapse: responses shorter than BARE tokens, the answer without any working. And the bonus:
which responses got it, by verdict and by length, and what it was worth beside the advantage,

    share = runs' sum of bonuses / runs' sum of |A|                of the responses of a length, right or wrong
"""

import json
import statistics

from ablation_table import LAST, SCALE, by_arm, differences, draw_differences, measure_of, measures, rows
from plot import STYLES, draw_curve, pyplot

BARE = {"sums": 10, "fast": 10}  # by setting: tokens of "The answer is 22." and its end
ORDER = ("none", "verl", "shuffled", "length", "er", "erv", "entropy", "equal")

HEAD = """# A language model: paired differences to plain GRPO

Made by `python studies/language_model.py` with SmolLM2-135M-Instruct on sums and differences. Row `none`: mean over
seeds with its 95% interval. Other rows: the arm minus `none` at the same seed, mean and 95% t interval over seeds; *
where that excludes 0. area: mean training reward. area, pass@k and equal_groups in per cent; entropy in 1/1000 nat per
token; ER, entropy, length (tokens) and equal_groups: last 5 training steps. An arm of fewer than three runs is in the
other tables only.
"""


def markdown(name, kept):
    """The tables of one setting."""
    runs = by_arm(kept)
    if "length" in runs:
        runs["length"] = {seed: without_er(record) for seed, record in runs["length"].items()}
    some = next(iter(runs["none"].values()))
    several = of_several_seeds(runs)
    lines, clear = rows(several, {measure: measure_of(measure) for measure in measures(some)})
    base = ", ".join(f"{measure} {SCALE[measure] * value:.1f}" for measure, value in measures(kept["base"]).items())
    minutes = statistics.median(record["seconds"] for own in runs.values() for record in own.values()) / 60
    text = [f"## {name}: {len(runs['none'])} seeds; the base has {base}; {minutes:.0f} minutes a run on a core", ""]
    text += lines
    text += [f"{sum(clear)} of these {len(clear)} intervals exclude 0; chance would give {len(clear) / 20:.0f}.", ""]
    text += ["Every run:", "", *every_run(runs, BARE.get(name)), ""]
    text += ["Where the bonus went:", "", *bonus_table(runs), ""]
    return "\n".join(text)


def without_er(record):
    """A run of `length`, whose curve er holds the tokens that length_bonus.py puts in the place of ER."""
    return record | {"curves": {name: curve for name, curve in record["curves"].items() if name != "er"}}


def of_several_seeds(runs):
    """`none`, and the arms of which there are at least three runs: an interval from two says nothing."""
    return {arm: own for arm, own in runs.items() if len(own) > 2 or arm == "none"}


def every_run(runs, bare):
    """A row for each arm: pass@1 of each seed, and in how many the last steps' responses are shorter than `bare`."""
    seeds = sorted({seed for own in runs.values() for seed in own}, key=int)
    head = ["arm, pass@1", *(f"seed {seed}" for seed in seeds), *(["collapsed"] if bare else [])]
    lines = [table_row(head), "|---" * len(head) + "|"]
    for arm, own in runs.items():
        cells = [f"{100 * measures(own[seed])['pass@1']:.1f}" if seed in own else "" for seed in seeds]
        if bare:
            lengths = [statistics.fmean(record["curves"]["length"][-LAST:]) for record in own.values()]
            cells.append(f"{sum(length < bare for length in lengths)} of {len(own)}")
        lines.append(table_row([arm, *cells]))
    return lines


def table_row(cells):
    return f"| {' | '.join(cells)} |"


def bonus_table(runs):
    """Of right and wrong responses of each length: how many there were, how many got a bonus, and its size."""
    lines = ["| arm | verdict | length | responses | with a bonus | bonus / A | of all bonuses |", "|---" * 7 + "|"]
    for arm, own in runs.items():
        if arm in ("none", "entropy"):  # no bonus, or one for each token
            continue
        everything = sum(cell[3] for verdict in ("right", "wrong") for cell in summed(own, verdict).values())
        for verdict in ("right", "wrong"):
            for end, cell in summed(own, verdict).items():
                count, paid, A, bonus = cell
                if count:
                    share = f"{100 * bonus / A:.0f}%" if A else "-"
                    part = f"{100 * bonus / everything:.1f}%" if everything else "-"
                    cells = [arm, verdict, end, str(count), f"{100 * paid / count:.0f}%", share, part]
                    lines.append(table_row(cells))
    return lines


def summed(own, verdict):
    """{"9 to 12": [responses, with a bonus, sum of |A|, sum of bonuses]} over the runs of an arm."""
    ends = list(next(iter(own.values()))["bonuses"][verdict])
    found, first = {}, 1
    for end in ends:
        cells = [record["bonuses"][verdict][end] for record in own.values()]
        label = end if first == int(end) else f"{first} to {end}"
        found[label] = [sum(column) for column in zip(*cells)]
        first = int(end) + 1
    return found


def draw(settings, out):
    """{setting: results} -> a picture: reward and length by step, and the differences in area and pass@1 to `none`."""
    plt = pyplot()
    figure, grid = plt.subplots(
        len(settings), 4, figsize=(8, 2.4 * len(settings) + 0.4), squeeze=False, layout="constrained",
        width_ratios=(2, 2, 1, 1),
    )  # fmt: skip
    styles = dict(zip(ORDER, STYLES))
    for row, (name, kept) in zip(grid, settings.items()):
        runs = of_several_seeds(by_arm(kept))
        for axes, curve in zip(row, ("reward", "length")):
            groups = {arm: [{"lines": steps(record, curve)} for record in own.values()] for arm, own in runs.items()}
            draw_curve(axes, groups, curve, shade=lambda arm: arm in ("none", "verl"), styles=styles)
            axes.set_title(f"{name}: {curve}, range of seeds")
            axes.set_xlabel("step")
        for axes, measure in zip(row[2:], ("area", "pass@1")):
            draw_differences(axes, differences(runs, measure_of(measure)), styles, named=measure == "area")
            axes.set_title(f"{measure} - none")
            axes.set_xlabel("points, 95%")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=7, handlelength=3.5)
    figure.savefig(out)
    plt.close(figure)


def steps(record, curve):
    """A curve of a record as the lines of a log."""
    return [{"step": step, curve: value} for step, value in enumerate(record["curves"][curve], 1)]


def report(out, names):
    """Write language.md and, with matplotlib, language.png from the results in `out`."""
    settings = {}
    for name in names:
        path = out / f"language-{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else {"runs": {}}
        if by_arm(kept).get("none") and "base" in kept:
            settings[name] = kept
    if not settings:
        raise FileNotFoundError(f"no results with the arm none in {out} for {', '.join(names)}: run without --table")
    text = "\n".join([HEAD, *(markdown(name, kept) for name, kept in settings.items())])
    (out / "language.md").write_text(text)
    print(text)
    try:
        draw(settings, out / "language.png")
    except ModuleNotFoundError as error:
        print(f"no picture: {error}")
