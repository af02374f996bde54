from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR
from kdbench.data.generated import PLAIN, TOPICS

MakeData = Callable[..., dict[str, Any]]


@pytest.fixture
def make_data(tmp_path: Path) -> MakeData:
    """Compose the group `data` alone: make_data("glue/rte", "data.seed=2"); own YAMLs lie in tmp_path/mine/data."""

    def make(name: str, *overrides: str) -> dict[str, Any]:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        search = f"hydra: {{searchpath: ['file://{CONF_DIR}']}}"
        (folder / "primary.yaml").write_text(f"defaults: [_self_, data: {name}]\n{search}\n")
        with initialize_config_dir(str(folder), version_base="1.3"):
            composed = OmegaConf.to_container(compose("primary", overrides=list(overrides)), resolve=True)
        assert isinstance(composed, dict)
        assert list(composed) == ["data"]
        return composed["data"]

    return make


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WordPiece tokenizer of a few dozen words and every letter."""
    from transformers import BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    words = [*PLAIN, *(word for topic in TOPICS for word in topic), "film", "good", "bad"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    folder = tmp_path_factory.mktemp("tokenizer")
    BertTokenizer(vocab={word: place for place, word in enumerate(vocabulary)}).save_pretrained(folder)
    return folder
