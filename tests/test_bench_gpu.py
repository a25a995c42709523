"""bench/gpu.py at tiny sizes on the CPU: every part reports, what fails is a row, and the reckoning adds up."""

import contextlib
import io
import json
import signal

import pytest
import torch
from conftest import ROOT
from processes import ForkedRun

from bench import gpu
from bench.gpu_reckoning import FULL, SMALL, likely_lengths, reckon, stop_share


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    """(lines printed, what the JSON file holds) of a dry run in which the spectra's window is too small to be taken.

    Only two parts run in processes of their own, which take seconds to start: the first, and the one with threads. The
    toy's three runs are forked.
    """
    folder = tmp_path_factory.mktemp("gpu")
    forked = ForkedRun(folder)
    out, printed = folder / "gpu.json", io.StringIO()
    options = ["--small", "--spectra_window", "9", "--out", str(out)]
    run_part = gpu.run_part

    def part(name, argv, seconds):
        if name in ("device", "sampler"):
            return run_part(name, argv, seconds)
        gpu.child(name, folder / name, gpu.parse(argv)[1])
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setattr(gpu, "run_part", part)
        patch.setattr(gpu, "subprocess", forked.module)
        patch.setattr(signal, "signal", lambda *args: None)
        patch.setattr(gpu.train, "generate", gpu.train.generate)  # the step replaces it, in a process that then ends
        gpu.main(options)
    assert len(forked.commands) == 3
    return printed.getvalue().splitlines(), json.loads(out.read_text())


def read(tmp_path):
    return [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]


@pytest.mark.slow
def test_every_row_that_is_expected_is_measured_and_what_fails_is_a_row(dry_run):
    _, found = dry_run
    measured = {(r["part"], r["what"]) for r in found["rows"] if r["measured"] is not None}
    failed = {r["what"]: r["error"] for r in found["rows"] if r["error"]}
    expected = {(part, what) for part, own in reckon(SMALL).items() for what in own if "window" not in what}
    assert expected <= measured, failed
    assert list(failed) == ["96 x 128, window 9: fast", "96 x 128, window 9: exact"]
    assert all(error.startswith("ValueError: window must be") for error in failed.values())


@pytest.mark.slow
def test_on_a_cpu_a_resumed_run_has_the_weights_of_the_whole_one(dry_run):
    _, found = dry_run
    (difference,) = [r["measured"] for r in found["rows"] if "resumed" in r["what"]]
    assert difference == 0


@pytest.mark.slow
def test_the_file_holds_what_the_table_shows(dry_run):
    printed, found = dry_run
    lines = [line for line in printed if line.startswith("|")]
    assert len(lines) == len(found["rows"]) + 2 and lines == gpu.table(found["rows"])
    cells = [cell.strip() for cell in lines[2].split(" | ")]
    assert cells[0] == f"| {found['rows'][0]['part']}" and cells[1] == found["rows"][0]["what"]
    assert f"torch: {found['machine']['torch']}" in printed


def test_a_part_that_raises_keeps_its_rows_so_far_and_says_why(tmp_path, monkeypatch):
    def work(rows, sizes, device):
        rows.add("float64 matrix product", 1.5)
        raise RuntimeError("no more\nof this")

    monkeypatch.setitem(gpu.PARTS, "device", (work, 60))
    gpu.child("device", tmp_path / "rows", SMALL)
    kept, last = read(tmp_path)
    assert (kept["reckoned"], kept["measured"], kept["unit"], kept["error"]) == (67, 1.5, "TFLOP/s", None)
    assert (last["what"], last["measured"], last["error"]) == ("the rest", None, "RuntimeError: no more")


def test_a_part_that_takes_too_long_is_stopped_and_one_without_time_is_not_begun(monkeypatch):
    (not_begun,) = gpu.run_part("toy", ["--small"], 5)
    assert "not begun" in not_begun["error"]
    monkeypatch.setattr(gpu, "STARTING", 0)
    (stopped,) = gpu.run_part("toy", ["--small"], 0.3)
    assert stopped["part"] == "toy" and "TimeoutExpired: stopped" in stopped["error"]


def test_a_part_whose_process_dies_is_a_row_with_what_it_said_last():
    (died,) = gpu.run_part("device", ["--small", "--copy_mib", "many"], 100)
    assert "exit code 2" in died["error"] and "invalid int value" in died["error"]


def test_without_a_gpu_the_full_sizes_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU here; --small"):
        gpu.main([])


def test_stop_ids_give_the_mean_length_that_was_asked_for():
    share = stop_share(600, 1536)
    lengths = torch.empty(200_000).geometric_(share, generator=torch.Generator().manual_seed(0)).clamp(max=1536)
    assert lengths.mean().item() == pytest.approx(600, rel=0.01)
    assert sum(likely_lengths(128, 600, 1536)) / 128 == pytest.approx(600, rel=0.01)
    stops = gpu.random_stops(FULL, FULL.shapes["qwen"], 1536)
    assert len(stops) / 151936 == pytest.approx(share, rel=0.01)
    assert stops == gpu.random_stops(FULL, FULL.shapes["qwen"], 1536)


def test_the_reckoning_of_an_h100_by_hand():
    expected = reckon(FULL)
    spectra, qwen, llama = expected["spectra"], expected["qwen"], expected["llama"]
    assert qwen["parameters"][0] == pytest.approx(1.5437, rel=1e-3)  # as the model cards say
    assert llama["parameters"][0] == pytest.approx(3.2127, rel=1e-3)
    assert spectra["states of 384 x 1536 x 3584"][0] == pytest.approx(384 * 1536 * 3584 * 2 / 2**30)
    assert qwen["positions a second"][0] == pytest.approx(3.35e12 / (2 * 1.5437e9), rel=1e-3)
    tokens = 128 * (256 + 600)
    assert qwen["update"][0] == pytest.approx(6 * 1.5437e9 * tokens / 4e14, rel=1e-3)
    assert llama["update"][0] == pytest.approx(8 * 3.2127e9 * 128 * (256 + 300) / 4e14, rel=1e-3)
    largest = max(number for part in (qwen, llama) for what, (number, _) in part.items() if what.startswith("peak"))
    assert largest < 79  # GiB of the GPU


def test_the_reckoning_in_the_docs_is_the_one_of_the_code(capsys):
    gpu.main(["--reckon"])
    assert capsys.readouterr().out.strip() in (ROOT / "docs" / "gpu.md").read_text()
