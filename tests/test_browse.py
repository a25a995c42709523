"""The page of responses: what a model printed stays text, curves are drawn to one scale, and a run makes a page."""

import re

import browse
import train


def record(**other):
    base = {"step": 1, "id": "toy-1-0", "question": "1+1=?", "response": "2", "answer": "2", "gold": "2", "correct": True}
    return base | {"reward": 1.0, "er": 2.0, "erv": None, "era": None, "prefix_ranks": [1.0, 2.0, 4.0]} | other


def test_what_a_model_printed_is_escaped_wherever_it_stands():
    evil = '"><script>alert(1)</script>'
    text = browse.page([record(question=evil, response=evil, answer=evil, gold=evil, id=evil)], evil)
    assert text.count("<script>") == 1 and "alert(1)</script>" not in text and "&lt;script&gt;" in text


def test_curves_share_one_scale():
    text = browse.page([record(), record(prefix_ranks=[2.0, 2.0])], "two")
    first, second = re.findall(r'points="([^"]*)"', text)
    assert first == "0.0,27.0 60.0,18.0 120.0,0.0"  # ranks 1, 2, 4 of at most 4, three prefixes of at most three
    assert second == "0.0,18.0 60.0,18.0"
    assert browse.curve([3.0], 3, 4.0) == ""  # one prefix is no line


def test_what_is_undefined_or_unknown_is_a_dash_and_no_column_is_empty():
    text = browse.page([record()], "one")
    assert text.count("–") == 2 and "<th>A</th>" not in text  # ERV and ERA; no record has an advantage


def test_a_run_makes_a_page(tmp_path, capsys):
    out = tmp_path / "run"
    train.main(["--prompts", "4", "--group", "4", "--steps", "2", "--bench", "none", "--out", str(out)])
    browse.main([str(out), "--last", "5"])
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "samples.html")
    text = (out / "samples.html").read_text()
    assert text.count("<tr>") == 6 and "<polyline" in text and "<th>A&#x27;</th>" in text
