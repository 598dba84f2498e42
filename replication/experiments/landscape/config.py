"""What may differ between trials on entropy landscapes, and where in ln L they are compared."""

from dataclasses import dataclass

from replication.sweep.trial import Config

TEMPERING = "tempering"
EVEN, TRAINED = "even", "trained"  # where walkers start
# Where equilibrium is compared with optimisers, in ln L; and where not all runs of an optimiser arrive.
WINDOW, DEEP = (-1.5, -1.0), (-2.5, -1.5)


@dataclass(frozen=True, kw_only=True)
class LandscapeConfig(Config):
    """One network and one way.

    Args:
        width, depth: of its hidden layers.
        examples: points to train on.
        way, start: `tempering` from states drawn evenly or trained; or an optimiser and its start.
        coldest: β at the ladder's end; 0 of optimisers.
        count: temperatures, or runs.
        sweeps: of a block; or epochs.
        moves: paths of a sweep; or the size of a batch.
    """

    width: int
    depth: int
    examples: int
    way: str
    start: str
    coldest: float
    count: int
    sweeps: int
    moves: int
