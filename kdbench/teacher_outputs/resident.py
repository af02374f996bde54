"""A team's live models, of which not all need to be in memory at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from kdbench.model import Model


class Residents:
    """Models that are loaded when they are first asked, and make room for others when there are too many.

    Args:
        most: how many stay; the one that was asked longest ago goes first.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: OrderedDict[str, Model] = OrderedDict()

    def get(self, name: str, load: Callable[[], Model], ready: Callable[[Model], Model]) -> Model:
        """The model of that name.

        Args:
            name: of the team's member.
            load: loads it.
            ready: makes it ready to be asked, once after every loading.
        """
        if name not in self.kept:
            while len(self.kept) >= self.most:
                self.kept.popitem(last=False)
            self.kept[name] = ready(load())
        self.kept.move_to_end(name)
        return self.kept[name]
