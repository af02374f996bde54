"""Toolkits that are measured beside kdbench. They are no dependency of it, and lie in a folder that git ignores.

pip install --no-deps --target benchmarks/peers textbrewer==0.2.1.post1 torchdistill==1.1.5 liger-kernel==0.8.5
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent / "peers"
HOW = "not installed; benchmarks/peer.py has the command"


def peer(name: str, stand_ins: Mapping[str, Sequence[str]] | None = None) -> ModuleType | None:
    """A toolkit from the folder or the environment; None where it is not there.

    Args:
        name: of its package.
        stand_ins: modules that it imports and that nothing measured here uses, with the names that it takes from them:
            empty ones stand in their place while it is imported, and are gone afterwards.
    """
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    with _stood_in(stand_ins or {}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if f"{name}.".startswith(f"{error.name}."):
                return None
            raise


def version(name: str) -> str | None:
    """The version of a toolkit that is there."""
    places = [*sys.path, str(FOLDER)]
    return next((found.version for found in distributions(name=name, path=places)), None)


@contextmanager
def _stood_in(stand_ins: Mapping[str, Sequence[str]]) -> Iterator[None]:
    absent = {name: taken for name, taken in stand_ins.items() if name not in sys.modules}
    for name, taken in absent.items():
        module = ModuleType(name)
        for attribute in taken:
            setattr(module, attribute, type(attribute, (), {}))
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent in absent:
            setattr(sys.modules[parent], child, module)
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
