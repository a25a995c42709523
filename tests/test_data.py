"""Rows are made up, in the layout of each data set; the network is an http.server on loopback."""

import dataclasses
import http.server
import json
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import toy
from engine import data

ROOT = Path(__file__).resolve().parent.parent

# benchmark: (row as the file has it, question expected, gold expected)
LAYOUTS = {
    "aime24": ({"id": 1, "problem": "Two?", "question": "Two?", "answer": "002", "solution": "-"}, "Two?", "002"),
    "aime25": ({"question": "Three?", "answer": "3"}, "Three?", "3"),
    "amc23": ({"id": 0, "problem": "Four?", "answer": 27.0, "question": "Four?"}, "Four?", "27"),
    "amc24": ({"exam": "12A", "problem": "Half?", "answer": "\\frac{1}{2}"}, "Half?", "\\frac{1}{2}"),
    "aqua": ({"question": "Pick.", "options": ["A)1 (one)", "B) 2", "C)3", "D)4", "E)None"], "correct": "B"},
             "Pick.\nAnswer Choices: (A) 1 (one) (B) 2 (C) 3 (D) 4 (E) None", "B"),
    "asdiv": ({"body": "Ann has 2 nuts,", "question": "how many nuts?", "answer": "2  (nuts)"},
              "Ann has 2 nuts, how many nuts?", "2"),
    "BeyondAIME": ({"id": 1, "problem": "Five?", "answer": "5"}, "Five?", "5"),
    "carp_en": ({"content": "Six?", "answer": "x = 6"}, "Six?", "x = 6"),
    "cmath": ({"grade": 1, "question": "七?", "answer": "7"}, "七?", "7"),
    "cn_middle_school": ({"question": "八? A. 7 B. 8", "answer": "8", "choice_answer": "B"}, "八? A. 7 B. 8", "B"),
    "college_math": ({"question": "Nine?", "answer": "$9x$"}, "Nine?", "9x"),
    "gaokao2023en": ({"question": "Ten?", "answer": "$10$ and \\$5"}, "Ten?", "10 and \\$5"),
    "gaokao2024_I": ({"question": "多选 A. B. C. D.", "answer": "ACD", "type": "multi"}, "多选 A. B. C. D.", "ACD"),
    "gaokao2024_II": ({"question": "填空", "answer": "24;112", "type": "blank"}, "填空", "24;112"),
    "gaokao2024_mix": ({"question": "解答", "answer": "(4,0)", "choice_answer": ""}, "解答", "(4,0)"),
    "gaokao_math_cloze": ({"passage": None, "question": "填", "answer": "$5$;$10$"}, "填", "$5$;$10$"),
    "gaokao_math_qa": ({"question": "选", "options": {"B": "二", "A": "一"}, "label": "A B", "answer": None},
                       "选\n选项: (A) 一 (B) 二", "AB"),
    "gsm8k": ({"question": "Cost?", "answer": "1000+125=1125\n#### 1,125"}, "Cost?", "1125"),
    "math": ({"problem": "Q", "solution": "so \\boxed{12}.", "level": "5"}, "Q", "12"),
    "math24o": ({"problem": "多少", "answer": "10.0", "question": "多少"}, "多少", "10"),
    "math500": ({"problem": "P", "solution": "so \\boxed{1}, no, \\boxed{\\frac{1}{2}}", "answer": "?"},
                "P", "\\frac{1}{2}"),
    "mawps": ({"input": "Thirds?", "target": 0.25}, "Thirds?", "0.25"),
    "minerva_math": ({"problem": "Speed?", "solution": "is $\\boxed{3e8}$"}, "Speed?", "3e8"),
    "mmlu_stem": ({"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 3},
                  "Which?\nAnswer Choices: (A) a (B) b (C) c (D) d", "D"),
    "OlymMATH-EN-EASY": ({"problem": "E", "answer": "1"}, "E", "1"),
    "OlymMATH-EN-HARD": ({"problem": "F", "answer": "2"}, "F", "2"),
    "OlymMATH-ZH-EASY": ({"problem": "易", "answer": "1"}, "易", "1"),
    "OlymMATH-ZH-HARD": ({"problem": "难", "answer": "2"}, "难", "2"),
    "olympiadbench": ({"question": "Q", "final_answer": ["$2,3$"], "answer_type": "Numerical"}, "Q", "$2,3$"),
    "sat_math": ({"question": "S", "options": "A) 1 B) 2 ", "Answer": "A"}, "S\nAnswer Choices: (A) 1 (B) 2", "A"),
    "svamp": ({"Body": "He has 4 figs", "Question": "How many?", "Answer": 4.0}, "He has 4 figs. How many?", "4"),
    "tabmwp": ({"question": "Most?", "table": "a | 1,200", "table_title": "Figs", "choices": ["a", "b"],
                "answer": "1,200", "ans_type": "integer_number"},
               "Read this table and answer the question.\nFigs\na | 1,200\nMost? Please select from the following options: a, b", "1200"),
}


def write_lines(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def in_layout(name: str, folder: Path) -> Path:
    """folder/<name>/test.jsonl with as many made-up rows as the benchmark has."""
    return write_lines(folder / name / "test.jsonl", [LAYOUTS[name][0]] * data.BENCHMARKS[name].rows)


# Benchmarks from a folder

PUBLIC = {name: source for name, source in data.BENCHMARKS.items() if not source.file}  # lines of one's own may be there


def test_every_benchmark_has_a_layout_here():
    assert set(LAYOUTS) == set(PUBLIC)


@pytest.mark.parametrize("name", LAYOUTS)
def test_question_and_gold_are_put_together_from_the_layout(name, tmp_path):
    in_layout(name, tmp_path)
    (source, problems), = data.load_benchmark(name, tmp_path).items()
    assert source == name and len(problems) == data.BENCHMARKS[name].rows
    assert problems[-1] == data.Problem(*LAYOUTS[name][1:], name, f"{name}-{len(problems) - 1}")
    assert len({problem.id for problem in problems}) == len(problems)


@pytest.mark.parametrize("name, change, gold", [
    ("asdiv", {"answer": "-(1/3)"}, "-(1/3)"),
    ("asdiv", {"answer": "3:30 p.m."}, "3:30 p.m."),
    ("cn_middle_school", {"choice_answer": ""}, "8"),
    ("gaokao2024_mix", {"choice_answer": "C"}, "C"),
    ("math24o", {"answer": "0.25"}, "0.25"),
    ("mawps", {"target": 40.0}, "40"),
    ("svamp", {"Body": "He has 4 figs. "}, "4"),
    ("tabmwp", {"ans_type": "extractive_text", "answer": "Oslo, Rome", "choices": None, "table_title": None},
     "Oslo, Rome"),
])
def test_variants_of_a_layout(name, change, gold, tmp_path):
    write_lines(tmp_path / name / "test.jsonl", [LAYOUTS[name][0] | change] * data.BENCHMARKS[name].rows)
    problem = data.load_benchmark(name, tmp_path, limit=1)[name][0]
    assert problem.answer == gold
    if name == "svamp":
        assert problem.question == "He has 4 figs. How many?"
    if name == "tabmwp":
        assert problem.question == "Read this table and answer the question.\na | 1,200\nMost?"


def test_gaokao2024_is_its_three_sets_in_table_order_each_cut_to_the_limit(tmp_path):
    for name in data.GROUPS["gaokao2024"]:
        in_layout(name, tmp_path)
    assert {name: len(problems) for name, problems in data.load_benchmark("gaokao2024", tmp_path).items()} \
        == {"gaokao2024_I": 14, "gaokao2024_II": 14, "gaokao2024_mix": 91}
    sets = data.load_benchmark("gaokao2024", tmp_path, limit=10)
    assert list(sets) == ["gaokao2024_I", "gaokao2024_II", "gaokao2024_mix"]
    assert [len(problems) for problems in sets.values()] == [10, 10, 10]


def test_row_count_is_checked_before_the_limit_cuts(tmp_path):
    path = write_lines(tmp_path / "aime25" / "test.jsonl", [LAYOUTS["aime25"][0]] * 29)
    with pytest.raises(ValueError) as error:
        data.load_benchmark("aime25", tmp_path, limit=5)
    assert str(path) in str(error.value) and "29 rows" in str(error.value) and "30" in str(error.value)


def test_benchmark_row_without_gold_stays_and_is_named(tmp_path):
    row = LAYOUTS["gaokao2023en"][0]
    write_lines(tmp_path / "gaokao2023en" / "test.jsonl", [row, row | {"answer": ""}, *[row] * 383])
    with pytest.warns(UserWarning, match="1 of 385 rows have no gold.*gaokao2023en-1 "):
        problems = data.load_benchmark("gaokao2023en", tmp_path)["gaokao2023en"]
    assert len(problems) == 385 and problems[1].answer == ""
    assert problems[1] in data.not_understood(problems)


@pytest.mark.parametrize("name, change", [("olympiadbench", {"final_answer": []}), ("mmlu_stem", {"answer": 7}),
                                          ("gsm8k", {"answer": "no hashes"}), ("gaokao2024_mix", {"question": " "}),
                                          ("aqua", {"options": None}), ("aime25", {"answer": ["1"]}),
                                          ("aime25", {"answer": True})])
def test_malformed_row_is_named_by_file_and_line(name, change, tmp_path):
    row = LAYOUTS[name][0]
    path = write_lines(tmp_path / name / "test.jsonl", [row, row | change, *[row] * (data.BENCHMARKS[name].rows - 2)])
    with pytest.raises(ValueError) as error:
        data.load_benchmark(name, tmp_path)
    assert f"{path}:2" in str(error.value)


def test_bench_dir_without_the_set_says_what_it_holds(tmp_path):
    in_layout("aime24", tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        data.load_benchmark("aime25", tmp_path)
    assert str(tmp_path / "aime25" / "test.jsonl") in str(error.value) and "holds: aime24" in str(error.value)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        data.load_benchmark("aime25", tmp_path / "nowhere")


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(limit):
    with pytest.raises(ValueError, match=f"at least 1, not {limit}"):
        data.load_benchmark("aime24", limit=limit)


# Names

@pytest.mark.parametrize("load, name, near", [
    (data.load_benchmark, "gaokao2042", "gaokao2024"),
    (data.load_benchmark, "AIME-24", "aime24"),
    (data.load_benchmark, "math5000", "math500"),
    (data.load_training, "simplelr_qwen_level3to5", "simplerl_qwen_level3to5"),
    (data.load_training, "dapo-math", "dapo_math"),
])
def test_unknown_name_gives_the_nearest_and_the_whole_choice(load, name, near):
    with pytest.raises(ValueError) as error:
        load(name)
    message = str(error.value)
    meant = message.split("Did you mean ")[1].split("?")[0]
    assert repr(name) in message and near in meant.split(" or ")
    choices = ["toy", *data.GROUPS, *data.BENCHMARKS] if load is data.load_benchmark else ["toy", *data.TRAINING]
    assert all(choice in message.split("Choose from ")[1] for choice in choices)


def test_name_like_no_other_gets_no_suggestion():
    with pytest.raises(ValueError) as error:
        data.load_benchmark("zzzz")
    assert "Did you mean" not in str(error.value)


def test_list_has_every_benchmark_with_its_rows_and_fields():
    lines = data.list_benchmarks().splitlines()
    for name, source in PUBLIC.items():
        line, = [line for line in lines if line.split()[:1] == [name]]
        assert line.split()[1:3] == [str(source.rows), str(source.paper_n)]
        assert source.question in line and line.endswith(source.gold)
    assert any("gaokao2024_I, gaokao2024_II, gaokao2024_mix" in line for line in lines)
    assert any(line.startswith("toy:") for line in lines)


# One's own file

def test_own_file_is_one_entry_named_after_its_stem(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('\ufeff{"question": " 2+2=?", "answer": 4}\r\n\n{"question": "{x}", "answer": 2.50, "more": []}\n'
                    '{"question": "5/1", "answer": 5.0}', encoding="utf-8")
    assert data.load_benchmark(str(path)) == {"mine": [data.Problem("2+2=?", "4", "mine", "mine-0"),
                                                       data.Problem("{x}", "2.5", "mine", "mine-1"),
                                                       data.Problem("5/1", "5", "mine", "mine-2")]}
    assert data.load_training(str(path)) == data.load_benchmark(str(path))["mine"]
    assert len(data.load_benchmark(str(path), limit=2)["mine"]) == 2


def test_line_separators_inside_a_text_do_not_cut_the_line(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"question": "a\u2028b\x85c", "answer": "1"}])
    assert data.load_benchmark(str(path))["a"][0].question == "a\u2028b\x85c"


@pytest.mark.parametrize("load", [data.load_benchmark, data.load_training])
@pytest.mark.parametrize("line, complaint", [
    ('{"question": "q", "answer": ', "not JSON"), ("not json", "not JSON"), ("[" * 100_000, "not JSON"),
    ('{"answer": "1"}', "no field 'question'"), ('{"question": "q"}', "no field 'answer'"),
    ("{}", "no field 'question'.*nothing"),
    ('{"question": "  ", "answer": "1"}', "empty question"), ('{"question": null, "answer": "1"}', "empty question"),
    ('{"question": "q", "answer": " "}', "empty answer"), ('{"question": "q", "answer": null}', "empty answer"),
    ('{"question": "q", "answer": {"a": 1}}', "neither text nor a number"), ('["q", "1"]', "a list"), ("7", "an? int"),
])
def test_bad_line_is_named_by_file_and_line(load, line, complaint, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "q", "answer": "1"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as error:
        load(str(path))
    assert f"{path}:3" in str(error.value)


def test_missing_file_is_named_with_the_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for load in (data.load_benchmark, data.load_training):
        with pytest.raises(FileNotFoundError) as error:
            load("mine.jsonl")
        assert str(tmp_path / "mine.jsonl") in str(error.value)
        with pytest.raises(FileNotFoundError):
            load("folder/mine")


def test_empty_file_and_foreign_encoding_are_refused(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match="0 rows") as error:
        data.load_benchmark(str(path))
    assert str(path) in str(error.value)
    path.write_bytes('{"question": "é", "answer": "1"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8") as error:
        data.load_benchmark(str(path))
    assert str(path) in str(error.value)


def test_a_set_of_ones_own_with_other_field_names_is_one_line_of_a_table(tmp_path, monkeypatch):
    path = write_lines(tmp_path / "raw.jsonl", [{"prompt": "2+2=?", "solution": {"final": 4}}])
    line = data.Source(None, "prompt", "solution.final", file=str(path))
    for table, load in ((data.BENCHMARKS, lambda name: data.load_benchmark(name)[name]),
                        (data.TRAINING, data.load_training)):
        monkeypatch.setitem(table, "mine", line)
        assert load("mine") == [data.Problem("2+2=?", "4", "mine", "mine-0")]
    assert "mine                  ?        1  prompt" in data.list_benchmarks()
    monkeypatch.setitem(data.BENCHMARKS, "mine", dataclasses.replace(line, rows=2))
    with pytest.raises(ValueError, match="1 rows, where mine has 2"):
        data.load_benchmark("mine")


def test_a_benchmark_of_ones_own_can_lie_in_a_folder_like_the_others(tmp_path, monkeypatch):
    monkeypatch.setitem(data.BENCHMARKS, "mine", data.Source(None, "prompt", "gold"))
    write_lines(tmp_path / "mine" / "test.jsonl", [{"prompt": "2+2=?", "gold": 4}])
    assert data.load_benchmark("mine", tmp_path)["mine"] == [data.Problem("2+2=?", "4", "mine", "mine-0")]


# Several benchmarks

def test_benchmarks_separated_by_commas_are_put_together_and_groups_are_pooled(tmp_path):
    path = write_lines(tmp_path / "mine.jsonl", [{"question": "2+2=?", "answer": 4}])
    sets, pools = data.load_benchmarks(f"{path},toy", limit=2)
    levels = [f"toy-{level}" for level in toy.LEVELS]
    assert list(sets) == ["mine", *levels] and pools == {"toy": levels}
    assert sets["mine"] == data.load_benchmark(str(path))["mine"] and len(sets["toy-1"]) == 2
    with pytest.raises(ValueError, match="mine twice"):
        data.load_benchmarks(f"{path},toy,{path}")


def test_the_papers_number_of_samples():
    by_n = {}
    for name, source in PUBLIC.items():
        by_n.setdefault(source.paper_n, set()).add(name)
    assert by_n[256] == {"math24o", "aime24", "aime25", "amc23", "amc24"}
    assert by_n[32] == {"BeyondAIME", *(f"OlymMATH-{kind}" for kind in ("EN-EASY", "EN-HARD", "ZH-EASY", "ZH-HARD"))}
    assert by_n[16] == {
        "math500", "aqua", "cn_middle_school", "gaokao2023en", "gaokao_math_cloze", "gaokao_math_qa", "gaokao2024_I",
        "gaokao2024_II", "gaokao2024_mix", "minerva_math", "sat_math",
    }  # fmt: skip
    assert set(by_n) == {1, 16, 32, 256} and len(PUBLIC) == 32
    assert data.paper_samples("aime24") == 256 and data.paper_samples("a file of one's own") == 1


@pytest.mark.parametrize("gold, asked", [
    ("Yes", "Two? (Yes or No)"), ("no", "Two? (Yes or No)"), ("TRUE", "Two? (True or False)"), ("2", "Two?"),
])  # fmt: skip
def test_a_question_whose_gold_is_one_of_two_words_names_both(gold, asked, tmp_path):
    write_lines(tmp_path / "aime25" / "test.jsonl", [{"question": "Two?", "answer": gold}] * 30)
    assert data.load_benchmark("aime25", tmp_path)["aime25"][0].question == asked


def test_the_hash_of_a_set_knows_its_questions_golds_and_their_order():
    one, two = data.Problem("a", "1", "s", "s-0"), data.Problem("b", "2", "s", "s-1")
    known = data.problems_hash([one, two])
    assert known == data.problems_hash([one, two]) and len(known) == 16
    others = [[two, one], [one], [one, dataclasses.replace(two, answer="3")], [dataclasses.replace(one, question="c"), two]]
    assert len({known, *map(data.problems_hash, others)}) == 5


# The check of golds

def test_the_bench_of_golds_counts_and_names_what_cannot_be_graded(tmp_path):
    rows = [{"problem": "P", "answer": "7"}] * 28 + [{"problem": "P", "answer": answer} for answer in ("", "so \\odd")]
    write_lines(tmp_path / "aime24" / "test.jsonl", rows)
    in_layout("math24o", tmp_path)
    command = [sys.executable, "-W", "ignore", str(ROOT / "bench" / "golds.py"), str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.splitlines()
    assert lines[0].split() == "benchmark rows not understood wrong in its own box".split()
    assert [line.split() for line in lines[1:4]] \
        == [["aime24", "30", "2", "1"], ["math24o", "21", "0", "0"], ["all", "51", "2", "1"]]
    assert lines[4:] == ["not understood: aime24-28 ''", "not understood: aime24-29 'so \\\\odd'",
                         "wrong in its own box: aime24-28 ''"]


# Network

class Server:
    """Files of a folder over HTTP on loopback; `broken` announces more bytes than it sends."""

    def __init__(self, folder: Path):
        self.requests, self.broken = [], False
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=str(folder))

            def do_GET(self):
                outer.requests.append(self.path)
                if not outer.broken:
                    return super().do_GET()
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b'{"question": "q"')

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = Server(tmp_path / "served")
    monkeypatch.setattr(data, "RAW", server.url)
    monkeypatch.setenv("VERL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.stop()


def cached(tmp_path: Path) -> list[str]:
    return [path.parent.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def fails(error_type, server, *words):
    with pytest.raises(error_type) as error:
        data.load_benchmark("aime25")
    for word in ("aime25", f"{server.url}/aime25/test.jsonl", "--bench_dir", *words):
        assert word in str(error.value)


def test_download_enters_the_cache_and_is_not_repeated(server, tmp_path):
    in_layout("aime25", tmp_path / "served")
    first = data.load_benchmark("aime25")
    assert first == data.load_benchmark("aime25", tmp_path / "served") and len(first["aime25"]) == 30
    assert server.requests == ["/aime25/test.jsonl"] and cached(tmp_path) == ["aime25"]
    server.stop()
    assert data.load_benchmark("aime25") == first
    assert data.load_benchmark("aime25", next((tmp_path / "cache").iterdir())) == first  # laid out like a --bench_dir


def test_group_downloads_each_of_its_sets(server, tmp_path):
    for name in data.GROUPS["gaokao2024"]:
        in_layout(name, tmp_path / "served")
    assert list(data.load_benchmark("gaokao2024")) == list(data.GROUPS["gaokao2024"])
    assert sorted(cached(tmp_path)) == sorted(data.GROUPS["gaokao2024"])


def test_not_found(server, tmp_path):
    fails(ConnectionError, server, "404")
    assert cached(tmp_path) == []


def test_wrong_row_count_stays_out_of_the_cache(server, tmp_path):
    write_lines(tmp_path / "served" / "aime25" / "test.jsonl", [LAYOUTS["aime25"][0]] * 31)
    fails(ValueError, server, "31 rows", "30")
    assert cached(tmp_path) == []


def test_page_in_place_of_the_file_stays_out_of_the_cache(server, tmp_path):
    page = tmp_path / "served" / "aime25" / "test.jsonl"
    page.parent.mkdir(parents=True)
    page.write_text("<html>Please log in</html>\n")
    fails(ValueError, server, "not JSON", "<html>")
    assert cached(tmp_path) == []


def test_other_layout_stays_out_of_the_cache(server, tmp_path):
    write_lines(tmp_path / "served" / "aime25" / "test.jsonl", [{"prompt": "q", "answer": "1"}] * 30)
    fails(ValueError, server, "no field 'question'", "prompt")
    assert cached(tmp_path) == []


def test_truncated_download_stays_out_of_the_cache(server, tmp_path):
    server.broken = True
    fails(ConnectionError, server, "IncompleteRead")
    assert cached(tmp_path) == []


def test_server_gone(server):
    server.stop()
    fails(ConnectionError, server, "refused")


def test_server_that_never_answers_is_given_up(server, monkeypatch):
    silent = socket.create_server(("127.0.0.1", 0))  # takes the connection, and says nothing
    hang_up = threading.Timer(5, silent.close)  # what ends a wait that TIMEOUT does not, with another error
    hang_up.start()
    server.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    monkeypatch.setattr(data, "RAW", server.url)
    monkeypatch.setattr(data, "TIMEOUT", 0.2)
    fails(ConnectionError, server, "timed out")
    hang_up.cancel()
    silent.close()


def test_damaged_cache_is_named_with_the_remedy(server, tmp_path):
    in_layout("aime25", tmp_path / "served")
    data.load_benchmark("aime25")
    path, = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    path.write_text(path.read_text()[:100])
    fails(ValueError, server, str(path), "delete it")


def test_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    in_layout("aime25", tmp_path / "served")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VERL_CACHE", str(tmp_path / "file"))
    fails(OSError, server, str(tmp_path / "file"), "VERL_CACHE")


# Training sets

@pytest.fixture
def hub(tmp_path, monkeypatch):
    """hub(name, rows, file) writes made-up rows to a local folder and points the training set's hub id there."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")

    def serve(name: str, rows: list[dict], file: str, card: str | None = None):
        source = data.TRAINING[name]
        path = tmp_path / "hub" / file
        path.parent.mkdir(parents=True)
        if file.endswith(".parquet"):
            datasets.Dataset.from_list(rows).to_parquet(str(path))
        else:
            write_lines(path, rows)
        if card:
            (tmp_path / "hub" / "README.md").write_text(card)
        monkeypatch.setitem(data.TRAINING, name, dataclasses.replace(
            source, rows=source.rows and len(rows), hub=source.hub | {"path": str(tmp_path / "hub")}))

    return serve


@pytest.mark.parametrize("name, folder", [("simplerl_qwen_level3to5", "simplelr_qwen_level3to5"),
                                          ("simplerl_level3to5", "simplerl_qwen_level3to5"),
                                          ("simplerl_abel_level1to4", "simplelr_abel_level1to4")])
def test_simplerl_reads_extra_info_in_either_spelling_of_its_folder(name, folder, hub):
    row = {"prompt": "templated", "extra_info": {"question": "Q?", "answer": "1", "index": 0}}
    empty = {"prompt": "templated", "extra_info": {"question": "Q?", "answer": None, "index": 1}}
    hub(name, [row, empty, row], f"{folder}/train.parquet")
    with pytest.warns(UserWarning, match=rf"1 of 3 rows have no gold and are left out: {name}-1 "):
        problems = data.load_training(name)
    assert problems == [data.Problem("Q?", "1", name, f"{name}-0"), data.Problem("Q?", "1", name, f"{name}-2")]


def config_card(config: str, other: str) -> str:
    one_config = "- config_name: {0}\n  data_files:\n  - split: train\n    path: {0}/train.parquet\n"
    return "---\nconfigs:\n" + one_config.format(config) + one_config.format(other) + "---\n"


@pytest.mark.parametrize("name, row, file, card, gold", [
    ("gsm8k", {"question": "Q?", "answer": "#### 1,000"}, "main/train.parquet", config_card("main", "other"), "1000"),
    ("dapo_math", {"prompt": "Q?", "solution": "34"}, "all/train.parquet", config_card("all", "en"), "34"),
    ("deepscaler", {"problem": "Q?", "answer": "7", "solution": "-"}, "deepscaler.json", None, "7"),
    ("math", {"problem": "Q?", "solution": "is \\boxed{8}"}, "train.json", None, "8"),
    ("math", {"problem": "Q?", "solution": "is \\boxed{8}", "answer": "9"}, "train.json", None, "9"),
])
def test_training_sets_are_read_through_datasets(name, row, file, card, gold, hub):
    hub(name, [row] * 3, file, card)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert data.load_training(name) == [data.Problem("Q?", gold, name, f"{name}-{index}") for index in range(3)]


def test_golds_that_the_verifier_cannot_read_are_counted_and_named(hub, monkeypatch):
    monkeypatch.setattr(data.verifier, "understood", lambda gold: gold != "odd")
    hub("deepscaler", [{"problem": "Q?", "answer": answer} for answer in ("1", "odd", "2")], "deepscaler.json")
    with pytest.warns(UserWarning, match="1 of 3 rows have a gold .* only match as text: deepscaler-1 'odd'"):
        problems = data.load_training("deepscaler")
    assert len(problems) == 3 and data.not_understood(problems) == [problems[1]]


def test_training_set_without_any_gold_is_refused(hub):
    hub("deepscaler", [{"problem": "Q?", "answer": ""}] * 2, "deepscaler.json")
    with pytest.raises(ValueError, match="none of its 2 rows has a gold"):
        data.load_training("deepscaler")


def test_wrong_row_count_of_a_training_set_is_refused(hub, monkeypatch):
    hub("math", [{"problem": "Q?", "answer": "1"}] * 2, "train.json")
    monkeypatch.setitem(data.TRAINING, "math", dataclasses.replace(data.TRAINING["math"], rows=12000))
    with pytest.raises(ValueError, match="2 rows, where math has 12000"):
        data.load_training("math")


def test_unreachable_training_set_names_the_id_and_the_way_out(monkeypatch, tmp_path):
    source = data.TRAINING["deepscaler"]
    monkeypatch.setitem(data.TRAINING, "deepscaler", dataclasses.replace(source, hub={"path": str(tmp_path / "gone")}))
    with pytest.raises(ConnectionError, match="deepscaler.*gone.*Way out: a local file .*--question FIELD"):
        data.load_training("deepscaler")


# The toy

def test_toy_benchmark_has_64_problems_of_each_level_and_never_changes():
    sets = data.load_benchmark("toy")
    assert list(sets) == [f"toy-{level}" for level in toy.LEVELS]
    assert all(len({problem.question for problem in problems}) == 64 for problems in sets.values())
    assert sets == data.load_benchmark("toy")
    assert data.load_benchmark("toy", limit=3)["toy-4"] == sets["toy-4"][:3]
    assert sets["toy-4"][5].source == "toy-4" and sets["toy-4"][5].id == "toy-4-5"


def test_toy_training_is_levels_2_to_5_and_shares_nothing_with_the_benchmark():
    held_out = {problem for problems in data.load_benchmark("toy").values() for problem in problems}
    problems = data.load_training("toy", seed=data.TOY_BENCH_SEED)  # the draw most like the benchmark's
    assert {problem.source for problem in problems} == {"toy-2", "toy-3", "toy-4", "toy-5"}
    assert len(problems) == 4 * data.TOY_TRAIN
    for field in ("question", "id"):
        ours, theirs = ({getattr(problem, field) for problem in some} for some in (problems, held_out))
        assert len(ours) == len(problems) and not ours & theirs


def test_toy_training_is_drawn_by_the_seed():
    assert data.load_training("toy", seed=1) == data.load_training("toy", seed=1) != data.load_training("toy", seed=2)
