"""A real PostgreSQL server for the tests of shared studies, where Debian's package is installed."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


def binary(name: str) -> str | None:
    """A program of PostgreSQL: on the path, or where Debian puts those of the newest version."""
    there = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda each: float(each.parts[-3]))
    return shutil.which(name) or (str(there[-1]) if there else None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of this session without a database's name; it refuses to run as root."""
    initdb, postgres = binary("initdb"), binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("needs the program postgres: apt-get install postgresql")
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    # Outside of pytest's folder, which only its owner may enter; a socket's path may have 107 characters.
    folder = Path("/tmp") / f"kdbench-postgres-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    data, account = folder / "data", pwd.getpwnam(user)
    unprivileged = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(
        [initdb, "-D", data, "-U", "kdbench", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"],
        check=True, stdout=subprocess.DEVNULL, cwd="/", **unprivileged,
    )  # fmt: skip
    command = [postgres, "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
               "-c", f"unix_socket_directories={folder}"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **unprivileged)
    try:
        yield f"postgresql+psycopg://kdbench@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)  # whoever is still connected
        process.wait()
        shutil.rmtree(folder)


@pytest.fixture
def database(server: str) -> Iterator[str]:
    """The URL of an empty database."""
    import psycopg

    name = f"study_{uuid.uuid4().hex[:12]}"
    administration = f"{server.replace('+psycopg', '')}/postgres"
    for attempt in range(100):
        try:
            with psycopg.connect(administration, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
            break
        except psycopg.OperationalError:  # it is still starting
            assert attempt < 99
            time.sleep(0.1)
    yield f"{server}/{name}"
