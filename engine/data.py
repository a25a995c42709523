"""Where questions and answers come from, and how a question becomes a prompt.

Published RLVR numbers differ because loaders differ: which field is the gold, how options follow the question, which
row was dropped. Elsewhere that knowledge is a branch per data set, and the prompt is written twice, once for training
and once for evaluation. Here a data set is one line of a table,

    name: rows, question, gold        question and gold each name a field of the row, or a recipe of RECIPES

and one `render` serves both. What is read is checked: the row count against the table before a download enters the
cache, every row for a question and a gold. Texts are loaded, never shipped: most are not free to redistribute.

Fields and row counts were read off the files of hf618/VERL (the paper's release) at COMMIT. Nothing here cuts a prompt:
the caller knows the model's room, and counts what does not fit.
"""

import difflib
import json
import os
import re
import uuid
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import verifier

COMMIT = "3de68f16e447647d3f80d11fdbe5816137b515aa"
RAW = f"https://raw.githubusercontent.com/hf618/VERL/{COMMIT}/examples/simplelr_math_eval/data"  # RAW/<name>/test.jsonl
TIMEOUT = 30.0  # seconds without a byte
TOY_BENCH, TOY_TRAIN = 64, 512  # problems per level
TOY_BENCH_SEED = 23808  # fixed: every run is scored on the same problems


@dataclass(frozen=True)
class Problem:
    question: str  # as the model is asked, before the template
    answer: str    # the gold; "" where a benchmark's row has none: it stays, since leaving it out would change the set
    source: str    # benchmark or training set, e.g. "gaokao2024_I"; "toy-4" is level 4 of the toy
    id: str        # source and row number from 0, e.g. "gaokao2024_I-13"; unique


@dataclass(frozen=True)
class Source:
    rows: int | None           # None: not known, not checked
    question: str              # a field of the row ("extra_info.question": a nested one), or a key of RECIPES
    gold: str                  # likewise
    hub: dict | None = None    # what datasets.load_dataset is asked for; None: RAW/<name>/test.jsonl


def _with_options(question: str, options: dict | list | str) -> str:
    """The question, then one line of options as (A) .. (B) ..; a ready-made text of options is kept as it is."""
    if isinstance(options, dict):
        options = [options[letter] for letter in sorted(options)]
    if isinstance(options, list):
        lettered = [(chr(ord("A") + index), str(option).strip()) for index, option in enumerate(options)]
        options = " ".join(f"({letter}) {text.removeprefix(letter + ')').strip()}" for letter, text in lettered)
    return f"{question.strip()}\nAnswer Choices: {options.strip()}"


def _with_table(row: dict) -> str:
    title = f"{row['table_title']}\n" if row["table_title"] else ""
    question = f"Read this table and answer the question.\n{title}{row['table'].strip()}\n{row['question'].strip()}"
    return _with_options(question, row["choices"]) if row["choices"] else question


# More than a field: what `--bench list` calls it, and how it is read off the row.
RECIPES = {
    "body + question": lambda row: f"{row['body'].strip()} {row['question'].strip()}",
    "Body. + Question": lambda row: f"{row['Body'].strip().removesuffix('.')}. {row['Question'].strip()}",
    "question + options": lambda row: _with_options(row["question"], row["options"]),
    "question + choices": lambda row: _with_options(row["question"], row["choices"]),
    "table_title + table + question + choices": _with_table,
    "choice_answer or answer": lambda row: row["choice_answer"] or row["answer"],
    "answer or boxed in solution": lambda row: row.get("answer") or verifier.extract_answer(row["solution"]),
    "boxed in solution": lambda row: verifier.extract_answer(row["solution"]),
    "answer after ####": lambda row: row["answer"].rsplit("####", 1)[1].replace(",", ""),  # commas only group thousands
    "answer without .0": lambda row: re.sub(r"\.0+$", "", row["answer"]),
    "answer without (unit)": lambda row: re.sub(r"\s+\([^()]*\)$", "", row["answer"].strip()),  # keeps -(1/3) whole
    "answer without $": lambda row: re.sub(r"(?<!\\)\$", "", row["answer"]),
    "answer, 0 is A": lambda row: "ABCD"[row["answer"]],
    "answer, by ans_type": lambda row: row["answer"].replace(",", "" if row["ans_type"].endswith("_number") else ","),
    "final_answer[0]": lambda row: row["final_answer"][0],
    "label without spaces": lambda row: row["label"].replace(" ", ""),
}

BENCHMARKS = {
    "aime24": Source(30, "problem", "answer"),
    "aime25": Source(30, "question", "answer"),
    "amc23": Source(40, "problem", "answer"),
    "amc24": Source(45, "problem", "answer"),
    "aqua": Source(254, "question + options", "correct"),
    "asdiv": Source(2215, "body + question", "answer without (unit)"),
    "BeyondAIME": Source(100, "problem", "answer"),
    "carp_en": Source(976, "content", "answer"),
    "cmath": Source(600, "question", "answer"),
    "cn_middle_school": Source(101, "question", "choice_answer or answer"),
    "college_math": Source(2818, "question", "answer without $"),
    "gaokao2023en": Source(385, "question", "answer without $"),
    "gaokao2024_I": Source(14, "question", "answer"),
    "gaokao2024_II": Source(14, "question", "answer"),
    "gaokao2024_mix": Source(91, "question", "choice_answer or answer"),
    "gaokao_math_cloze": Source(118, "question", "answer"),
    "gaokao_math_qa": Source(351, "question + options", "label without spaces"),
    "gsm8k": Source(1319, "question", "answer after ####"),
    "math24o": Source(21, "problem", "answer without .0"),
    "math500": Source(500, "problem", "boxed in solution"),
    "mawps": Source(2065, "input", "target"),
    "minerva_math": Source(272, "problem", "boxed in solution"),
    "mmlu_stem": Source(3018, "question + choices", "answer, 0 is A"),
    **{f"OlymMATH-{kind}": Source(100, "problem", "answer") for kind in ("EN-EASY", "EN-HARD", "ZH-EASY", "ZH-HARD")},
    "olympiadbench": Source(675, "question", "final_answer[0]"),
    "sat_math": Source(32, "question + options", "Answer"),
    "svamp": Source(1000, "Body. + Question", "Answer"),
    "tabmwp": Source(1000, "table_title + table + question + choices", "answer, by ans_type"),
}
GROUPS = {"gaokao2024": ("gaokao2024_I", "gaokao2024_II", "gaokao2024_mix")}  # reported each and pooled


def _simplerl(folder: str) -> Source:
    # "simplerl" and "simplelr" are both in use for these folders: the pattern takes either.
    return Source(None, "extra_info.question", "extra_info.answer",
                  {"path": "hkust-nlp/SimpleRL-Zoo-Data", "data_files": f"simple*_{folder}/train*"})


TRAINING = {
    **{f"simplerl_{base}_{levels}": _simplerl(f"{base}_{levels}")
       for base in ("qwen", "abel") for levels in ("gsm8k_level1", "level1to4", "level3to5")},
    "simplerl_level3to5": _simplerl("qwen_level3to5"),
    "gsm8k": Source(7473, "question", "answer after ####", {"path": "openai/gsm8k", "name": "main"}),
    "deepscaler": Source(None, "problem", "answer", {"path": "agentica-org/DeepScaleR-Preview-Dataset"}),
    "dapo_math": Source(None, "prompt", "solution", {"path": "open-r1/DAPO-Math-17k-Processed", "name": "all"}),
    "math": Source(12000, "problem", "answer or boxed in solution", {"path": "rasbt/math_full_minus_math500"}),
}


# Reading. Rows travel as (where, row): `where` is "file:line" or "hub id row i", for the error messages.

def _read(path: Path) -> list[tuple[str, dict]]:
    rows = []
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = list(file)  # not str.splitlines, which would also cut at U+2028 inside a text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not JSON ({error}): {line[:60]!r}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: a {type(row).__name__}, where an object with fields is needed")
        rows.append((f"{path}:{number}", row))
    return rows


def _value(row: dict, spec: str) -> str:
    value = row
    if spec in RECIPES:
        value = RECIPES[spec](row)
    else:
        for field in spec.split("."):
            value = value[field]
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"{spec} is {value!r:.60}, neither text nor a number")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()  # 27.0 is 27


def _problems(name: str, source: Source, origin: str | Path, rows: list[tuple[str, dict]]) -> list[Problem]:
    """Raises ValueError on a wrong row count, and at a row without the fields, or with an empty question."""
    if not rows or source.rows not in (None, len(rows)):
        raise ValueError(f"{origin}: {len(rows)} rows, where {name} has {source.rows or 'at least 1'}")
    problems = []
    for index, (where, row) in enumerate(rows):
        try:
            question, gold = _value(row, source.question), _value(row, source.gold)
        except KeyError as error:
            raise ValueError(f"{where}: no field {error}; the row has: {', '.join(row) or 'nothing'}") from error
        except (TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{where}: not laid out as rows of {name} are ({error})") from error
        if not question:
            raise ValueError(f"{where}: empty question")
        problems.append(Problem(question, gold, name, f"{name}-{index}"))
    return problems


def _is_file(name_or_file: str) -> bool:
    return name_or_file.endswith(".jsonl") or Path(name_or_file).name != name_or_file


def _from_file(file: str) -> list[Problem]:
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise FileNotFoundError(f"no data file {file}: looked for {path}")
    rows = _read(path)
    problems = _problems(path.stem, Source(None, "question", "answer"), path, rows)
    for (where, _), problem in zip(rows, problems):
        if not problem.answer:
            raise ValueError(f"{where}: empty answer")
    return problems


def _from_folder(name: str, source: Source, bench_dir: str | Path) -> list[Problem]:
    folder = Path(bench_dir).expanduser().absolute()
    path = folder / name / "test.jsonl"
    if not path.is_file():
        held = ", ".join(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise FileNotFoundError(f"--bench_dir has no {name}: looked for {path}; {folder} holds: {held or 'nothing'}")
    return _problems(name, source, path, _read(path))


def _from_network(name: str, source: Source) -> list[Problem]:
    """Reads the cached copy of RAW/<name>/test.jsonl, fetching it first where there is none. A download is checked
    before it enters the cache ($VERL_CACHE or ~/.cache/verl): one folder per COMMIT, laid out like a --bench_dir."""
    import http.client  # here, because `import data` should cost nothing
    import urllib.request

    url = f"{RAW}/{name}/test.jsonl"
    way_out = f"Way out: with that file at FOLDER/{name}/test.jsonl, pass --bench_dir FOLDER."
    path = Path(os.environ.get("VERL_CACHE") or "~/.cache/verl").expanduser() / COMMIT[:12] / name / "test.jsonl"
    if path.exists():
        try:
            return _problems(name, source, path, _read(path))
        except ValueError as error:
            raise ValueError(f"benchmark {name}: damaged copy in the cache ({error}); delete it to download it again "
                             f"from {url}. {way_out}") from error
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
            content = reply.read()  # raises IncompleteRead where the server stops early
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"benchmark {name}: cannot download {url} ({error!r}). {way_out}") from error
    arriving = path.with_name(uuid.uuid4().hex)  # other processes may be fetching the same file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving.write_bytes(content)
        problems = _problems(name, source, url, _read(arriving))
        arriving.replace(path)
    except ValueError as error:
        raise ValueError(f"benchmark {name}: {url} gives something unexpected ({error}). {way_out}") from error
    except OSError as error:
        raise OSError(f"benchmark {name}: cannot keep {url} in the cache ({error}); set VERL_CACHE to a folder that "
                      f"can be written. {way_out}") from error
    finally:
        if arriving.exists():  # the move did not happen
            arriving.unlink()
    return problems


def _from_hub(name: str, source: Source) -> list[Problem]:
    import datasets

    hub_id = source.hub["path"]
    try:
        rows = datasets.load_dataset(**source.hub, split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ConnectionError(f"training set {name}: cannot load {source.hub} from the Hugging Face hub ({error}). "
                              "Way out: a local FILE.jsonl with question and answer on each line.") from error
    return _problems(name, source, hub_id, [(f"{hub_id} row {index}", row) for index, row in enumerate(rows)])


def _toy(levels: Collection[int], first: int, count: int, seed: int, exclude=frozenset()) -> dict[str, list[Problem]]:
    import toy

    sets = {f"toy-{level}": toy.problems(level, count, seed, exclude) for level in levels}
    return {name: [Problem(*pair, name, f"{name}-{index}") for index, pair in enumerate(pairs, first)]
            for name, pairs in sets.items()}


def _unknown(kind: str, name: str, choices: Collection[str]) -> ValueError:
    lower = {choice.lower(): choice for choice in choices}
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, cutoff=0.5)]
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}.{meant} Choose from {', '.join(choices)}, or name a FILE.jsonl.")


def load_benchmark(name_or_file: str, bench_dir: str | Path | None = None, limit: int | None = None,
                   ) -> dict[str, list[Problem]]:
    """{source name: problems}, in table order, of a benchmark, a group (gaokao2024, toy), or anyone's own JSONL file.

    bench_dir: read <bench_dir>/<name>/test.jsonl instead of the network (the toy is made, not read). limit: the first
    so many of each source, cut after the row count is checked. A JSONL file has `question` and `answer` on each line
    and gives one entry, its stem. Rows without gold stay, with answer "", and a warning names them.

    Raises ValueError (unknown name, wrong row count, bad row: file and line), FileNotFoundError, ConnectionError.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    if _is_file(name_or_file):
        problems = _from_file(name_or_file)
        sets = {problems[0].source: problems}
    elif name_or_file == "toy":
        import toy

        sets = _toy(toy.LEVELS, 0, TOY_BENCH, TOY_BENCH_SEED)
    elif name_or_file in BENCHMARKS or name_or_file in GROUPS:
        names = GROUPS.get(name_or_file, (name_or_file,))
        sets = {name: _from_network(name, BENCHMARKS[name]) if bench_dir is None
                else _from_folder(name, BENCHMARKS[name], bench_dir) for name in names}
    else:
        raise _unknown("benchmark", name_or_file, ["toy", *GROUPS, *BENCHMARKS])
    for name, problems in sets.items():
        missing = [problem for problem in problems if not problem.answer]
        _warn_of(name, "have no gold and can only be scored wrong", missing, problems)
    return {name: problems[:limit] for name, problems in sets.items()}


def _warn_of(name: str, what: str, some: list[Problem], problems: list[Problem]) -> None:
    if some:
        first = ", ".join(f"{problem.id} {problem.answer[:40]!r}" for problem in some[:20])
        warnings.warn(f"{name}: {len(some)} of {len(problems)} rows {what}: {first}{', ..' if len(some) > 20 else ''}")


def load_training(name_or_file: str, seed: int = 0) -> list[Problem]:
    """Problems to train on: "toy" (levels 2 to 5, none of them in the toy benchmark), a name of TRAINING, a JSONL file.

    They come in the order of the source; shuffling is the caller's. seed draws the toy's problems, other sets are
    fixed. Two kinds of row are counted and named in a warning: those without gold, which are left out, and those whose
    gold the verifier does not understand, which stay, since it can be matched as text (`not_understood` lists all).

    Raises what load_benchmark raises.
    """
    if name_or_file == "toy":
        import toy

        held_out = frozenset(problem.question for problems in load_benchmark("toy").values() for problem in problems)
        return sum(_toy(toy.TRAIN_LEVELS, TOY_BENCH, TOY_TRAIN, seed, held_out).values(), [])
    if _is_file(name_or_file):
        problems = _from_file(name_or_file)
    elif name_or_file in TRAINING:
        problems = _from_hub(name_or_file, TRAINING[name_or_file])
    else:
        raise _unknown("training set", name_or_file, ["toy", *TRAINING])
    kept = [problem for problem in problems if problem.answer]
    missing = [problem for problem in problems if not problem.answer]
    if not kept:
        raise ValueError(f"{name_or_file}: none of its {len(problems)} rows has a gold")
    _warn_of(name_or_file, "have no gold and are left out", missing, problems)
    _warn_of(name_or_file, "have a gold that the verifier can only match as text", not_understood(kept), problems)
    return kept


def not_understood(problems: Collection[Problem]) -> list[Problem]:
    """Those whose gold the verifier can only compare as text; a missing gold is one of them."""
    return [problem for problem in problems if not (problem.answer and verifier.understood(problem.answer))]


def list_benchmarks() -> str:
    """The table behind `--bench list`: name, rows, question, gold."""
    lines = [("name", "rows", "question", "gold")]
    lines += [(name, str(source.rows), source.question, source.gold) for name, source in BENCHMARKS.items()]
    table = [f"{name:<18}{rows:>5}  {question:<42}{gold}" for name, rows, question, gold in lines]
    groups = [f"{name}: {', '.join(members)}, each and pooled" for name, members in GROUPS.items()]
    return "\n".join([*table, "", f"toy: {TOY_BENCH} problems of each level, made on the spot", *groups,
                      f"from {RAW}/NAME/test.jsonl, or --bench_dir FOLDER, or your own FILE.jsonl"])


# Templates: what stands before and after the question. chat leaves both to the tokenizer.
BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."
TEMPLATES = {
    "chat": ("", BOXED),
    "qwen-boxed": ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
                   BOXED + "<|im_end|>\n<|im_start|>assistant\n"),
    "abel": ("Question:\n", "\nAnswer:\nLet's think step by step.\n"),
    "plain": ("", ""),
}


def render(tokenizer, question: str, template: str) -> list[int]:
    """Token ids of the prompt, all that stands before the response.

    chat: the tokenizer's own chat template with one user message, which ends in the same request for a box as
    qwen-boxed; no token is added to what the template writes. The others are texts, encoded behind the special tokens
    that the tokenizer puts first by default (BOS for Llama and Mistral, none for Qwen), as the model was trained, but
    without any that it puts last: after an EOS, the response would be a new document. The ChatML markers of qwen-boxed
    become single tokens where the vocabulary has them, and are plain text elsewhere.

    Raises ValueError for an unknown template, and for chat where the tokenizer has no chat template.
    """
    if template not in TEMPLATES:
        raise ValueError(f"unknown template {template!r}; choose from {', '.join(TEMPLATES)}")
    before, after = TEMPLATES[template]
    text = before + question + after  # no str.format: questions are full of braces
    if template == "chat":
        if not tokenizer.chat_template:
            raise ValueError("this tokenizer has no chat template; choose --template qwen-boxed, abel or plain")
        return tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True,
                                             return_dict=False)
    encoded = tokenizer(text, return_special_tokens_mask=True)
    ids, added = list(encoded["input_ids"]), list(encoded["special_tokens_mask"])
    while ids and added.pop():
        ids.pop()
    return ids


def check(bench_dir: str, name: str) -> tuple[int, list[Problem], list[Problem]]:
    """Rows of a benchmark in a folder, its Problems whose gold is not understood, those whose boxed gold is wrong."""
    problems = load_benchmark(name, bench_dir=bench_dir)[name]
    wrong = [p for p in problems if not verifier.verify(f"\\boxed{{{p.answer}}}", p.answer)]
    return len(problems), not_understood(problems), wrong


def main() -> None:
    """`python engine/data.py FOLDER`: can every gold of the benchmarks in FOLDER/<name>/test.jsonl be graded at all?"""
    import argparse

    parser = argparse.ArgumentParser(description="Check the golds of the benchmarks in FOLDER/<name>/test.jsonl.")
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    total, strange, wrong = 0, [], []
    print(f"{'benchmark':<18}{'rows':>6}{'not understood':>16}{'wrong in its own box':>22}")
    for name in BENCHMARKS:
        if (Path(folder) / name / "test.jsonl").exists():
            rows, s, w = check(folder, name)
            print(f"{name:<18}{rows:>6}{len(s):>16}{len(w):>22}")
            total, strange, wrong = total + rows, strange + s, wrong + w
    print(f"{'all':<18}{total:>6}{len(strange):>16}{len(wrong):>22}")
    for title, problems in (("not understood", strange), ("wrong in its own box", wrong)):
        for p in problems:
            print(f"{title}: {p.id} {p.answer!r}")


if __name__ == "__main__":
    main()
