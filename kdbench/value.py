"""Refusing single values of the configuration, in one wording: the key, the value and what it must be."""

from __future__ import annotations

import math

from kdbench.error import ImpossibleError, KdbenchError


def whole(key: str, value: object, least: int = 1, null: str | None = None) -> None:
    """Refuse what is no whole number of at least `least`; None is let through where `null` says what it means."""
    if null is not None and value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise KdbenchError(f"{key}={value} must be a whole number of at least {least}{_or_null(null)}")


def divides(key: str, value: int, of: str, whole: int) -> None:
    """Refuse what does not divide another value, with all that would."""
    if whole % value:
        divisors = [str(each) for each in range(1, whole + 1) if whole % each == 0]
        raise ImpossibleError(f"{key}={value} does not divide {of}={whole}: choose one of {', '.join(divisors)}")


def number(key: str, value: object, null: str | None = None) -> None:
    """Refuse what is no finite number; None is let through where `null` says what it means."""
    if null is not None and value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise KdbenchError(f"{key}={value} must be a number{_or_null(null)}")


def positive(key: str, value: object, null: str | None = None) -> None:
    """Refuse what is no finite number greater than 0; None is let through where `null` says what it means."""
    if null is not None and value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise KdbenchError(f"{key}={value} must be a number greater than 0{_or_null(null)}")


def share(key: str, value: object, below: bool = False) -> None:
    """Refuse what is no number from 0 to 1; with `below`, 1 itself too."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1 or (below and value == 1):
        raise KdbenchError(f"{key}={value} must be a number from 0 to {'below 1' if below else '1'}")


def switch(key: str, value: object) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise KdbenchError(f"{key}={value} must be true or false")


def choice(key: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse what is none of the known words."""
    if value not in known:
        raise KdbenchError(f"{key}={value} is unknown: choose {', '.join(known[:-1])} or {known[-1]}")


def _or_null(null: str | None) -> str:
    return "" if null is None else f", or null for {null}"
