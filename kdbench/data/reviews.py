"""The embedded default: film-review snippets that critics called fresh or rotten, with no film in two splits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.data.embedded import REVIEWS_SHA256, reviews_file
from kdbench.data.source import Fingerprint, Source, Table

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

# One film has its reviews in the file twice, under two names.
SAME_FILM = {"the_crime_of_padre_amaro": "el_crimen_del_padre_amaro"}


class Reviews(Source):
    """12,808 labelled snippets of 508 names of films, and for training 863 plots of films without a label.

    The hash of a film's name decides its split, so that a snippet never meets another one of its own film in
    evaluation. Columns: text, label (fresh, rotten, or nothing), film.
    """

    def identity(self, split: str, root: Path, fingerprint: Fingerprint) -> dict[str, Any] | None:
        """The known content of the file, which `read` checks; the package need not be there to plan."""
        return {"sha256": REVIEWS_SHA256, "split": split, "version": VERSION} if split in SHARES else None

    def read(self, split: str, root: Path) -> Table | None:
        """The snippets of one split; plots stand in `train` alone, since they cannot be scored."""
        if split not in SHARES:
            return None
        import pandas as pd

        everything = pd.read_csv(reviews_file(), dtype=str, keep_default_na=False)
        films = everything["movie_name"].replace(SAME_FILM)
        plot = everything["category"] == "plot"
        here = (films.map(split_of) == split) & (everything["text"] != "") & (~plot | (split == "train"))
        frame: pd.DataFrame = pd.DataFrame(
            {"text": everything["text"], "label": everything["category"].where(~plot, ""), "film": films}
        )[here]
        return Table(frame.reset_index(drop=True))

    def lacks(self, split: str, root: Path, key: str = "data") -> str:
        """Name the three splits."""
        return f"the embedded reviews have no split {split}, they have {', '.join(SHARES)}: correct {key}.splits"


def split_of(film: str) -> str:
    """The split of a film, from the SHA-256 of its name."""
    place = int.from_bytes(hashlib.sha256(film.encode()).digest()[:8], "big") / 2**64
    return "train" if place < SHARES["train"] else "validation" if place < 1 - SHARES["test"] else "test"
