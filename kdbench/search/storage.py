"""Where studies are kept: SQLite, PostgreSQL or a journal, opened, locked, and refused in one sentence."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from filelock import FileLock

from kdbench.error import KdbenchError
from kdbench.search.signs import repeatedly

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

POSTGRES_LOCK = 7_105_388_194_011_826_251
"""The number of the database's lock, which nobody else may be expected to have chosen."""

ATTEMPTS = 5
"""To open a storage whose tables several processes find missing."""

SQLITE = "sqlite:///"

GRACE_SECONDS = 30
"""After so long without a sign of its owner the lock beside a journal is another process's."""

BUSY_SECONDS = 60.0
"""How long SQLite waits for another program that holds its file."""


def open_storage(url: str) -> BaseStorage:
    """The storage of a study.

    Args:
        url: an SQLAlchemy URL (`sqlite:///studies.db`, `postgresql+psycopg://...`), a file that ends in `.log` (a
            journal, for file systems that several machines share), or any other file, which is an SQLite one.

    Raises:
        KdbenchError: a storage that is gone, refuses, or is locked.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    url = located(url)
    try:
        if "://" not in url:
            Path(url).parent.mkdir(parents=True, exist_ok=True)
            if _is_journal(url):
                return JournalStorage(JournalFileBackend(url))
            url = f"sqlite:///{url}"
        # A server's connections are closed after each use: between two a trial may take hours.
        options = {"connect_args": {"timeout": BUSY_SECONDS}} if url.startswith("sqlite") else {"poolclass": NullPool}
        for attempt in range(ATTEMPTS):
            try:
                return RDBStorage(url, engine_kwargs=options)
            except SQLAlchemyError as error:  # another process makes the tables at this moment
                if attempt + 1 == ATTEMPTS or not _made_by_another(error):
                    raise
                time.sleep(attempt + random.random())
        raise AssertionError("unreachable")
    except ImportError as error:
        raise KdbenchError(
            f"hydra.sweeper.storage={shown(url)} needs a driver that is not installed: install that of "
            "postgresql+psycopg://... with pip install 'kdbench[search]'"
        ) from error
    except RuntimeError as error:  # of its tables
        reason = " ".join(str(error).split())
        raise KdbenchError(
            f"hydra.sweeper.storage={shown(url)} was made by another version of Optuna ({reason}): do that, or choose "
            "another storage"
        ) from error
    except (SQLAlchemyError, OSError, ValueError) as error:
        raise unreachable(url, error) from error


def located(url: str) -> str:
    """A storage as `open_storage` takes it, the same from every folder: files by their absolute path."""
    if "://" not in url:
        return str(Path(url).expanduser().absolute())
    path = url.removeprefix(SQLITE)
    return url if path in (url, "", ":memory:") else f"{SQLITE}{Path(path).expanduser().absolute()}"


def _is_journal(url: str) -> bool:
    return "://" not in url and url.endswith(".log")


def _made_by_another(error: Exception) -> bool:
    text = str(getattr(error, "orig", error)).lower()
    return "already exists" in text or "unique constraint" in text


@contextmanager
def lock_of(url: str) -> Iterator[None]:
    """What keeps the processes of a storage apart while they look for a waiting trial and take it, which of Optuna's
    storages only some do in one step: a file beside an SQLite one, a link beside a journal, which NFS has too, and in
    PostgreSQL a lock of the database. Where a storage has none of these, `Slots.take` sees what two have taken."""
    url = located(url)
    if _is_journal(url):
        with _linked(Path(f"{url}.slots")):
            yield
    elif "://" not in url or url.startswith(SQLITE):
        with FileLock(f"{url.removeprefix(SQLITE)}.lock"):
            yield
    elif url.startswith("postgresql"):
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        with create_engine(url, poolclass=NullPool).begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": POSTGRES_LOCK})
            yield
    else:
        yield


@contextmanager
def _linked(target: Path) -> Iterator[None]:
    """Hold the link beside a file whose time of change says that its owner lives: whoever waits for one whose owner was
    killed takes it over after `GRACE_SECONDS`."""
    from optuna.storages.journal import JournalFileSymlinkLock

    lock = JournalFileSymlinkLock(str(target), grace_period=GRACE_SECONDS)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.open("ab").close()  # Optuna looks at the file that the link names, and its time is the owner's alone
    lock.acquire()
    try:
        _touch(target)
        with repeatedly(GRACE_SECONDS / 4, partial(_touch, target)):
            yield
    finally:
        with suppress(RuntimeError):  # another process took this one for dead, and has let go since
            lock.release()


def _touch(target: Path) -> None:
    with suppress(OSError):  # what a file system cannot do now it may do the next time
        target.touch()


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Within the block a fault of the storage is a refusal in one sentence."""
    try:
        yield
    except faults() as error:
        if isinstance(error, OSError) and not _of_storage(located(url), error):
            raise
        raise unreachable(url, error) from error


def _of_storage(url: str, error: OSError) -> bool:
    """Whether a file that cannot be read or written is the storage's: its own, one beside it, or one not named, as on a
    full disk."""
    return error.filename is None or str(error.filename).startswith(url.removeprefix(SQLITE))


def faults() -> tuple[type[Exception], ...]:
    """What a storage raises that is not there, full or locked."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError, StorageInternalError, OSError


def unreachable(url: str, error: Exception) -> KdbenchError:
    """The refusal of a storage that cannot be had, without its password."""
    while error.__cause__ is not None and not hasattr(error, "orig"):  # Optuna wraps what a database says
        error = cast(Exception, error.__cause__)
    reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
    return KdbenchError(
        f"hydra.sweeper.storage={shown(url)} cannot be used ({reason}): check that it is there and not locked by "
        "another program; what the study has is kept, and the same command goes on"
    )


def shown(url: str) -> str:
    """A URL as it may be printed."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True) if "://" in url else url
