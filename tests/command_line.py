"""The console command inside the process of a test: a process of its own takes longer to start than most runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from kdbench.train import main

QUIET = ("hydra/job_logging=none", "hydra/hydra_logging=none")
"""Hydra's handlers would outlive the test."""


def in_process(arguments: Sequence[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """`kdbench` with these arguments: its exit code, and what it wrote to stdout and stderr."""
    capfd.readouterr()
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kdbench", *arguments, *QUIET])
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            main()
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
    out, err = capfd.readouterr()
    return code, out, err
