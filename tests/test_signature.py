from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kdbench import signature as module
from kdbench.error import KdbenchError
from kdbench.signature import file_fingerprint, signature, versions

CONTENT: dict[str, object] = {
    "student": {"layers": 3, "width": 384},
    "optimizer": {"lr": 3e-5, "betas": [0.9, 0.999]},
    "terms": {"hidden": {"weight": 1.0, "pairs": [[1, 2], [2, 4]]}},
    "flags": {"fused": True, "note": None, "name": "ä"},
}
HOUR_AGO = 3600


def leaves(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [path]


def shuffled(value: object, generator: random.Random) -> object:
    if isinstance(value, dict):
        keys = list(value)
        generator.shuffle(keys)
        return {key: shuffled(value[key], generator) for key in keys}
    return [shuffled(item, generator) for item in value] if isinstance(value, list) else value


def test_is_the_documented_hash() -> None:
    canonical = '{"content":{"a":[1,2.5],"b":"\\u00e4"},"kind":"stage"}'
    expected = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    assert signature("stage", {"b": "ä", "a": (1, 2.5)}) == expected


@pytest.mark.parametrize("seed", range(5))
def test_order_of_keys_does_not_matter(seed: int) -> None:
    other = shuffled(CONTENT, random.Random(seed))
    assert isinstance(other, dict)
    assert signature("run", other) == signature("run", CONTENT)


@pytest.mark.parametrize("path", leaves(CONTENT), ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("new", [17, "changed", 2.0, False, [], {}])
def test_any_changed_value_changes_it(path: tuple[object, ...], new: object) -> None:
    other = json.loads(json.dumps(CONTENT))
    node = other
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = new
    assert signature("run", other) != signature("run", CONTENT)


def test_kind_missing_keys_and_order_of_lists_count() -> None:
    assert signature("run", CONTENT) != signature("stage", CONTENT)
    assert signature("run", {**CONTENT, "more": None}) != signature("run", CONTENT)
    assert signature("run", {"a": [1, 2]}) != signature("run", {"a": [2, 1]})


def test_types_of_numbers_are_distinct() -> None:
    values = [1, 1.0, True, "1", [1], None, 0, 0.0, -0.0, False]
    assert len({signature("run", {"a": value}) for value in values}) == len(values)


def test_floats_count_to_their_last_bit() -> None:
    assert signature("run", {"a": 0.1}) != signature("run", {"a": math.nextafter(0.1, 1)})


def test_config_node_equals_its_container() -> None:
    assert signature("run", OmegaConf.create(CONTENT)) == signature("run", CONTENT)
    assert signature("run", {"a": (1, (2, 3))}) == signature("run", {"a": [1, [2, 3]]})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {1, 2}, b"x", Path("x"), object(), {1: 2}, {None: 2}])
def test_refuses_what_json_cannot_hold(value: object) -> None:
    with pytest.raises(KdbenchError, match=r"run\.a"):
        signature("run", {"a": value})


@pytest.fixture
def user_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("user_options")
    made.option = lambda: None  # type: ignore[attr-defined]
    made.option.__module__ = "user_options"
    monkeypatch.setitem(sys.modules, "user_options", made)
    module._version.cache_clear()
    yield made
    module._version.cache_clear()


def test_versions_walk_the_whole_node(user_module: types.ModuleType) -> None:
    user_module.VERSION = 4  # type: ignore[attr-defined]
    node = {
        "terms": {"hidden": {"objective": {"_target_": "kdbench.error.KdbenchError", "weight": 1}}},
        "list": [{"_target_": "user_options.option"}, 3, "text"],
        "other": {"_target_": "pathlib.Path"},
    }
    expected = {"kdbench.error.KdbenchError": 1, "user_options.option": 4}
    assert versions(node) == expected
    assert versions(OmegaConf.create(node)) == expected
    assert versions({}) == {}


@pytest.mark.parametrize("value", [None, "1.2", 2.0, True, (1, 2)])
def test_user_module_without_an_integer_version_is_left_out(user_module: types.ModuleType, value: object) -> None:
    if value is not None:
        user_module.VERSION = value  # type: ignore[attr-defined]
    assert versions({"_target_": "user_options.option"}) == {}


def test_version_of_a_re_exported_option_stands_beside_its_definition(
    user_module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_module.VERSION = 7  # type: ignore[attr-defined]
    package = types.ModuleType("user_package")
    package.option = user_module.option  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "user_package", package)
    assert versions({"_target_": "user_package.option"}) == {"user_package.option": 7}


def test_versions_name_a_class_method(user_module: types.ModuleType) -> None:
    assert versions({"_target_": "pathlib.Path.home"}) == {}
    assert versions({"_target_": "kdbench.store.Store.path"}) == {"kdbench.store.Store.path": 1}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("kdbench.error.Mistake", "kdbench.error has no 'Mistake'"),
        ("kdbench.eror.KdbenchError", "kdbench has no 'eror.KdbenchError'"),
        ("no_such_package.option", "no module 'no_such_package'"),
        ("option", "no module 'option'"),
    ],
)
def test_unknown_target_is_one_sentence(target: str, words: str) -> None:
    with pytest.raises(KdbenchError, match=words) as caught:
        versions({"_target_": target})
    assert target in str(caught.value) and "\n" not in str(caught.value)


def test_missing_dependency_of_a_target_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_options.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KdbenchError, match="needy_options needs the module 'no_such_dependency'"):
        versions({"_target_": "needy_options.option"})


def old_file(path: Path, content: bytes, seconds: float = HOUR_AGO) -> Path:
    path.write_bytes(content)
    changed = path.stat().st_mtime - seconds
    os.utime(path, (changed, changed))
    return path


def remembered(cache: Path) -> Mapping[str, Mapping[str, object]]:
    return json.loads(cache.read_text())


def test_fingerprint_is_the_hash_of_the_content(tmp_path: Path) -> None:
    path = old_file(tmp_path / "data", b"content")
    expected = hashlib.sha256(b"content").hexdigest()[:16]
    cache = tmp_path / "store" / "fingerprints.json"
    assert [file_fingerprint(path), file_fingerprint(path, cache), file_fingerprint(path, cache)] == [expected] * 3


def test_fingerprint_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = old_file(tmp_path / "data", b"one"), tmp_path / "fingerprints.json"
    first = file_fingerprint(path, cache)
    hashed: list[object] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashed.append(file) or digest(file, name))
    assert file_fingerprint(path, cache) == first and hashed == []
    old_file(path, b"two", seconds=2 * HOUR_AGO)
    assert file_fingerprint(path, cache) != first and len(hashed) == 1


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    path, cache = tmp_path / "data", tmp_path / "fingerprints.json"
    found = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        found.append(file_fingerprint(path, cache))
    assert found == [hashlib.sha256(content).hexdigest()[:16] for content in (b"one", b"two")]
    assert not cache.exists()


@pytest.mark.parametrize("content", ['{"half": ', "[1, 2]", "", '{"%s": 3}', '{"%s": {"fingerprint": 3}}'])
def test_corrupt_cache_is_rebuilt(tmp_path: Path, content: str) -> None:
    path, cache = old_file(tmp_path / "data", b"content"), tmp_path / "fingerprints.json"
    cache.write_text(content.replace("%s", str(path)))
    assert file_fingerprint(path, cache) == hashlib.sha256(b"content").hexdigest()[:16]
    assert remembered(cache)[str(path)]["fingerprint"] == file_fingerprint(path)


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    path = old_file(tmp_path / "data", b"content")
    (tmp_path / "file").touch()
    assert file_fingerprint(path, tmp_path / "file" / "fingerprints.json") == file_fingerprint(path)


def test_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(KdbenchError, match="there is no file"):
        file_fingerprint(tmp_path / "absent")


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    files = [old_file(tmp_path / f"data_{index}", str(index).encode()) for index in range(40)]
    cache = tmp_path / "fingerprints.json"
    script = (
        "import sys; from pathlib import Path; from kdbench.signature import file_fingerprint\n"
        "for name in sys.argv[2:]: file_fingerprint(Path(name), Path(sys.argv[1]))"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(cache), *map(str, files[start::2])]) for start in range(2)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    assert set(remembered(cache)) == {str(path.resolve()) for path in files}
