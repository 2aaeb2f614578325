"""The command `latechunk`, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import latechunk_integrations
from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.chunking_options import ChunkingOptions
from latechunk_integrations.cli import app
from latechunk_integrations.evaluation.configurations import ALL, DEFAULT
from latechunk_integrations.evaluation.record import read_record
from tests.evaluation.support import (
    BERLIN,
    ROWS,
    small_set,
    write_jsonl,
    write_quotes,
    write_set,
)

_COMMANDS = ("questions", "review", "compare", "tune", "inspect", "diagnose")


@pytest.fixture
def model(tiny_model_path: Path) -> list[str]:
    """The options that name the tiny model."""
    return ["--model", str(tiny_model_path), "-o", "dtype=float32", "-o", "device=cpu"]


def _run(*arguments: object) -> Result:
    runner = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"})
    return runner.invoke(app, [str(argument) for argument in arguments])


def _worked(*arguments: object) -> str:
    result = _run(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


@pytest.mark.slow
def test_compare_prints_a_table_and_writes_what_it_is_asked_for(
    tmp_path: Path, model: list[str]
) -> None:
    write_set(tmp_path)
    report, data, plots = tmp_path / "out" / "report.html", tmp_path / "f.json", tmp_path / "plots"
    outputs = ["--report", report, "--json", data, "--plots", plots]
    sizes = ["--chunk-size", 16, "--chunk-size", 32]
    printed = _worked("compare", tmp_path, *model, *sizes, *outputs)
    for expected in ("2 documents", "4 questions", "Do not decide yet", "early (now)"):
        assert expected in printed
    comparison = read_record(data)
    assert comparison.names == tuple(each.name for each in DEFAULT)
    assert comparison.chunk_sizes == (16, 32)
    for name in comparison.names:
        assert f"{100 * comparison.get(name, 16).corpus['answer@2000']:.1f}" in printed
    assert len(list(plots.glob("*.png"))) == 3
    assert "Questions against the chunks" in report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_compare_takes_rows_of_quotes_another_splitter_and_all_configurations(
    tmp_path: Path, model: list[str]
) -> None:
    rows = write_quotes(tmp_path)
    rows.write_text(rows.read_text("utf-8") + "Lost?,berlin.txt,stands nowhere\n", "utf-8")
    data = tmp_path / "figures.json"
    printed = _worked("compare", rows, *model, "--splitter", "sentences", "--all", "--json", data)
    assert read_record(data).names == tuple(each.name for each in ALL)
    assert "line 6: the quote 'stands nowhere' does not occur in its document" in printed
    moved = tmp_path / "rows"
    moved.mkdir()
    rows.rename(moved / "rows.csv")
    splitter = "tests.evaluation.test_splitters:words"
    arguments = ["--documents", tmp_path, "--splitter", splitter]
    assert "late (default)" in _worked("compare", moved / "rows.csv", *model, *arguments)


@pytest.mark.slow
def test_what_is_written_names_no_path_of_this_machine(
    tmp_path: Path, model: list[str], tiny_model_path: Path
) -> None:
    rows = write_quotes(tmp_path)
    with rows.open("a", encoding="utf-8") as file:
        file.write("Lost?,berlin.txt,stands nowhere\n")
        file.write("Twice?,berlin.txt,the\n")
    files = [tmp_path / "r.html", tmp_path / "r.json", tmp_path / "r.csv"]
    outputs = ["--report", files[0], "--json", files[1], "--csv", files[2]]
    _worked("compare", rows, *model, "--splitter", "sentences", *outputs)
    for written in files:
        text = written.read_text(encoding="utf-8")
        for path in (tmp_path, tiny_model_path, Path.home()):
            assert str(path) not in text
    assert "rows.csv, line 6: the quote" in files[1].read_text(encoding="utf-8")


def test_compare_needs_no_titles(tmp_path: Path, model: list[str]) -> None:
    write_set(tmp_path)
    rows = [{"doc_id": d.doc_id, "text": d.text} for d in small_set().documents]
    write_jsonl(tmp_path / "documents.jsonl", rows)
    printed = _worked("compare", tmp_path, *model, "--chunk-size", 16)
    assert "late (default)" in printed
    assert "no document has a title" in printed
    assert "left out: 'early, title prepended'" in printed


@pytest.mark.slow
def test_compare_goes_on_from_kept_vectors(tmp_path: Path, model: list[str]) -> None:
    write_set(tmp_path)
    arguments = ["compare", tmp_path, *model, "--cache", tmp_path / "kept"]
    first = _worked(*arguments)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.npz")}
    assert times
    assert _worked(*arguments) == first
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "kept").glob("*.npz")}


def _many(folder: Path) -> Path:
    write_set(folder)
    queries = [
        {"query_id": f"{query_id}-{n}", "doc_id": doc_id, "query": f"{query} {n}"}
        for n in range(10)
        for query_id, doc_id, query, _ in ROWS
    ]
    qrels = [json.loads(line) for line in (folder / "qrels.jsonl").read_text("utf-8").splitlines()]
    write_jsonl(folder / "queries.jsonl", queries)
    repeated = [{**row, "query_id": f"{row['query_id']}-{n}"} for n in range(10) for row in qrels]
    write_jsonl(folder / "qrels.jsonl", repeated)
    return folder


@pytest.mark.slow
def test_tune_writes_options_that_an_engine_is_made_from(tmp_path: Path, model: list[str]) -> None:
    output, report = tmp_path / "latechunk.yaml", tmp_path / "tuned.html"
    choices = ["--context-weight", 0.5, "--focus", "auto", "--focus", 1, "--chunk-size", 24]
    files = ["--output", output, "--report", report]
    printed = _worked("tune", _many(tmp_path), *model, *choices, *files)
    assert "on the held-out half" in printed
    assert "chunk size" in printed
    options = LateChunkOptions.from_config(output)
    assert options.context_weight in (0.0, 0.5, 1.0)
    assert options.focus in ("auto", 1.0, 0.0)
    assert LateChunkEngine.from_config(output).dimensions == 32
    assert ChunkingOptions.from_config(output).chunk_size == 24
    early = "Early chunking is the better choice" in printed
    assert early is (options.context_weight == 0)
    again = tmp_path / "again.json"
    _worked("compare", tmp_path, "--config", output, "--json", again)
    assert read_record(again).chunk_sizes == (24,)
    page = report.read_text(encoding="utf-8")
    assert "candidates on the half" in page
    assert "Questions against the chunks" in page


def test_tune_says_when_there_are_too_few_queries(tmp_path: Path, model: list[str]) -> None:
    write_set(tmp_path)
    for name in ("queries", "qrels"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:2]), "utf-8")
    result = _run("tune", tmp_path, *model)
    assert result.exit_code == 2
    assert "2 queries are too few" in result.stderr


@pytest.mark.slow
def test_inspect_shows_windows_chunks_and_the_query(tmp_path: Path, model: list[str]) -> None:
    file, page = tmp_path / "berlin.md", tmp_path / "page.html"
    file.write_text(" ".join([BERLIN] * 3), encoding="utf-8")
    query = ["--query", "How many [bold] inhabitants?", "--title", "Cities [1]"]
    arguments = ["--splitter", "sentences", "--report", page]
    printed = _worked("inspect", file, *query, *arguments, *model)
    for expected in (
        "berlin.md",
        "the model reads 64",
        "Cities [1]",
        "How many [bold] inhabitants?",
    ):
        assert expected in printed
    assert printed.count("windowed, ") == 12
    assert printed.count("late 0.") + printed.count("late -0.") == 12
    assert "The question against the chunks" in page.read_text(encoding="utf-8")
    plain = _worked("inspect", file, "--chunk-size", 20, *model)
    assert "early" not in plain


@pytest.mark.parametrize("command", ["inspect", "diagnose", "compare"])
def test_what_documents_hold_does_nothing_to_a_terminal(
    tmp_path: Path, model: list[str], command: str
) -> None:
    """Colours, titles, a screen that is cleared: names, texts and questions are anybody's."""
    evil = "\x1b[2J\x1b]0;title\x07\x9b31m\x08"
    file = tmp_path / f"a{evil}.md"
    file.write_text(f"{evil}Berlin has {evil} parks. " * 30, encoding="utf-8")
    given: dict[str, list[Any]] = {
        "inspect": [file, "--query", evil + "parks?", "--title", evil],
        "diagnose": [tmp_path],
    }
    if command == "compare":
        rows = [{"query": f"{evil} {n}?", "quote": f"has {evil} parks"} for n in range(3)]
        given["compare"] = [write_jsonl(tmp_path / "q.jsonl", rows), "--documents", tmp_path]
    result = _run(command, *given[command], *model, "--chunk-size", 20)
    printed = result.stdout + result.stderr
    assert "a" in printed
    assert not {character for character in printed if ord(character) < 32} - {"\n", "\r", "\t"}
    assert not {character for character in printed if 0x7F <= ord(character) < 0xA0}


def test_chunks_that_do_not_stand_in_the_text_are_reported(
    tmp_path: Path, model: list[str]
) -> None:
    write_quotes(tmp_path)
    page = tmp_path / "page.html"
    splitter = ["--splitter", "tests.evaluation.test_splitters:invented"]
    lost = "1 chunks of 'berlin.txt' are not in its text"
    assert lost in _worked("inspect", tmp_path / "berlin.txt", *splitter, *model, "--report", page)
    assert "are not in its text" in page.read_text(encoding="utf-8")
    assert lost in _worked("diagnose", tmp_path, *splitter, *model)


def test_diagnose_reads_titles_along(tmp_path: Path, model: list[str]) -> None:
    """A long one leaves the text less room in a window."""
    running = ("--splitter", "sentences", "-o", "layout=text", *model)
    for title, n_windows in (("", 1), ("Berlin and its parks " * 20, 2)):
        row = {"doc_id": "berlin", "title": title, "text": BERLIN}
        file = write_jsonl(tmp_path / "documents.jsonl", [row])
        assert f"berlin │ 4 │ {n_windows} │" in _worked("diagnose", file, *running)


def test_diagnose_needs_no_queries(tmp_path: Path, model: list[str]) -> None:
    write_quotes(tmp_path)
    wide = ("-o", "max_tokens=200")  # the units of a document share a window
    printed = _worked("diagnose", tmp_path, "--splitter", "sentences", *wide, *model)
    for expected in ("berlin.txt", "tokyo.txt", "100% late", "mean over documents"):
        assert expected in printed


def test_options_of_a_file_are_changed_by_the_command_line(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    config = tmp_path / "latechunk.yaml"
    config.write_text(f"model: {tiny_model_path}\nmax_tokens: 40\n", encoding="utf-8")
    file = tmp_path / "a.txt"
    file.write_text(BERLIN, encoding="utf-8")
    assert "the model reads 40" in _worked("inspect", file, "--config", config)
    assert "the model reads 32" in _worked(
        "inspect", file, "--config", config, "-o", "max_tokens=32"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "absent", "--model", "m"], "there is no folder and no file absent"),
        (["inspect", "absent.txt", "--model", "m"], "cannot read absent.txt"),
        (["inspect", "set", "MODEL"], "set holds 2 documents: name a file with one"),
        (["inspect", "set/documents.jsonl", "--model", "m"], "documents.jsonl holds 2 documents"),
        (
            ["compare", "set", "MODEL", "--splitter", "sentences", "--chunk-size", "9"],
            "leave chunk_size out",
        ),
        (["compare", "set"], "no model: give --model NAME or --config"),
        (["compare", "set", "--config", "set/misspelt.yaml"], "unknown option 'engin'"),
        (["compare", "set", "--model", "nowhere/at-all"], "nowhere/at-all"),
        (["compare", "set", "--config", "absent.yaml"], "cannot read the options in absent.yaml"),
        (["compare", "set", "--model", "m", "-o", "max_tokens"], "wants NAME=VALUE"),
        (["compare", "set", "--model", "m", "-o", "max_token=3"], "did you mean 'max_tokens'"),
        (["compare", "set", "--model", "m", "-o", "max_tokens=many"], "must be an integer"),
        (["compare", "set", "MODEL", "--splitter", "nowhere:f"], "no splitter 'nowhere:f'"),
        (["compare", "set", "MODEL", "--json", "."], "s a directory"),
        (["tune", "set", "MODEL", "--measure", "Fun@3"], "ir-measures does not know"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: list[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "misspelt.yaml").write_text("engin:\n  model: m\n", encoding="utf-8")
    write_set(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    given = [part for each in arguments for part in (model if each == "MODEL" else [each])]
    result = _run(*given)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (["compare", "set", "--json", "set"], "cannot write to set: it is a directory"),
        (["compare", "set", "--report", "note/r.html"], "cannot write to the folder note: "),
        (["compare", "set", "--plots", "note"], "cannot write to the folder note: "),
        (["tune", "set", "--output", "note/o.yaml"], "cannot write to the folder note: "),
        (["inspect", "note", "--report", "note/r.html"], "cannot write to the folder note: "),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: list[str], message: str
) -> None:
    (tmp_path / "set").mkdir()
    write_set(tmp_path / "set")
    (tmp_path / "note").write_text("A file where a folder is wanted.", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = _run(*output, "--model", "a/model-that-is-nowhere")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")


@pytest.mark.slow
def test_folders_of_outputs_are_made(tmp_path: Path, model: list[str]) -> None:
    write_set(tmp_path)
    data, options = tmp_path / "new" / "f.json", tmp_path / "other" / "new" / "o.yaml"
    _worked("compare", tmp_path, *model, "--chunk-size", 16, "--json", data)
    assert read_record(data).n_queries == len(ROWS)
    _worked("tune", _many(tmp_path), *model, "--chunk-size", 16, "--output", options)
    assert LateChunkOptions.from_config(options).dtype == "float32"


def test_a_wrong_line_is_named_on_the_command_line(tmp_path: Path, model: list[str]) -> None:
    with (write_set(tmp_path) / "queries.jsonl").open("a", encoding="utf-8") as file:
        file.write("{\n")
    result = _run("compare", tmp_path, *model)
    assert result.exit_code == 2
    assert "queries.jsonl, line 5: no JSON" in result.stderr


@pytest.mark.slow
def test_the_installed_command_lists_its_commands(tmp_path: Path) -> None:
    script = Path(sysconfig.get_path("scripts")) / "latechunk"
    finished = subprocess.run(
        [str(script), "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert all(command in finished.stdout for command in _COMMANDS)
    failed = subprocess.run(
        [str(script), "compare", "absent", "--model", "m"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert failed.returncode == 2
    assert (
        failed.stderr.strip()
        == "error: there is no folder and no file absent: give one with questions"
    )


def test_the_version_is_printed_and_completion_is_offered() -> None:
    assert _worked("--version") == f"latechunk {latechunk_integrations.__version__}"
    assert "--install-completion" in _worked("--help")


@pytest.mark.parametrize("command", [*_COMMANDS, "index"])
def test_every_help_text_ends_with_an_example(command: str) -> None:
    assert f"Example: latechunk {command} " in _worked(command, "--help")


def test_the_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "latechunk_integrations", "--version"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"latechunk {latechunk_integrations.__version__}"


def test_help_loads_no_model_library_and_costs_little_time() -> None:
    code = (
        "import sys, time\n"
        "from latechunk_integrations.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = 'torch transformers sentence_transformers numpy pandas matplotlib pydantic'\n"
        "print([name for name in heavy.split() if name in sys.modules], time.process_time())"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded, seconds = printed.splitlines()[-1].rsplit(" ", 1)
    assert loaded == "[]"
    assert float(seconds) < 1  # of the processor; 0.3 where nothing else runs, 5.5 with torch


@pytest.mark.slow
def test_compare_is_a_gate(tmp_path: Path, model: list[str]) -> None:
    arguments = ["compare", write_set(tmp_path), *model, "--chunk-size", 16]
    record = tmp_path / "old.json"
    _worked(*arguments, "--json", record, "--fail-under", "nDCG@10=0.0001")
    assert "passed: nDCG@10" in _worked(*arguments, "--baseline", record)
    failed = _run(*arguments, "--baseline", record, "--fail-under", "nDCG@10=1.0")
    assert failed.exit_code == 1
    assert "FAILED: nDCG@10 of" in failed.stdout
    values = json.loads(record.read_text(encoding="utf-8"))
    for result in values["results"]:
        for query in result["queries"]:
            query["scores"]["nDCG@10"] = 1.0
    record.write_text(json.dumps(values), encoding="utf-8")
    assert _run(*arguments, "--baseline", record).exit_code == 1
    assert _run(*arguments, "--baseline", record, "--max-drop", 100).exit_code == 0
    assert _run(*arguments, "--baseline", tmp_path / "absent.json").exit_code == 2


@pytest.mark.slow
def test_compare_takes_several_models_and_names_what_you_have_now(
    tmp_path: Path, model: list[str], tiny_model_paths: dict[str, Path]
) -> None:
    others = [path for name, path in tiny_model_paths.items() if name != "wordpiece"]
    arguments = ["--model", others[0], "--now", "early, title prepended", "--chunk-size", 16]
    outputs = ["--csv", tmp_path / "q.csv", "--trec", tmp_path / "trec", "--json", tmp_path / "r"]
    tried = ["--focus", "2", "--layout", "text", "--header", "none"]
    _worked("compare", write_set(tmp_path), *model, *arguments, *outputs, *tried)
    compared = read_record(tmp_path / "r")
    assert len(compared.models) == 2
    assert compared.opponent.name == "early, title prepended"
    assert "late, running text, focus 2" in compared.names
    assert len(list((tmp_path / "trec").glob("*.run"))) == len(compared.results)
    assert (tmp_path / "q.csv").is_file()
