"""The one class of a user's mistake, and the front that turns it into one sentence and an exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class KdbenchError(Exception):
    """A user's mistake: one sentence that names the key, the value and the way out.

    Raised anywhere, formatted only at a front (`shows_errors`), never with a stack trace.
    """


class ImpossibleError(KdbenchError):
    """A combination of choices that cannot work. A sweep leaves such a cell out and says why; a run refuses it."""


def shows_errors(front: Callable[P, None]) -> Callable[P, None]:
    """Wrap a console front: a `KdbenchError` becomes one line on standard error and exit status 1."""

    @functools.wraps(front)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            front(*args, **kwargs)
        except KdbenchError as error:
            sys.stderr.write(f"{front.__module__.split('.')[0]}: {error}\n")
            raise SystemExit(1) from None

    return wrapped
