"""The one class of a user's mistake, and the front that turns it into one sentence and an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

CLOSED_PIPE = 141
"""What a shell reports of a command that a closed pipe has ended: 128 and the number of SIGPIPE."""


class KdbenchError(Exception):
    """A user's mistake: one sentence that names the key, the value and the way out.

    Raised anywhere, formatted only at a front (`shows_errors`), never with a stack trace.
    """


class ImpossibleError(KdbenchError):
    """A combination of choices that cannot work. A sweep leaves such a cell out and says why; a run refuses it."""


def shows_errors(front: Callable[P, None]) -> Callable[P, None]:
    """Wrap a console front: a `KdbenchError` becomes one line on standard error and exit status 1.

    A reader that closes its end of a pipe, as `head` does, ends the command without a word.
    """

    @functools.wraps(front)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            front(*args, **kwargs)
            sys.stdout.flush()  # here, where a closed pipe is caught, and not at the interpreter's end
        except BrokenPipeError:
            # Standard output leads nowhere from now on, so that the interpreter's own flush at its end is silent too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(CLOSED_PIPE) from None
        except KdbenchError as error:
            sys.stderr.write(f"{front.__module__.split('.')[0]}: {error}\n")
            raise SystemExit(1) from None

    return wrapped
