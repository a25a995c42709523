"""A page of responses: what a run or an evaluation sampled, with reward, rank metrics and the ranks of its prefixes.

    python studies/browse.py runs/a                    writes runs/a/samples.html; open it in any browser
    python studies/browse.py runs/a --last 200         the newest 200 responses

One file of HTML with its style and a dozen lines of script: no server, no dependency. A click on a column's head sorts
by it. The small curve is m_j, the effective rank of a response's first j strides (rank.py); curves share one scale, so
a steeper one gains directions faster. What a model printed is data: it is escaped, never markup.
"""

import argparse
import html
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from engine.samples import number  # noqa: E402
from rank import METRICS  # noqa: E402

# (title, field of the record, how it is shown); a column whose field no record has is left out.
COLUMNS = [
    ("step", "step", str),
    ("problem", "id", str),
    ("right", "correct", lambda right: "yes" if right else "no"),
    ("reward", "reward", lambda value: f"{value:g}"),
    ("tokens", "length", str),
    *((name.upper(), name, number) for name in METRICS),
    ("A", "advantage", number),
    ("A'", "shaped_advantage", number),
]
WIDTH, HEIGHT = 120, 36  # of a curve, in pixels

STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --page: #fff; --line: #ccc; --right: #00694d; --wrong: #a33b00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --page: #161616; --line: #444; --right: #4fc3a1; --wrong: #ff9e64; }
}
body { color: var(--text); background: var(--page); font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; }
th, td { text-align: right; vertical-align: top; white-space: nowrap; }
th { cursor: pointer; position: sticky; top: 0; background: var(--page); }
th:hover { text-decoration: underline; }
td.text, th.text { text-align: left; min-width: 15rem; white-space: normal; }
pre { margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.4 ui-monospace, monospace; }
.yes { color: var(--right); } .no { color: var(--wrong); }
svg { display: block; } polyline { fill: none; stroke: currentColor; stroke-width: 1.5; }
"""
SCRIPT = """
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {
  const column = head.cellIndex, body = document.querySelector("tbody");
  const down = head.dataset.down !== "true";
  head.dataset.down = down;
  const key = row => row.cells[column].dataset.key;
  const compare = (a, b) => isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
  const rows = [...body.rows].sort((a, b) => down ? compare(b, a) : compare(a, b));
  body.append(...rows);
});
"""


def curve(ranks, longest, highest):
    """An SVG line of the prefix ranks m_1..m_K, on a scale of `longest` prefixes and ranks up to `highest`."""
    if len(ranks) < 2:
        return ""
    points = []
    for j, m in enumerate(ranks):
        x = WIDTH * j / max(1, longest - 1)
        y = HEIGHT - HEIGHT * m / highest
        points.append(f"{x:.1f},{y:.1f}")
    title = "m_j: " + ", ".join(f"{m:.1f}" for m in ranks)
    line = f'<polyline points="{" ".join(points)}"/>'
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img"><title>{html.escape(title)}</title>{line}</svg>'


def cell(record, field, show):
    """A table cell; its key is what the column is sorted by."""
    value = record.get(field)
    if value is None:
        return '<td data-key="">–</td>'
    key = int(value) if isinstance(value, bool) else value
    kind = f' class="{show(value)}"' if field == "correct" else ""
    return f'<td data-key="{html.escape(str(key))}"{kind}>{html.escape(show(value))}</td>'


def page(records, title):
    """The page of some samples, as HTML."""
    columns = [column for column in COLUMNS if any(column[1] in record for record in records)]
    curves = [record.get("prefix_ranks") or [] for record in records]
    longest = max((len(ranks) for ranks in curves), default=1)
    highest = max((m for ranks in curves for m in ranks), default=1.0)
    heads = ['<th class="text">question, response, answer</th>', "<th>m<sub>j</sub></th>"]
    heads += [f"<th>{html.escape(name)}</th>" for name, _, _ in columns]

    rows = []
    for record, ranks in zip(records, curves):
        # First what was asked and said, so that it is what a narrow screen shows.
        question, response = html.escape(record["question"]), html.escape(record["response"] or "(too long to ask)")
        graded = f"answer {record['answer']!r}, gold {record['gold']!r}"
        text = f"<b>{question}</b><pre>{response}</pre>{html.escape(graded)}"
        cells = [f'<td class="text" data-key="{html.escape(record["question"])}">{text}</td>']
        cells.append(f'<td data-key="{ranks[-1] if ranks else 0}">{curve(ranks, longest, highest)}</td>')
        cells += [cell(record, field, show) for _, field, show in columns]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>{len(records)} responses. A click on a column's head sorts by it.</p>"
        f'<div class="wide"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"<script>{SCRIPT}</script></html>"
    )


def parse(argv=None):
    parser = argparse.ArgumentParser(description="A page of the responses of a run or an evaluation.")
    parser.add_argument("folder", help="folder of a run or an evaluation, with its samples.jsonl")
    parser.add_argument("--last", type=int, default=500, help="only the newest so many responses")
    parser.add_argument("--out", help="file to write; default FOLDER/samples.html")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    file = Path(args.folder) / "samples.jsonl"
    if not file.is_file():
        sys.exit(f"browse.py: no {file}: give the folder of a run (--log_samples above 0) or of an evaluation")
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last newline is half a line
    records = [json.loads(line) for line in lines][-args.last :]
    out = Path(args.out or Path(args.folder) / "samples.html")
    out.write_text(page(records, f"Responses of {args.folder}"), encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
