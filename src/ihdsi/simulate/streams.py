"""One random stream per thing that is simulated, all from one seed."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["stream", "stream_seed"]


def _sequence(seed: int, key: tuple[str, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=[zlib.crc32(part.encode()) for part in key])


def stream(seed: int, *key: str) -> np.random.Generator:
    """Return the generator that belongs to `key`, independent of those of all other keys.

    Streams are found by name instead of being spawned in order, so that adding a patient or a
    gene leaves the draws of all others as they were.

    Parameters
    ----------
    seed
        The study's seed, a non-negative integer.
    key
        Words that name the stream, for example ``("somatic", "LIH-0001")``.
    """
    return np.random.default_rng(_sequence(seed, key))


def stream_seed(seed: int, *key: str) -> int:
    """Return a positive 31-bit seed for a program that takes an integer seed."""
    return int(_sequence(seed, key).generate_state(1)[0] % (2**31 - 1)) + 1
