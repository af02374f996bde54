"""Runs of the store are told to a study once, however many processes begin with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna

from kdbench.search.objective import objectives
from kdbench.search.space import Space, space_of
from kdbench.search.storage import open_storage
from kdbench.search.study import open_study
from kdbench.search.told import SIGNATURE
from kdbench.search.warm_start import warm_start
from kdbench.store import write_json

LOADER: Any = SimpleNamespace(get_group_options=lambda name: [])


def test_two_that_begin_together_tell_each_run_once(tmp_path: Path) -> None:
    """The second one has looked for the runs before the first has told them, and waits for the lock."""
    space: Space = space_of(["a=interval(0.0,1.0)"], LOADER)
    store: Any = SimpleNamespace(
        artefacts=lambda: [SimpleNamespace(kind="run", signature=name) for name in ("one", "two")],
        path=lambda kind, name: tmp_path / name,
    )
    for value, name in ((0.25, "one"), (0.5, "two")):
        (tmp_path / name).mkdir()
        record = {"axes": {}, "config": {"a": value}, "score": "m", "metrics": {"m": value}}
        write_json(tmp_path / name / "record.json", record)
    both, held = threading.Barrier(2, timeout=60), threading.Lock()

    @contextmanager
    def lock() -> Iterator[None]:
        both.wait()
        with held:
            yield

    def signature_of(overrides: Sequence[str]) -> str:
        return {"a=0.25": "one", "a=0.5": "two"}[overrides[-1]]

    added: list[int] = []

    def begin() -> None:
        storage = open_storage(str(tmp_path / "studies.db"))
        study = open_study(storage, "s", ["maximize"], {"space": "a"}, optuna.pruners.NopPruner())
        score = objectives(["score"], None)
        added.append(warm_start(study, space, store, lambda chosen, key: True, signature_of, score, [], lock))

    others = [threading.Thread(target=begin) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert sorted(added) == [0, 2]
    study = optuna.load_study(study_name="s", storage=open_storage(str(tmp_path / "studies.db")))
    assert sorted(trial.user_attrs[SIGNATURE] for trial in study.trials) == ["one", "two"]
