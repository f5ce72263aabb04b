"""When Spot machines are taken back: drawn by seed, the same for every rule."""

from __future__ import annotations

import math

import numpy as np

from domain.curves import Floats
from domain.room import HOUR_S


class Luck:
    """How long each attempt of each job lasts, as reclaims come by a Poisson process.

    What is drawn is the exposure that an attempt survives, in expected reclaims; a region's rate
    turns it into time. So rules that choose other regions still meet the same luck.
    """

    def __init__(self, seed: int, jobs: int) -> None:
        """Of ``jobs`` jobs. Drawn only as attempts need it."""
        self._seed = seed
        self._jobs = jobs
        self._exposures: list[Floats] = []

    def lasts_s(self, job: int, attempt: int, reclaims_per_hour: float) -> float:
        """Seconds until attempt ``attempt``, counted from 0, is reclaimed; infinity for never."""
        if reclaims_per_hour == 0:
            return math.inf
        while len(self._exposures) <= attempt:
            generator = np.random.default_rng((self._seed, len(self._exposures)))
            self._exposures.append(generator.standard_exponential(self._jobs))
        return float(self._exposures[attempt][job]) / reclaims_per_hour * HOUR_S
