"""What Spot reclaims cost: work done again."""

from __future__ import annotations

import math

_SMALL = 1e-9
_HOPELESS = 20.0
"""Expected reclaims of one run beyond which it hardly ever ends: more would tell nothing apart."""


def expected_rework_factor(reclaims_per_hour: float, hours: float) -> float:
    """Expected running time over useful time, for a job that starts over at each reclaim.

    With reclaims as a Poisson process of rate ``l`` and a job of length ``T``, the expected time
    until one undisturbed run is done is ``(exp(lT) - 1) / l`` (Daly, "A higher order estimate of
    the optimum checkpoint interval", FGCS 2006, with neither checkpoint nor restart cost); over
    ``T`` that is ``(exp(lT) - 1) / (lT)``, 1 for no reclaims; ``lT`` counts as 20 at most.
    """
    exposure = min(reclaims_per_hour * hours, _HOPELESS)
    return 1.0 if exposure < _SMALL else math.expm1(exposure) / exposure
