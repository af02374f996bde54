"""The console front `kdbench-store`: what the store holds, whether it is whole, and what can go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kdbench.artefact import Artefact
from kdbench.error import KdbenchError, shows_errors
from kdbench.store import Store
from kdbench.store_contents import label, unused

app = typer.Typer(
    help="Look at the store of artefacts, check it, and delete from it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StoreFolder = Annotated[Path, typer.Option("--store", envvar="KDBENCH_STORE", help="The store's folder.")]
Kind = Annotated[
    str | None, typer.Option("--kind", help="Only this kind: data, vocabulary, teacher, outputs, stage or run.")
]


@app.command("list")
def list_command(store: StoreFolder = Path("store"), kind: Kind = None) -> None:
    """List the artefacts: kind, signature, state, size, age and what each one is."""
    now = datetime.now(UTC)
    rows = [
        (artefact.kind, artefact.signature, artefact.state, size(artefact.bytes), age(artefact, now), label(artefact))
        for artefact in _open(store).artefacts(kind)
    ]
    _show_table(("kind", "signature", "state", "size", "age", "what it is"), rows)


@app.command("size")
def size_command(store: StoreFolder = Path("store")) -> None:
    """Say how much room the artefacts of each kind take, and all together."""
    artefacts = _open(store).artefacts()
    kinds = {artefact.kind: [other for other in artefacts if other.kind == artefact.kind] for artefact in artefacts}
    rows = [(name, str(len(members)), size(total(members))) for name, members in kinds.items()]
    _show_table(("kind", "artefacts", "size"), [*rows, ("total", str(len(artefacts)), size(total(artefacts)))])


@app.command("verify")
def verify_command(store: StoreFolder = Path("store"), kind: Kind = None) -> None:
    """Hash every file of the whole artefacts; exit status 1 where one is damaged."""
    opened = _open(store)
    finished = [artefact for artefact in opened.artefacts(kind) if artefact.state in ("whole", "damaged")]
    damaged = 0
    for artefact in finished:
        if (damage := opened.damage(artefact.kind, artefact.signature, hashed=True)) is not None:
            typer.echo(f"damaged: {artefact.kind} {artefact.signature}: {damage}")
            damaged += 1
    typer.echo(f"{count(finished)} checked, {damaged} damaged")
    if damaged:
        typer.echo("`kdbench-store prune --damaged` deletes what is damaged; the next run computes it again", err=True)
        raise typer.Exit(1)


@app.command("prune")
def prune_command(
    store: StoreFolder = Path("store"),
    kind: Kind = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Artefacts that are not what was written.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Unfinished work that no process goes on with.")] = False,
    unused: Annotated[
        bool, typer.Option("--unused", help="Artefacts that no run in the store was built from.")
    ] = False,
    older_than: Annotated[float | None, typer.Option("--older-than", min=0, help="Only older ones, in days.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, only say what would go.")] = False,
) -> None:
    """Say what would be deleted, and delete it with --yes.

    --damaged, --partial and --unused add up; --kind and --older-than narrow the choice, and without the former three
    they choose among whole artefacts. What a process works on is never deleted.
    """
    if not (damaged or partial or unused or kind is not None or older_than is not None):
        raise KdbenchError("nothing says what to prune: give --damaged, --partial, --unused, --kind or --older-than")
    opened = _open(store)
    chosen = choose(opened, damaged=damaged, partial=partial, unused_too=unused)
    now = datetime.now(UTC)
    chosen = [
        artefact
        for artefact in chosen
        if (kind is None or artefact.kind == kind) and (older_than is None or days(artefact, now) > older_than)
    ]
    _delete(opened, chosen, yes)


def choose(store: Store, *, damaged: bool, partial: bool, unused_too: bool) -> list[Artefact]:
    """The artefacts that any of the flags means; with no flag, every whole one."""
    artefacts = store.artefacts()
    if not (damaged or partial or unused_too):
        return [artefact for artefact in artefacts if artefact.complete]
    chosen: list[Artefact] = []
    if damaged:
        chosen += [
            artefact
            for artefact in artefacts
            if artefact.state in ("whole", "damaged")
            and store.damage(artefact.kind, artefact.signature, hashed=True) is not None
        ]
    if partial:
        chosen += [artefact for artefact in artefacts if artefact.state in ("partial", "removed")]
    if unused_too:
        chosen += [artefact for artefact in unused(store, artefacts) if artefact not in chosen]
    return chosen


def total(artefacts: Iterable[Artefact]) -> int:
    """Bytes of all the artefacts."""
    return sum(artefact.bytes for artefact in artefacts)


def count(artefacts: Sequence[Artefact]) -> str:
    """How many there are, with the noun: `1 artefact`, `2 artefacts`."""
    return f"{len(artefacts)} artefact{'' if len(artefacts) == 1 else 's'}"


def size(number: float) -> str:
    """Bytes as a person reads them, in powers of 1024: `512 B`, `1.5 KiB`, `87.0 MiB`."""
    if number < 1024:
        return f"{number:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TiB"


def days(artefact: Artefact, now: datetime) -> float:
    """The artefact's age in days."""
    return (now - artefact.created).total_seconds() / 86_400


def age(artefact: Artefact, now: datetime) -> str:
    """The artefact's age in the largest unit that fits: `3 d`, `5 h`, `12 min`."""
    minutes = max(0, int(days(artefact, now) * 1440))
    if minutes >= 2880:
        return f"{minutes // 1440} d"
    return f"{minutes // 60} h" if minutes >= 120 else f"{minutes} min"


def _open(folder: Path) -> Store:
    store = Store(folder)
    if not store.root.exists():
        raise KdbenchError(f"there is no store at {store.root}: give its folder with --store or KDBENCH_STORE")
    return store


def _delete(store: Store, chosen: list[Artefact], yes: bool) -> None:
    deleted: list[Artefact] = []
    for artefact in chosen:
        name = f"{artefact.kind} {artefact.signature} ({artefact.state}, {size(artefact.bytes)})"
        if store.held(artefact.kind, artefact.signature) or (yes and not store.remove(artefact)):
            typer.echo(f"kept, a process works on it: {name}")
            continue
        typer.echo(f"{'deleted' if yes else 'would delete'}: {name}")
        deleted.append(artefact)
    verb = "deleted" if yes else "to delete, which --yes does" if deleted else "to delete"
    typer.echo(f"{count(deleted)}, {size(total(deleted))}, {verb}")


def _show_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@shows_errors
def main() -> None:
    """The console front `kdbench-store`."""
    app()
