from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kdbench.error import KdbenchError
from kdbench.json_file import plain, read_json, write_json


@pytest.mark.parametrize(
    "value",
    [
        {"b": [1, 2.5, None, True], "a": {"x": "ä€"}},
        [],
        "text",
        0.1 + 0.2,
        -0.0,
        10**30,
        {"nested": [[1], [{"k": []}]]},
    ],
)
def test_what_is_written_is_read(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


def test_file_is_readable_text_with_sorted_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {"b": 1, "a": "ä"})
    assert (tmp_path / "value.json").read_text(encoding="utf-8") == '{\n "a": "ä",\n "b": 1\n}\n'


def test_config_nodes_and_tuples_become_plain() -> None:
    node = OmegaConf.create({"a": [1, 2], "b": "${a}"})
    assert plain(node) == {"a": [1, 2], "b": [1, 2]}
    assert plain((1, (2,))) == [1, [2]]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"metrics": {"test/f1": math.nan}}, "record.metrics.test/f1 is nan"),
        ({"history": [{"loss": 1.0}, {"loss": math.inf}]}, "record.history[1].loss is inf"),
        ({"axes": {1: "one"}}, "record.axes has the key 1"),
        ({"path": Path("x")}, "record.path is a PosixPath"),
        ({"raw": b"x"}, "record.raw is a bytes"),
        ({"set": {1}}, "record.set is a set"),
    ],
)
def test_refuses_what_json_cannot_hold(tmp_path: Path, value: object, named: str) -> None:
    with pytest.raises(KdbenchError) as caught:
        write_json(tmp_path / "record.json", value)
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.json"
    write_json(path, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, 2)
    assert read_json(path) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff\xfe", b'{"a": NaN}', b"{} {}"])
def test_unreadable_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(KdbenchError, match=r"broken\.json is not readable as JSON") as caught:
        read_json(tmp_path / "broken.json")
    assert "\n" not in str(caught.value) and "prune --damaged" in str(caught.value)


def test_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(KdbenchError, match=r"absent\.json is missing"):
        read_json(tmp_path / "absent.json")
