from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.error import KdbenchError
from kdbench.store import Store, write_json
from kdbench.store_contents import label, sources, unused


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, kind: str, signature: str, name: str, content: object) -> None:
    store.obtain(kind, signature, lambda folder: write_json(folder / name, content))


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({}, set()),
        ({"teacher": None, "stages": [], "built_from": None}, set()),
        ({"teacher": {"signature": "t", "metrics": {"f1": 1}}, "stages": ["a", "b"]}, {"t", "a", "b"}),
        ({"built_from": "d"}, {"d"}),
        ({"built_from": ["d", "e"]}, {"d", "e"}),
        ({"built_from": {"data": "d", "teachers": ["t", "u"]}}, {"d", "t", "u"}),
        ({"signature": "itself", "task": "glue/rte"}, set()),
    ],
)
def test_sources_of_a_record(record: dict[str, object], named: set[str]) -> None:
    assert sources(record) == named


def test_unused_follows_the_chain_from_the_runs(store: Store) -> None:
    put(store, "data", "d1", "meta.json", {})
    put(store, "data", "d2", "meta.json", {})
    put(store, "teacher", "t1", "record.json", {"built_from": ["d1"]})
    put(store, "teacher", "t2", "record.json", {"built_from": ["d2"]})
    put(store, "stage", "s1", "stage.json", {"built_from": {"before": "s0"}})
    put(store, "stage", "s0", "stage.json", {})
    put(store, "stage", "s2", "stage.json", {"built_from": ["t1"]})
    put(store, "run", "r1", "record.json", {"stages": ["s1"], "teacher": {"signature": "t1"}})
    put(store, "run", "r2", "record.json", {"stages": [], "teacher": None})
    assert [artefact.signature for artefact in unused(store, store.artefacts())] == ["d2", "s2", "t2"]


def test_without_a_run_everything_is_unused(store: Store) -> None:
    put(store, "data", "d1", "meta.json", {})
    assert [artefact.signature for artefact in unused(store, store.artefacts())] == ["d1"]


def test_unused_is_refused_while_something_is_computed(store: Store) -> None:
    put(store, "teacher", "t1", "record.json", {})

    def build(_: Path) -> None:
        unused(store, store.artefacts())

    with pytest.raises(KdbenchError, match="the run r1 is being computed"):
        store.obtain("run", "r1", build)


@pytest.mark.parametrize("content", ["{}", '{"stages": [1'])
def test_unused_is_refused_when_a_record_is_damaged(store: Store, content: str) -> None:
    put(store, "run", "r1", "record.json", {"stages": ["s1"]})
    (store.path("run", "r1") / "record.json").write_text(content)
    with pytest.raises(KdbenchError, match=r"the run r1 is damaged.*prune --damaged"):
        unused(store, store.artefacts())


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("record.json", {"label": "MiniLM-L6 on glue/rte", "axes": {"seed": "1"}}, "MiniLM-L6 on glue/rte"),
        ("stage.json", {"label": "task"}, "task"),
        ("meta.json", {"label": "two\nlines"}, "two lines"),
        ("record.json", {"axes": {"knowledge": "hidden", "seed": "1"}}, "knowledge=hidden seed=1"),
        ("record.json", {}, ""),
        ("record.json", [1], ""),
        ("other.json", {"label": "not read"}, ""),
    ],
)
def test_label(store: Store, name: str, content: object, expected: str) -> None:
    put(store, "stage", "s1", name, content)
    assert label(store.artefacts()[0]) == expected


def test_label_of_an_unreadable_record_is_empty(store: Store) -> None:
    put(store, "stage", "s1", "stage.json", {"label": "task"})
    (store.path("stage", "s1") / "stage.json").write_text("{")
    assert label(store.artefacts()[0]) == ""
