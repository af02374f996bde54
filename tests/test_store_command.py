from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kdbench.artefact import Artefact
from kdbench.error import KdbenchError
from kdbench.store import Store, write_json
from kdbench.store_command import age, app, main, size

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a run and what it was built from, an unused teacher, and unfinished work."""
    made = Store(tmp_path / "store")
    put(made, "data", "d1", "meta.json", {"label": "tokenised glue/rte"}, extra=3000)
    put(made, "teacher", "t1", "record.json", {"label": "MiniLM-L6", "built_from": ["d1"]}, extra=2 << 20)
    put(made, "teacher", "t2", "record.json", {}, extra=1000)
    put(made, "run", "r1", "record.json", {"label": "one run", "stages": [], "teacher": {"signature": "t1"}})
    with pytest.raises(ZeroDivisionError):
        made.obtain("stage", "s1", fail)
    return made


def put(store: Store, kind: str, signature: str, name: str, record: object, extra: int = 0) -> None:
    def build(folder: Path) -> None:
        write_json(folder / name, record)
        (folder / "content.bin").write_bytes(b"x" * extra)

    store.obtain(kind, signature, build)


def fail(folder: Path) -> None:
    (folder / "resume.json").write_text("{}")
    raise ZeroDivisionError


@pytest.fixture
def command(store: Store) -> Callable[..., Result]:
    return lambda name, *options: CliRunner().invoke(app, [name, "--store", str(store.root), *options])


def contents(store: Store) -> set[str]:
    return {f"{artefact.kind}/{artefact.signature}" for artefact in store.artefacts()}


def set_age(store: Store, kind: str, signature: str, days: float) -> None:
    path = store.path(kind, signature) / "manifest.json"
    created = datetime.now(UTC) - timedelta(days=days)
    write_json(path, {**json.loads(path.read_text()), "created": created.isoformat()})


def test_list_shows_what_is_there(command: Callable[..., Result]) -> None:
    result = command("list")
    assert result.exit_code == 0
    rows = [line.split("  ") for line in result.stdout.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[0] == ["kind", "signature", "state", "size", "age", "what it is"]
    assert cells[1][:3] == ["data", "d1", "whole"] and cells[1][-1] == "tokenised glue/rte"
    assert [row[1] for row in cells[1:]] == ["d1", "r1", "s1", "t1", "t2"]
    assert cells[3][2] == "partial" and cells[4][3] == "2.0 MiB" and cells[2][-2:] == ["0 min", "one run"]


def test_list_of_one_kind(command: Callable[..., Result]) -> None:
    assert [line.split()[1] for line in command("list", "--kind", "teacher").stdout.splitlines()[1:]] == ["t1", "t2"]
    assert len(command("list", "--kind", "absent").stdout.splitlines()) == 1


def test_size_adds_up(command: Callable[..., Result], store: Store) -> None:
    rows = {line.split()[0]: line.split()[1:] for line in command("size").stdout.splitlines()[1:]}
    assert rows.keys() == {"data", "run", "stage", "teacher", "total"}
    assert rows["teacher"] == ["2", "2.0", "MiB"] and rows["total"][0] == "5"


def test_verify_of_a_whole_store(command: Callable[..., Result]) -> None:
    result = command("verify")
    assert result.exit_code == 0 and result.stdout == "4 artefacts checked, 0 damaged\n"


def test_verify_names_each_damage(command: Callable[..., Result], store: Store) -> None:
    (store.path("teacher", "t2") / "content.bin").write_bytes(b"y" * 1000)
    (store.path("data", "d1") / "meta.json").unlink()
    result = command("verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "damaged: data d1: meta.json is missing",
        "damaged: teacher t2: content.bin has changed",
        "4 artefacts checked, 2 damaged",
    ]
    assert "prune --damaged" in result.stderr
    assert command("verify", "--kind", "run").exit_code == 0


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (["--partial"], {"stage/s1"}),
        (["--unused"], {"teacher/t2"}),
        (["--damaged"], {"data/d1"}),
        (["--damaged", "--partial", "--unused"], {"data/d1", "stage/s1", "teacher/t2"}),
        (["--kind", "teacher"], {"teacher/t1", "teacher/t2"}),
        (["--kind", "teacher", "--unused"], {"teacher/t2"}),
        (["--kind", "run", "--unused"], set()),
        (["--older-than", "5"], {"teacher/t1"}),
        (["--older-than", "20"], set()),
        (["--older-than", "5", "--unused"], set()),
        (["--older-than", "0.5", "--kind", "data"], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_prune_deletes_what_it_says_and_only_with_yes(
    command: Callable[..., Result], store: Store, options: list[str], gone: set[str]
) -> None:
    path = store.path("data", "d1") / "content.bin"
    path.write_bytes(b"y" * 3000)  # damaged, which only a hash can tell
    set_age(store, "teacher", "t1", days=10)
    before = contents(store)
    spoken = command("prune", *options)
    assert spoken.exit_code == 0 and contents(store) == before
    named = {"/".join(line.split()[2:4]) for line in spoken.stdout.splitlines() if line.startswith("would delete:")}
    assert named == gone and f"{len(gone)} artefact" in spoken.stdout
    assert ("--yes" in spoken.stdout) == bool(gone)
    done = command("prune", *options, "--yes")
    assert done.exit_code == 0 and before - contents(store) == gone
    assert done.stdout.count("deleted: ") == len(gone)


def test_prune_in_a_folder_that_is_no_store_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "summer").mkdir(parents=True)
    result = CliRunner().invoke(app, ["prune", "--damaged", "--partial", "--yes", "--store", str(tmp_path)])
    assert result.exit_code == 0 and result.stdout == "0 artefacts, 0 B, deleted\n"
    assert (tmp_path / "pictures" / "summer").is_dir()


def test_a_pruned_damaged_artefact_can_be_obtained_again(command: Callable[..., Result], store: Store) -> None:
    (store.path("data", "d1") / "meta.json").unlink()
    command("prune", "--damaged", "--yes")
    put(store, "data", "d1", "meta.json", {})
    assert store.has("data", "d1")


def test_prune_never_deletes_what_a_process_works_on(command: Callable[..., Result], store: Store) -> None:
    results: list[Result] = []

    def build(folder: Path) -> None:
        results.extend([command("prune", "--partial"), command("prune", "--partial", "--yes")])
        assert folder.is_dir()

    store.obtain("stage", "s2", build)
    assert store.has("stage", "s2") and "stage/s1" not in contents(store)
    for result in results:
        assert "kept, a process works on it: stage s2" in result.stdout and "1 artefact," in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prune"], "nothing says what to prune"),
        (["prune", "--yes"], "nothing says what to prune"),
        (["list", "--store", "absent"], "there is no store at .*absent: give its folder with --store or KDBENCH_STORE"),
        (["size", "--store", "absent"], "there is no store"),
        (["verify", "--store", "absent"], "there is no store"),
        (["prune", "--partial", "--store", "absent"], "there is no store"),
        (["list", "--store", "file"], "file is a file, not a folder"),
        (["list", "--kind", "../run"], "is no kind of the store"),
    ],
)
def test_bad_input_is_one_sentence(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDBENCH_STORE", raising=False)
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, KdbenchError)
    monkeypatch.setattr(sys, "argv", ["kdbench-store", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("kdbench: ")
    with pytest.raises(KdbenchError, match=words):
        raise result.exception


def test_the_store_is_found_by_its_variable_or_in_the_working_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("KDBENCH_STORE", str(store.root))
    assert "r1" in CliRunner().invoke(app, ["list"]).stdout
    monkeypatch.delenv("KDBENCH_STORE")
    monkeypatch.chdir(tmp_path)
    assert "r1" in CliRunner().invoke(app, ["list"]).stdout


def test_the_front_imports_nothing_heavy() -> None:
    script = (
        "import sys, kdbench.store_command\n"
        "heavy = {'torch', 'numpy', 'pandas', 'transformers', 'datasets', 'hydra', 'omegaconf', 'wandb'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (7 << 40, "7.0 TiB")],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("since", "text"),
    [
        (timedelta(seconds=-5), "0 min"),
        (timedelta(minutes=119), "119 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=47), "47 h"),
        (timedelta(days=3, hours=5), "3 d"),
    ],
)
def test_age(since: timedelta, text: str) -> None:
    assert age(Artefact("run", "r1", Path("r1"), 0, 0, NOW - since, "whole"), NOW) == text
