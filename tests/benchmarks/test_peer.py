"""A toolkit that is not installed is none, and one that is broken says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peer import peer


@pytest.mark.parametrize("name", ["kdbench_has_no_such_peer", "kdbench_has_no_such_peer.losses.of_words"])
def test_what_is_not_there_is_none(name: str) -> None:
    assert peer(name) is None


def test_what_lacks_something_else_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_peer.py").write_text("import kdbench_has_no_such_peer\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="kdbench_has_no_such_peer"):
        peer("broken_peer")
