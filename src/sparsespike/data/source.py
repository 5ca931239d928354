"""`Source`: what is known of a public dataset, and of each of its files."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sparsespike.data.encode import Rounding
from sparsespike.data.store import About


@dataclass(frozen=True)
class File:
    """One published file.

    Archives of the same bytes differ between packers: where the contents' checksum is known it
    decides, and those of the archive only say what its official address sends.

    Attributes:
        name: as published.
        addresses: of the same bytes, official ones first; () where only a browser gets them.
        n_bytes: as downloaded.
        md5: as downloaded.
        sha256: as downloaded.
        unpacked_bytes: of the one file inside.
        unpacked_sha256: of the one file inside.
    """

    name: str
    addresses: tuple[str, ...]
    n_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    unpacked_bytes: int | None = None
    unpacked_sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """One public dataset.

    Attributes:
        name: of the dataset, as typed.
        title: its full name.
        licence: of the recordings.
        citation: the publication to cite.
        sensor: shape of the units, see `data.recordings`.
        n_classes: C; labels are in [0, C).
        classes: their names in the order of the labels, or () where only the files themselves say.
        splits: files of each split; one that holds several splits is named in each.
        n_samples: recordings of each split.
        homepage: where it is described, and had by browser.
    """

    name: str
    title: str
    licence: str
    citation: str
    sensor: tuple[int, ...]
    n_classes: int
    classes: tuple[str, ...]
    splits: dict[str, tuple[File, ...]]
    n_samples: dict[str, int]
    homepage: str

    def about(self, rounding: Rounding, classes: tuple[str, ...] | None = None) -> About:
        """What a store of it says of itself.

        Args:
            rounding: of its times to steps.
            classes: their names, where only the files themselves say; None for those known here.
        """
        return About(
            name=self.name,
            n_units=math.prod(self.sensor),
            n_classes=self.n_classes,
            rounding=rounding,
            licence=self.licence,
            citation=self.citation,
            sensor=self.sensor,
            classes=self.classes if classes is None else classes,
        )

    @property
    def files(self) -> tuple[File, ...]:
        """The files of all splits, each once."""
        return tuple(dict.fromkeys(file for files in self.splits.values() for file in files))
