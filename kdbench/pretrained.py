"""Where pre-trained models come from: a folder, the hub, or a package that carries one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from kdbench.error import KdbenchError
from kdbench.signature import file_fingerprint
from kdbench.value import choice

Source = Literal["folder", "hub", "embedded"]
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def locate(source: Source, model: str, revision: str, key: str) -> Path:
    """The local folder of a model: config.json, weights and tokenizer files.

    Args:
        source: `folder` (model is a path), `hub` (a repository name; downloaded once into the hub's own cache), or
            `embedded` (model is `minilm`: the MiniLM-L6 that a package of constraints-data.txt carries).
        model, revision: see `source`.
        key: the config key to name in an error.

    Raises:
        KdbenchError: if it is not there.
    """
    choice(f"{key.rsplit('.', 1)[0]}.source", source, ("folder", "hub", "embedded"))
    if source == "embedded":
        return _embedded(model, key)
    if source == "hub":
        return _hub(model, revision, key)
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        raise KdbenchError(
            f"{key}={model} is no model folder (it has no config.json): give a Hugging Face folder, or a hub name with "
            f"{key.rsplit('.', 1)[0]}.source=hub"
        )
    return folder


def _embedded(model: str, key: str) -> Path:
    from kdbench.data.embedded import minilm_folder

    if model != "minilm":
        node = key.rsplit(".", 1)[0]
        raise KdbenchError(
            f"{key}={model} is not embedded: the one embedded model is minilm; of another set {node}.source=folder or "
            "hub"
        )
    return minilm_folder()


def _hub(model: str, revision: str, key: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            model,
            revision=revision,
            allow_patterns=["*.json", "*.txt", "*.safetensors", "pytorch_model.bin", "*.model"],
        )
    except Exception as error:  # the hub's client raises many classes for: no network, no such name, no access
        reason = str(error).strip().splitlines()[0]
        raise KdbenchError(
            f"{key}={model} could not be had from the hub ({reason}): check the name and the network, or give a local "
            f"folder with {key.rsplit('.', 1)[0]}.source=folder"
        ) from error
    return Path(found)


def fingerprint(folder: Path, cache: Path | None = None) -> str:
    """A digest of a model folder's configuration and weights."""
    names = [name for name in ("config.json", *WEIGHTS) if (folder / name).is_file()]
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    return "-".join(file_fingerprint(folder / name, cache)[:12] for name in [*names, *shards])


def read_config(folder: Path) -> dict[str, object]:
    """The folder's config.json."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KdbenchError(f"{folder / 'config.json'} cannot be read ({error}): restore the model folder") from error
    assert isinstance(config, dict)
    return config
