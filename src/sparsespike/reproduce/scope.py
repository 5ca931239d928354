"""What is reproduced: the paper's three data sets, or what stands in for them here, and how many seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sparsespike import data
from sparsespike.reproduce.trained import Training


@dataclass(frozen=True)
class Material:
    """One data set of the paper.

    Attributes:
        paper: what the paper calls it.
        recipe: the paper's settings for it.
        dataset: that is trained on: the paper's, or another where that is not at hand.
        stands_in: whether it is another one.
        epochs: of a full run.
        epoch_s: seconds of an epoch on a core, roughly,
        uncut_epoch_s: and without a band.
        seeds: of the full reproduction,
        uncut_seeds, uncut_epochs: and of runs without a band, as many as a machine of two cores allows.
    """

    paper: str
    recipe: str
    dataset: str
    stands_in: bool
    epochs: int
    epoch_s: float
    uncut_epoch_s: float
    seeds: int
    uncut_seeds: int
    uncut_epochs: int

    @property
    def title(self) -> str:
        """For axes and tables."""
        return f"{self.dataset} (for {self.paper})" if self.stands_in else self.paper

    def training(self, seed: int, b_th: float = 0.2, epochs: int = 0) -> Training:
        """A run of the paper's settings on it."""
        epoch_s = self.epoch_s if b_th < float("inf") else self.uncut_epoch_s
        return Training(
            self.recipe, self.dataset, seed, epochs or self.epochs, b_th, epoch_s=epoch_s
        )

    def cut(self) -> list[Training]:
        """The runs with the paper's band, one per seed."""
        return [self.training(seed) for seed in range(self.seeds)]

    def uncut(self) -> list[Training]:
        """The runs with ordinary surrogate gradients, one per seed."""
        return [
            self.training(seed, float("inf"), self.uncut_epochs) for seed in range(self.uncut_seeds)
        ]

    def cut_as_long(self) -> list[Training]:
        """Runs with the paper's band, of the seeds and epochs of `uncut`."""
        return [self.training(seed, epochs=self.uncut_epochs) for seed in range(self.uncut_seeds)]


@dataclass(frozen=True)
class Scope:
    """What a reproduction covers.

    Attributes:
        quick: whether it is the one of a quarter of an hour.
        materials: the data sets at hand, in the paper's order.
    """

    quick: bool
    materials: tuple[Material, ...]

    def material(self, paper: str) -> Material | None:
        """The data set of this name; None where nothing stands in for it."""
        return next((each for each in self.materials if each.paper == paper), None)

    @property
    def images(self) -> Material:
        """Fashion-MNIST, of which an embedded sample is always there."""
        return self.materials[0]

    @property
    def sounds(self) -> Material:
        """The richest in time that is at hand: SHD or what stands in for it, else Fashion-MNIST."""
        return self.materials[-1]


_FULL = (
    Material("F-MNIST", "fashion-mnist", "fashion-mnist", False, 100, 3.0, 47.0, 5, 3, 10),
    Material("N-MNIST", "nmnist", "nmnist", False, 100, 40.0, 600.0, 5, 0, 0),
    Material("SHD", "shd", "shd", False, 100, 10.0, 120.0, 5, 1, 50),
)
# At hand in place of another: smaller, so that an epoch is fewer steps.
_STAND_IN = {
    "fashion-mnist": ("fashion-mnist-sample", 200, 0.5, 8.0, 5, 2, 20),
    "nmnist": ("nmnist-small", 1000, 0.2, 4.5, 5, 3, 300),
    "shd": ("fsdd-spikes", 100, 0.6, 18.0, 5, 3, 20),
}
# Epochs with and without a band of the quick reproduction.
_QUICK = {
    "fashion-mnist": (4, 1),
    "fashion-mnist-sample": (20, 2),
    "nmnist-small": (60, 3),
    "fsdd-spikes": (12, 3),
}


def scope(quick: bool, root: Path | None) -> Scope:
    """What can be reproduced on this machine.

    Args:
        quick: less of everything, for a quarter of an hour on two cores.
        root: folder of the datasets.
    """
    present = {row.name for row in data.listing(root) if row.folder is not None}
    found = []
    for each in _FULL:
        if each.dataset not in present:
            name, epochs, epoch_s, uncut_s, seeds, uncut_seeds, uncut = _STAND_IN[each.dataset]
            if name not in present:
                continue
            each = Material(
                each.paper,
                each.recipe,
                name,
                True,
                epochs,
                epoch_s,
                uncut_s,
                seeds,
                uncut_seeds,
                uncut,
            )
        if quick:
            epochs, uncut = _QUICK.get(each.dataset, (1, 0))
            each = replace(
                each, epochs=epochs, seeds=2, uncut_seeds=min(1, uncut), uncut_epochs=uncut
            )
        found.append(each)
    return Scope(quick, tuple(found))
