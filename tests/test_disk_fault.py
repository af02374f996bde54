from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kdbench import disk_fault
from kdbench.disk_fault import explain

ROOT = Path("/somewhere/store")


class LibraryError(Exception):
    """Stands for a class that a library with native code raises instead of an OSError."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "full"), ["no space is left for the store /somewhere/store", "KDBENCH_STORE"]),
        (OSError(errno.EDQUOT, "quota"), ["no space is left for the store", "quota", "paths.store"]),
        (OSError(errno.ENOSPC, "full", "/elsewhere/file"), ["no space is left for /elsewhere/file", "there"]),
        (OSError(errno.EACCES, "no", f"{ROOT}/data"), ["the store /somewhere/store cannot be used", "paths.store"]),
        (OSError(errno.EROFS, "read-only"), ["Read-only file system", "KDBENCH_STORE"]),
        (OSError(errno.EACCES, "no", "/elsewhere/file"), ["/elsewhere/file cannot be used", "change its permissions"]),
        (LibraryError(f"cannot serialize:\n{os.strerror(errno.ENOSPC)}"), ["no space is left for the store"]),
    ],
)
def test_faults_of_the_disk_are_one_sentence(error: Exception, words: list[str]) -> None:
    sentence = explain(error, ROOT, "testing")
    assert sentence is not None and "\n" not in sentence and "while testing" in sentence
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("error", [OSError("1000 requested and 10 written"), RuntimeError("unexpected pos 576 vs 534")])
def test_an_error_that_names_no_reason_counts_where_nothing_is_free(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_fault, "_free_bytes", lambda _: 4096)
    assert "no space is left" in str(explain(error, ROOT, "testing"))
    monkeypatch.setattr(disk_fault, "_free_bytes", lambda _: 1 << 30)
    assert explain(error, ROOT, "testing") is None


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), FileNotFoundError(errno.ENOENT, "no such file")])
def test_other_errors_have_no_explanation(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_fault, "_free_bytes", lambda _: 0)
    assert explain(error, ROOT, "testing") is None
