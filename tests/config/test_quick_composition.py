"""What is left out of a composition changes nothing of what is composed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR
from kdbench.quick_composition import compose_quickly

MAP = "_create_interpolation_map"


@pytest.fixture
def hydras_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Hydra's function as it was, in place until `compose_quickly` is called."""
    own = getattr(getattr(defaults_list, MAP), "everywhere", getattr(defaults_list, MAP))
    monkeypatch.setattr(defaults_list, MAP, own)
    yield own


def composed(folder: Path, *overrides: str) -> Any:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides=list(overrides)), resolve=False)


@pytest.mark.parametrize("overrides", [(), ("method=glmd", "data=super_glue/rte", "data.format=cloze", "seed=3")])
def test_our_files_compose_as_before_and_make_no_map(
    hydras_own: Any, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    before = composed(CONF_DIR, *overrides)
    monkeypatch.setattr(defaults_list, MAP, lambda *anything: pytest.fail("a map that nobody reads"))
    compose_quickly()
    assert composed(CONF_DIR, *overrides) == before


@pytest.mark.parametrize("database", ["small", "large"])
def test_an_entry_that_interpolates_is_still_looked_up(hydras_own: Any, tmp_path: Path, database: str) -> None:
    for path, text in {
        "train.yaml": "defaults:\n- database: small\n- server: of_${database}\n- _self_\nseed: 1\n",
        "database/small.yaml": "rows: 1\n",
        "database/large.yaml": "rows: 2\n",
        "server/of_small.yaml": "cores: 1\n",
        "server/of_large.yaml": "cores: 8\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    before = composed(tmp_path, f"database={database}")
    compose_quickly()
    compose_quickly()  # once more is as once
    assert getattr(defaults_list, MAP).everywhere is hydras_own
    assert composed(tmp_path, f"database={database}") == before
    assert before["server"]["cores"] == {"small": 1, "large": 8}[database]


def test_a_hydra_without_the_function_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(defaults_list, MAP)
    compose_quickly()
    assert not hasattr(defaults_list, MAP)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that Hydra's own way to read one has read."""
    compose_quickly()
    source = SourcesRegistry.instance().types["file"]
    parsing, read = source.load_config.parsing, []  # type: ignore[attr-defined]

    def load_config(self: Any, config_path: str) -> Any:
        read.append(config_path)
        return parsing(self, config_path)

    monkeypatch.setattr(source, "load_config", load_config)
    compose_quickly()
    yield read


def test_a_file_is_parsed_once_and_what_is_made_of_it_is_ones_own(parsed: list[str]) -> None:
    first = composed(CONF_DIR, "seed=3")
    assert parsed.count("train") == 1
    first["training"]["max_steps"] = "changed"
    for _ in range(2):
        again = composed(CONF_DIR, "seed=3", "method=glmd")
        assert again["training"]["max_steps"] != "changed"
    assert again == composed(CONF_DIR, "method=glmd", "seed=3")
    assert len(parsed) == len(set(parsed))


def test_a_file_that_was_written_anew_is_read_again(parsed: list[str], tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    for text in ("seed: 1\n", "seed: 22\n", "seed: 33\n"):
        (tmp_path / "next").write_text(text, encoding="utf-8")
        (tmp_path / "next").replace(file)
        assert composed(tmp_path) == composed(tmp_path) == OmegaConf.create(text)
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.yaml").write_text("seed: 4\n", encoding="utf-8")
    assert composed(other)["seed"] == 4
    file.unlink()
    with pytest.raises(MissingConfigException, match="train"):
        composed(tmp_path)
