"""Where questions and answers come from: benchmarks, training sets, one's own files.

Published RLVR numbers differ because loaders differ: which field is the gold, how options follow the question, which
row was dropped. Elsewhere that knowledge is a branch per data set. Here a data set is one line of a table,

    name: rows, question, gold        question and gold each name a field of the row, or a recipe of RECIPES

A set of one's own needs no line: `--data` and `--bench` take a file or a hub id, and `--question` and `--answer` its
fields. With a name of its own it is one line of BENCHMARKS or TRAINING as well:

    "mine": Source(None, "prompt", "solution.final", file="~/mine.jsonl"),

What is read is checked: the row count against the table before a download enters the cache, every row for a question
and a gold. Texts are loaded, never shipped: most are not free to redistribute.

Fields and row counts were read off the files of hf618/VERL (the paper's release) at COMMIT.
"""

import difflib
import hashlib
import http.client
import json
import os
import re
import urllib.request
import uuid
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import toy
import verifier
from engine.prompts import prompt_text, render

COMMIT = "3de68f16e447647d3f80d11fdbe5816137b515aa"
RAW = f"https://raw.githubusercontent.com/hf618/VERL/{COMMIT}/examples/simplelr_math_eval/data"  # RAW/<name>/test.jsonl
TIMEOUT = 30.0  # seconds without a byte
TOY_BENCH, TOY_TRAIN = 64, 512  # problems per level
TOY_BENCH_SEED = 23808  # fixed: every run is scored on the same problems


@dataclass(frozen=True)
class Problem:
    question: str  # as the model is asked, before the template
    answer: str  # the gold; "" where a benchmark's row has none: it stays, since leaving it out would change the set
    source: str  # benchmark or training set, e.g. "gaokao2024_I"; "toy-4" is level 4 of the toy
    id: str  # source and row number from 0, e.g. "gaokao2024_I-13"; unique
    row: dict = field(default_factory=dict, repr=False, compare=False)  # all fields, for a reward of one's own


@dataclass(frozen=True)
class Source:
    rows: int | None  # None: not known, not checked
    question: str  # a field of the row ("extra_info.question": a nested one), or a key of RECIPES
    gold: str  # likewise
    paper_n: int = 1  # a benchmark's: samples per problem in the paper's evaluation (its release's eval.sh)
    hub: dict | None = None  # a training set's: what datasets.load_dataset is asked for
    file: str | None = None  # JSON lines on this machine; None: the hub, or RAW/<name>/test.jsonl


# Recipes: more than a field


def _with_options(question: str, options: dict | list | str, title: str = "Answer Choices:") -> str:
    """The question, then one line of options: (A) .. (B) .."""
    # {"B": "two", "A": "one"} is put in the order of its letters.
    if isinstance(options, dict):
        options = [options[letter] for letter in sorted(options)]

    # Some lists bring their letters along: "A)one" and "one" are both option (A).
    if isinstance(options, list):
        lettered = []
        for index, option in enumerate(options):
            letter = chr(ord("A") + index)
            text = str(option).strip().removeprefix(letter + ")").strip()
            lettered.append(f"({letter}) {text}")
        options = " ".join(lettered)

    # A ready-made line "A) 1 B) 2" gets the brackets that it lacks.
    else:
        options = re.sub(r"(?<!\S)([A-E])\)", r"(\1)", options)
    return f"{question.strip()}\n{title} {options.strip()}"


def _with_table(row: dict) -> str:
    """tabmwp: a table as text, maybe with a title, and a question. Its options have no letters: its gold is a text."""
    title = f"{row['table_title']}\n" if row["table_title"] else ""
    table = row["table"].strip()
    asked = row["question"].strip()
    question = f"Read this table and answer the question.\n{title}{table}\n{asked}"
    if not row["choices"]:
        return question
    return f"{question} Please select from the following options: {', '.join(map(str, row['choices']))}"


def _yes_or_no(gold: str) -> str:
    """What the release adds to a question whose gold is one of two words."""
    for pair in (("yes", "no"), ("true", "false")):
        if gold.lower() in pair:
            return f" ({pair[0].capitalize()} or {pair[1].capitalize()})"
    return ""


def _by_answer_type(row: dict) -> str:
    """tabmwp: in a number, commas only group thousands; in a text, they separate."""
    is_number = row["ans_type"].endswith("_number")
    return row["answer"].replace(",", "") if is_number else row["answer"]


# What `--bench list` calls it, and how it is read off the row.
RECIPES = {
    # Questions
    "body + question": lambda row: f"{row['body'].strip()} {row['question'].strip()}",
    "Body. + Question": lambda row: f"{row['Body'].strip().removesuffix('.')}. {row['Question'].strip()}",
    "question + options": lambda row: _with_options(row["question"], row["options"]),
    "question + 选项": lambda row: _with_options(row["question"], row["options"], "选项:"),
    "question + choices": lambda row: _with_options(row["question"], row["choices"]),
    "table_title + table + question + choices": _with_table,
    # Golds that stand in one of two fields, or within a longer text
    "choice_answer or answer": lambda row: row["choice_answer"] or row["answer"],
    "answer or boxed in solution": lambda row: row.get("answer") or verifier.extract_answer(row["solution"]),
    "boxed in solution": lambda row: verifier.extract_answer(row["solution"]),
    "answer after ####": lambda row: row["answer"].rsplit("####", 1)[1].replace(",", ""),  # commas only group thousands
    "final_answer[0]": lambda row: row["final_answer"][0],
    # Golds with something around them that is not part of the answer
    "answer without .0": lambda row: re.sub(r"\.0+$", "", row["answer"]),
    "answer without (unit)": lambda row: re.sub(r"\s+\([^()]*\)$", "", row["answer"].strip()),  # keeps -(1/3) whole
    "answer without $": lambda row: re.sub(r"(?<!\\)\$", "", row["answer"]),
    "answer, by ans_type": _by_answer_type,
    # Golds that are letters
    "answer, 0 is A": lambda row: "ABCD"[row["answer"]],
    "label without spaces": lambda row: row["label"].replace(" ", ""),
}

# The tables

BENCHMARKS = {
    "aime24": Source(30, "problem", "answer", 256),
    "aime25": Source(30, "question", "answer", 256),
    "amc23": Source(40, "problem", "answer", 256),
    "amc24": Source(45, "problem", "answer", 256),
    "aqua": Source(254, "question + options", "correct", 16),
    "asdiv": Source(2215, "body + question", "answer without (unit)"),
    "BeyondAIME": Source(100, "problem", "answer", 32),
    "carp_en": Source(976, "content", "answer"),
    "cmath": Source(600, "question", "answer"),
    "cn_middle_school": Source(101, "question", "choice_answer or answer", 16),
    "college_math": Source(2818, "question", "answer without $"),
    "gaokao2023en": Source(385, "question", "answer without $", 16),
    "gaokao2024_I": Source(14, "question", "answer", 16),
    "gaokao2024_II": Source(14, "question", "answer", 16),
    "gaokao2024_mix": Source(91, "question", "choice_answer or answer", 16),
    "gaokao_math_cloze": Source(118, "question", "answer", 16),
    "gaokao_math_qa": Source(351, "question + 选项", "label without spaces", 16),
    "gsm8k": Source(1319, "question", "answer after ####"),
    "math": Source(5000, "problem", "boxed in solution"),
    "math24o": Source(21, "problem", "answer without .0", 256),
    "math500": Source(500, "problem", "boxed in solution", 16),
    "mawps": Source(2065, "input", "target"),
    "minerva_math": Source(272, "problem", "boxed in solution", 16),
    "mmlu_stem": Source(3018, "question + choices", "answer, 0 is A"),
    "OlymMATH-EN-EASY": Source(100, "problem", "answer", 32),
    "OlymMATH-EN-HARD": Source(100, "problem", "answer", 32),
    "OlymMATH-ZH-EASY": Source(100, "problem", "answer", 32),
    "OlymMATH-ZH-HARD": Source(100, "problem", "answer", 32),
    "olympiadbench": Source(675, "question", "final_answer[0]"),
    "sat_math": Source(32, "question + options", "Answer", 16),
    "svamp": Source(1000, "Body. + Question", "Answer"),
    "tabmwp": Source(1000, "table_title + table + question + choices", "answer, by ans_type"),
}
GROUPS = {"gaokao2024": ("gaokao2024_I", "gaokao2024_II", "gaokao2024_mix")}  # reported each and pooled


def _simplerl(folder: str) -> Source:
    """A folder of SimpleRL-Zoo; "simplerl" and "simplelr" are both in use for their names: the pattern takes either."""
    hub = {"path": "hkust-nlp/SimpleRL-Zoo-Data", "data_files": f"simple*_{folder}/train*"}
    return Source(None, "extra_info.question", "extra_info.answer", hub=hub)


TRAINING = {
    # The paper's, by difficulty, in the prompts of two base models; the last name is short for the paper's default.
    "simplerl_qwen_gsm8k_level1": _simplerl("qwen_gsm8k_level1"),
    "simplerl_qwen_level1to4": _simplerl("qwen_level1to4"),
    "simplerl_qwen_level3to5": _simplerl("qwen_level3to5"),
    "simplerl_abel_gsm8k_level1": _simplerl("abel_gsm8k_level1"),
    "simplerl_abel_level1to4": _simplerl("abel_level1to4"),
    "simplerl_abel_level3to5": _simplerl("abel_level3to5"),
    "simplerl_level3to5": _simplerl("qwen_level3to5"),
    # Others that people train on.
    "gsm8k": Source(7473, "question", "answer after ####", hub={"path": "openai/gsm8k", "name": "main"}),
    "deepscaler": Source(None, "problem", "answer", hub={"path": "agentica-org/DeepScaleR-Preview-Dataset"}),
    "dapo_math": Source(None, "prompt", "solution", hub={"path": "open-r1/DAPO-Math-17k-Processed", "name": "all"}),
    "math": Source(12000, "problem", "answer or boxed in solution", hub={"path": "rasbt/math_full_minus_math500"}),
}
OWN = Source(None, "question", "answer")  # a file or hub id on the command line; --question and --answer say otherwise
READERS = {".json": "json", ".csv": "csv", ".parquet": "parquet"}  # what `datasets` calls them; JSON lines we read


# Reading: rows travel as (where, row); `where` is "file:line" or "hub id row i", for the error messages


def _read(path: Path) -> list[tuple[str, dict]]:
    """The rows of a JSON-lines file; ValueError with file and line where one cannot be read."""
    # A byte order mark is dropped. Not str.splitlines, which would also cut at U+2028 inside a text.
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = list(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from error

    rows = []
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # RecursionError: a line of 100,000 brackets
            raise ValueError(f"{where}: not JSON ({error}): {line[:60]!r}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: a {type(row).__name__}, where an object with fields is needed")
        rows.append((where, row))
    return rows


def _value(row: dict, spec: str) -> str:
    """What a row holds under a field or a recipe, as text; "" for null. TypeError for anything but text and numbers."""
    # A dot leads into a nested object.
    if spec in RECIPES:
        value = RECIPES[spec](row)
    else:
        value = row
        for field in spec.split("."):
            value = value[field]

    # A number is written as people write it: 27.0 is 27.
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"{spec} is {value!r:.60}, neither text nor a number")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _problems(name: str, source: Source, origin: str | Path, rows: list[tuple[str, dict]]) -> list[Problem]:
    """Raises ValueError on a wrong row count, and at a row without the fields, or with an empty question."""
    # Another number of rows is another version of the benchmark.
    if not rows or source.rows not in (None, len(rows)):
        raise ValueError(f"{origin}: {len(rows)} rows, where {name} has {source.rows or 'at least 1'}")
    problems = []
    for index, (where, row) in enumerate(rows):
        # A recipe may fail in many ways on a row of another layout; each becomes one line that names the row.
        try:
            question, gold = _value(row, source.question), _value(row, source.gold)
        except KeyError as error:
            raise ValueError(f"{where}: no field {error}; the row has: {', '.join(row) or 'nothing'}") from error
        except (TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{where}: not laid out as rows of {name} are ({error})") from error
        if not question:
            raise ValueError(f"{where}: empty question")
        if BENCHMARKS.get(name) is source:  # and not a file of one's own of that name
            question += _yes_or_no(gold)
        problems.append(Problem(question, gold, name, f"{name}-{index}", row))
    return problems


# Places to read from


def _is_own(name: str) -> bool:
    """Whether a name is that of a file or of a hub id, and not of a line of a table."""
    return Path(name).suffix in (".jsonl", *READERS) or "/" in name


def _from_own(name: str, source: Source, split: str) -> list[Problem]:
    """The problems of one's own set: a file by its ending, or a hub id ORGANISATION/NAME[:CONFIG]."""
    suffix = Path(name).suffix
    if suffix == ".jsonl" or suffix in READERS:
        return _from_file(name, source=source)
    hub_id, _, config = name.partition(":")
    hub = {"path": hub_id, "name": config or None, "split": split}
    try:
        return _from_hub(hub_id.rpartition("/")[2], replace(source, hub=hub))
    except ConnectionError as error:
        raise FileNotFoundError(f"no data file {name}: looked for {Path(name).absolute()}; {error}") from error


def _from_file(file: str, name: str | None = None, source: Source = OWN) -> list[Problem]:
    """The problems of a file of one's own, which must all have an answer; its name is by default the file's stem."""
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise FileNotFoundError(f"no data file {file}: looked for {path}")
    rows = _read_table(path) if path.suffix in READERS else _read(path)
    problems = _problems(name or path.stem, source, path, rows)
    for (where, _), problem in zip(rows, problems):
        if not problem.answer:
            raise ValueError(f"{where}: empty answer")
    return problems


def _read_table(path: Path) -> list[tuple[str, dict]]:
    """The rows of a JSON, CSV or Parquet file, read by `datasets`; ValueError where it cannot."""
    import datasets  # here, since evaluation and the toy need not have it installed

    try:
        rows = datasets.load_dataset(READERS[path.suffix], data_files=str(path), split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"{path}: cannot be read as {READERS[path.suffix]} ({error!r:.200})") from error
    return [(f"{path} row {index}", row) for index, row in enumerate(rows)]


def _from_folder(name: str, source: Source, bench_dir: str | Path) -> list[Problem]:
    """The problems of <bench_dir>/<name>/test.jsonl."""
    folder = Path(bench_dir).expanduser().absolute()
    path = folder / name / "test.jsonl"
    if path.is_file():
        return _problems(name, source, path, _read(path))

    # A folder one level off is the usual mistake, so say what it holds.
    held = "no such folder"
    if folder.is_dir():
        held = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
    raise FileNotFoundError(f"--bench_dir has no {name}: looked for {path}; {folder} holds: {held}")


def _from_network(name: str, source: Source) -> list[Problem]:
    """The problems of RAW/<name>/test.jsonl, by way of the cache ($VERL_CACHE or ~/.cache/verl).

    The cache has one folder per COMMIT, laid out like a --bench_dir.
    """
    url = f"{RAW}/{name}/test.jsonl"
    way_out = f"Way out: with that file at FOLDER/{name}/test.jsonl, pass --bench_dir FOLDER."
    cache = Path(os.environ.get("VERL_CACHE") or "~/.cache/verl").expanduser()
    path = cache / COMMIT[:12] / name / "test.jsonl"
    if not path.exists():
        return _download(name, source, url, path, way_out)
    try:
        return _problems(name, source, path, _read(path))
    except ValueError as error:
        raise ValueError(
            f"benchmark {name}: damaged copy in the cache ({error}); delete it to download it again from {url}. "
            f"{way_out}"
        ) from error


def _download(name: str, source: Source, url: str, path: Path, way_out: str) -> list[Problem]:
    """Fetch url to path; what does not have the rows and fields of `source` never stands at path."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
            content = reply.read()  # raises IncompleteRead where the server stops early
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"benchmark {name}: cannot download {url} ({error!r}). {way_out}") from error

    # Other processes may be fetching the same file: each writes under a name of its own, and moves it when it is good.
    arriving = path.with_name(uuid.uuid4().hex)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving.write_bytes(content)
        problems = _problems(name, source, url, _read(arriving))
        arriving.replace(path)
    except ValueError as error:
        raise ValueError(f"benchmark {name}: {url} gives something unexpected ({error}). {way_out}") from error
    except OSError as error:
        raise OSError(
            f"benchmark {name}: cannot keep {url} in the cache ({error}); set VERL_CACHE to a folder that can be "
            f"written. {way_out}"
        ) from error
    finally:
        if arriving.exists():  # the move did not happen
            arriving.unlink()
    return problems


def _from_hub(name: str, source: Source) -> list[Problem]:
    """The problems of a data set of the Hugging Face hub, read by `datasets`."""
    import datasets  # here, since evaluation and the toy need not have it installed

    hub_id = source.hub["path"]
    try:
        rows = datasets.load_dataset(**{"split": "train", **source.hub})
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ConnectionError(
            f"data set {name}: cannot load {source.hub} from the Hugging Face hub ({error}). "
            "Way out: a local file (.jsonl, .json, .csv, .parquet), and --question FIELD --answer FIELD."
        ) from error
    located = [(f"{hub_id} row {index}", row) for index, row in enumerate(rows)]  # the hub numbers rows from 0
    return _problems(name, source, hub_id, located)


def _toy(levels: Collection[int], first: int, count: int, seed: int, exclude=frozenset()) -> dict[str, list[Problem]]:
    """`count` problems of each level, with ids from `first` on and none of the questions in `exclude`."""
    sets = {}
    for level in levels:
        name = f"toy-{level}"
        pairs = toy.problems(level, count, seed, exclude)
        sets[name] = [Problem(*pair, name, f"{name}-{index}") for index, pair in enumerate(pairs, first)]
    return sets


# What eval.py and train.py call


def load_benchmark(
    name_or_file: str, bench_dir: str | Path | None = None, limit: int | None = None, own: Source = OWN
) -> dict[str, list[Problem]]:
    """{source name: problems}, in table order, of a benchmark, a group (gaokao2024, toy), or a set of one's own.

    bench_dir: read <bench_dir>/<name>/test.jsonl instead of the network (the toy is made, not read). limit: the first
    so many of each source, cut after the row count is checked. own: which fields of one's own set are question and
    answer; it gives one entry, the file's stem or the hub id's name, and its split is `test`. Rows of a benchmark
    without gold stay, with answer "", and a warning names them.

    Raises ValueError (unknown name, wrong row count, bad row: file and line), FileNotFoundError, ConnectionError.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")

    # A file, the toy, or lines of the table.
    if _is_own(name_or_file):
        problems = _from_own(name_or_file, own, "test")
        sets = {problems[0].source: problems}
    elif name_or_file == "toy":
        sets = _toy(toy.LEVELS, 0, TOY_BENCH, TOY_BENCH_SEED)
    elif name_or_file in BENCHMARKS or name_or_file in GROUPS:
        names = GROUPS.get(name_or_file, (name_or_file,))
        sets = {name: _from_table(name, BENCHMARKS[name], bench_dir) for name in names}
    else:
        raise _unknown("benchmark", name_or_file, ["toy", *GROUPS, *BENCHMARKS])

    # A problem without a gold cannot be solved, but without it the benchmark would be another one.
    for name, problems in sets.items():
        missing = [problem for problem in problems if not problem.answer]
        _warn_of(name, "have no gold and can only be scored wrong", missing, problems)
    return {name: problems[:limit] for name, problems in sets.items()}


def _from_table(name: str, source: Source, bench_dir: str | Path | None) -> list[Problem]:
    # A set of one's own says where it is; the others are in a folder that one has, or are fetched.
    if source.file:
        return _from_file(source.file, name, source)
    if bench_dir is not None:
        return _from_folder(name, source, bench_dir)
    return _from_network(name, source)


def load_benchmarks(
    names: str, bench_dir: str | Path | None = None, limit: int | None = None, own: Source = OWN
) -> tuple[dict[str, list[Problem]], dict[str, list[str]]]:
    """Benchmarks separated by commas: ({source name: problems}, {benchmark of several sources: their names}).

    Raises what load_benchmark raises, and ValueError where two of them have a source of the same name.
    """
    sets, pools = {}, {}
    for name in names.split(","):
        found = load_benchmark(name, bench_dir, limit, own)
        twice = sets.keys() & found.keys()
        if twice:
            raise ValueError(f"--bench {names}: {', '.join(twice)} twice; files need names of their own")
        sets |= found
        if len(found) > 1:
            pools[name] = list(found)
    return sets, pools


def paper_samples(name: str) -> int:
    """Samples per problem of a source in the paper's evaluation; 1 for what is not a benchmark of the table."""
    return BENCHMARKS[name].paper_n if name in BENCHMARKS else 1


def load_training(name_or_file: str, seed: int = 0, own: Source = OWN) -> list[Problem]:
    """Problems to train on: "toy" (levels 2 to 5, none of them in its benchmark), a name of TRAINING, or one's own set.

    own: which fields of one's own set are question and answer; of a hub id, the split `train` is read.
    They come in the order of the source; shuffling is the caller's. seed draws the toy's problems, other sets are
    fixed. Two kinds of row are counted and named in a warning: those without gold, which are left out, and those whose
    gold the verifier does not understand, which stay, since it can be matched as text (`not_understood` lists all).

    Raises what load_benchmark raises.
    """
    # The toy's ids go on where those of its benchmark end.
    if name_or_file == "toy":
        held_out = {problem.question for problems in load_benchmark("toy").values() for problem in problems}
        sets = _toy(toy.TRAIN_LEVELS, TOY_BENCH, TOY_TRAIN, seed, frozenset(held_out))
        return [problem for problems in sets.values() for problem in problems]

    # A file, or a line of the table, which says where the rows are.
    if _is_own(name_or_file):
        problems = _from_own(name_or_file, own, "train")
    elif name_or_file in TRAINING:
        source = TRAINING[name_or_file]
        if source.file:
            problems = _from_file(source.file, name_or_file, source)
        else:
            problems = _from_hub(name_or_file, source)
    else:
        raise _unknown("training set", name_or_file, ["toy", *TRAINING])

    # Without a gold there is no reward.
    kept = [problem for problem in problems if problem.answer]
    missing = [problem for problem in problems if not problem.answer]
    if not kept:
        raise ValueError(f"{name_or_file}: none of its {len(problems)} rows has a gold")
    _warn_of(name_or_file, "have no gold and are left out", missing, problems)
    _warn_of(name_or_file, "have a gold that the verifier can only match as text", not_understood(kept), problems)
    return kept


def own_fields(config) -> Source:
    """What --question and --answer say of a set of one's own."""
    return replace(OWN, question=config.question, gold=config.answer)


def training_prompts(config, tokenizer, room: float, say) -> list[tuple[Problem, list[int]]]:
    """The training problems of a TrainConfig whose prompts fit, each with its prompt: [(Problem, token ids)].

    room: tokens that the model has positions for. What does not fit is left out, and counted through `say`.

    Raises ValueError where nothing fits, and what load_training raises.
    """
    limit = min(config.max_prompt_tokens, room - config.max_new_tokens)
    if limit < 1:
        raise ValueError(
            f"--max_new_tokens {config.max_new_tokens} leaves no room for any prompt: the model has {room} positions; "
            "give fewer tokens"
        )
    characters = config.max_prompt_characters
    fitting, left_out = [], 0
    for problem in load_training(config.data, config.seed, own_fields(config)):
        asked = tokenizer, problem.question, config.template, config.system, config.chat_options
        prompt, text = render(*asked), prompt_text(*asked)
        if len(prompt) <= limit and (characters is None or len(text) <= characters):
            fitting.append((problem, prompt))
        else:
            left_out += 1
    if left_out:
        longer = f"{limit} tokens" + (f" or {characters} characters" if characters else "")
        say(f"{left_out} of {left_out + len(fitting)} prompts are longer than {longer}: left out")
    if not fitting:
        raise ValueError(
            f"--data {config.data}: no prompt fits {limit} tokens (--max_prompt_tokens {config.max_prompt_tokens}; the "
            f"model has room for {room}, less --max_new_tokens {config.max_new_tokens})"
        )
    return fitting


def _warn_of(name: str, what: str, some: list[Problem], problems: list[Problem]) -> None:
    if not some:
        return
    named = [f"{problem.id} {problem.answer[:40]!r}" for problem in some[:20]]
    if len(some) > 20:
        named.append("..")
    first = ", ".join(named)
    warnings.warn(f"{name}: {len(some)} of {len(problems)} rows {what}: {first}")


def _unknown(kind: str, name: str, choices: Collection[str]) -> ValueError:
    # Capitals are part of some names, but a wrong one should not hide what was meant.
    lower = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(name.lower(), lower, cutoff=0.5)
    near = " or ".join(lower[match] for match in matches)
    meant = f" Did you mean {near}?" if near else ""
    known = ", ".join(choices)
    return ValueError(f"unknown {kind} {name!r}.{meant} Choose from {known}, or name a FILE.jsonl or a hub id.")


def problems_hash(problems: Collection[Problem]) -> str:
    """What tells a set from another: a hash of its questions and golds, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for problem in problems:
        digest.update(json.dumps([problem.question, problem.answer]).encode())
    return digest.hexdigest()


def not_understood(problems: Collection[Problem]) -> list[Problem]:
    """Those whose gold the verifier can only compare as text; a missing gold is one of them."""
    return [problem for problem in problems if not (problem.answer and verifier.understood(problem.answer))]


def list_benchmarks() -> str:
    """The table behind `--bench list`: name, rows, samples per problem with --protocol paper, question, gold."""
    lines = [f"{'name':<18}{'rows':>5}{'paper n':>9}  {'question':<42}gold"]
    for name, source in BENCHMARKS.items():
        rows = source.rows or "?"  # not known
        lines.append(f"{name:<18}{rows:>5}{source.paper_n:>9}  {source.question:<42}{source.gold}")

    # Then what is no line of the table.
    lines += ["", f"toy: {TOY_BENCH} problems of each level, made on the spot"]
    lines += [f"{name}: {', '.join(members)}, each and pooled" for name, members in GROUPS.items()]
    lines.append(f"from {RAW}/NAME/test.jsonl, or --bench_dir FOLDER, or your own FILE.jsonl")
    return "\n".join(lines)
