"""The console front `kdbench-export`: a finished student as a folder that needs no store."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.error import KdbenchError, shows_errors

if TYPE_CHECKING:
    from kdbench.finished_run import FinishedRun
    from kdbench.store import Store

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def command(
    run: Annotated[str, typer.Argument(help="A signature, the beginning of one, or the folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write; otherwise exports/<signature>.")] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="The store; otherwise the one the run's folder names, else KDBENCH_STORE, else ./store."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write model.onnx too (needs the packages of kdbench[onnx]).")
    ] = False,
) -> None:
    """Write a finished student as a folder that transformers loads, or kdbench where that has no class for it: weights,
    configuration, tokenizer and model card."""
    from kdbench.run_reference import open_run

    opened, signature = open_run(run, store)
    folder = export(opened, signature, out or Path("exports") / signature, force, onnx)
    told = "; model.onnx gives the same scores" if onnx else ""
    typer.echo(f"{folder}: {loader(folder, opened, signature)} loads it{told}")


def loader(folder: Path, store: Store, signature: str) -> str:
    """What loads a run's exported student: a class of transformers, or kdbench where that has none for it."""
    from kdbench.encoder.load import auto_class
    from kdbench.finished_run import FinishedRun
    from kdbench.student_folder import is_student_folder

    if is_student_folder(folder):
        return "kdbench.load_student"
    run = FinishedRun(store, signature)
    return f"{auto_class(run.task.head(run.tokenizer))}.from_pretrained"


@shows_errors
def main() -> None:
    """The console front `kdbench-export`."""
    app()


def export(store: Store, signature: str, out: Path, force: bool = False, onnx: bool = False) -> Path:
    """Write the student of a finished run to `out` with a model card: as a Hugging Face folder, or, of an architecture
    that transformers has no class for, as `kdbench.student_folder` has it. Returns the folder.

    Teacher and projections are no part of it. The files appear when all of them are written.

    Args:
        store: where the run is.
        signature: the run's, as `kdbench.run_reference.resolve` finds it.
        out: is made; must be empty or absent.
        force: write into a folder that is not empty; other files in it stay.
        onnx: write `model.onnx` too; see `kdbench.onnx_file`.

    Raises:
        KdbenchError: a folder that is not empty or cannot be written.
    """
    from kdbench.finished_run import FinishedRun
    from kdbench.quiet import quiet_libraries

    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not force):
        kind = "a file" if out.is_file() else "not empty"
        raise KdbenchError(f"--out={out} is {kind}: choose another folder{'' if out.is_file() else ', or add --force'}")
    quiet_libraries()
    run = FinishedRun(store, signature)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as temporary:
            _write(run, Path(temporary), onnx)
            for file in sorted(Path(temporary).iterdir()):
                os.replace(file, out / file.name)
    except OSError as error:
        raise KdbenchError(
            f"--out={out} cannot be written ({error.strerror or error}): choose another folder"
        ) from error
    return out


def _write(run: FinishedRun, folder: Path, onnx: bool) -> None:
    from kdbench.as_transformers import AsTransformers
    from kdbench.encoder.base import Encoder
    from kdbench.encoder.load import auto_class, head_options
    from kdbench.head import ChoiceHead
    from kdbench.model_card import model_card
    from kdbench.onnx_file import write_onnx
    from kdbench.student_folder import save_student
    from kdbench.tokenizer import give_types
    from kdbench.vocabulary.exported_tokenizer import save_with_rows

    student, tokenizer, vocabulary = run.student().bare, run.tokenizer, run.vocabulary
    head = run.task.head(tokenizer)
    words = len(tokenizer if vocabulary is None else vocabulary.words)
    called: Any = AsTransformers(student)
    if student.reads_types:
        give_types(tokenizer)
    if isinstance(student, Encoder):
        called = student.model
        tokenizer.model_max_length = min(tokenizer.model_max_length, called.config.max_position_embeddings)
        for key, value in head_options(head).items():
            setattr(called.config, key, value)
        student.save(folder)
    else:
        padding = tokenizer.pad_token_id if vocabulary is None else int(vocabulary.rows[tokenizer.pad_token_id])
        save_student(student, run.record["config"]["student"], head, words, padding, folder)
    if onnx:
        write_onnx(called, student, words, folder, head.choices if isinstance(head, ChoiceHead) else 1)
    if vocabulary is None:
        tokenizer.save_pretrained(folder)
    else:  # the scores of an expanded output are those of the rows too, each for all words that share it
        save_with_rows(tokenizer, vocabulary, folder)
    card = model_card(run.record, run.task, auto_class(head), ours=isinstance(called, AsTransformers))
    (folder / "README.md").write_text(card, encoding="utf-8")
    for file in folder.iterdir():  # the weights come with the permissions of a private file
        file.chmod(0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
