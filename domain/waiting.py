"""Waiting must pay: what a wait or a move is held against, which is running now at home.

A job class may ask for a least saving; the policy may ask that no choice does harm on the signal
that does not steer. Neither is a wall: where nothing is left, the job still runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domain.curves import Floats, Mask
from domain.decision import DecisionInputs
from domain.outlook import Outlook
from domain.room import HOUR_S

NEARLY = 1e-9
"""A share of a figure below which a difference is the rounding of sums."""


def home_now_g(inputs: DecisionInputs, outlook: Outlook) -> float | None:
    """Grams of an undisturbed run that begins now in the home region, enabled by policy or not;
    ``None`` where the outlook does not tell of it.
    """
    rows = outlook.rows.ground.alone(inputs.manifest.home_region, inputs.manifest.resources)
    [home] = rows.places
    hours = inputs.manifest.runtime.total_seconds() * inputs.world.time_scale / HOUR_S
    energy_kwh = home.power_kw * hours * home.pue
    return outlook.on(rows).grams_at(inputs.manifest, 0, 0.0, energy_kwh)


def pays(inputs: DecisionInputs, chosen_g: float, home_g: float | None) -> bool:
    """Whether a choice saves as much as the job's class asks."""
    wanted = inputs.world.policy.job_classes.get(inputs.manifest.job_class)
    if wanted is None or home_g is None:
        return True
    least_g = max(wanted.min_saving_g, wanted.min_saving_percent / 100 * home_g)
    return home_g - chosen_g >= least_g - NEARLY * home_g


def harmless(
    jobs: Sequence[DecisionInputs], steering: Outlook, starts_s: Floats, energy_kwh: Floats
) -> Mask | None:
    """(rows, jobs, starts): cells of ``energy_kwh`` (rows, jobs) that are known to be no worse than
    running now at home on the signal that does not steer, and running now at home itself.

    ``None`` where that signal tells nothing of home, so that there is no harm to speak of.
    """
    rows, signal = steering.rows, steering.signal.other
    if signal not in rows.ground.expected:
        return None
    other = Outlook.expected(rows, signal, jobs[0].now)
    home_g = [home_now_g(job, other) for job in jobs]
    most_g = np.array([np.inf if grams is None else grams * (1 + NEARLY) for grams in home_g])
    if np.isinf(most_g).all():
        return None
    manifests = [job.manifest for job in jobs]
    grams = other.grams(manifests, starts_s, energy_kwh)
    covered = starts_s <= other.last_covered_s(manifests)[..., None]
    known = other.fresh[:, None, None] & covered
    mask: Mask = (known & (grams <= most_g[:, None])) | np.isinf(most_g)[:, None]
    for job, inputs in enumerate(jobs):
        for row, place in enumerate(rows.places):
            if place.region == inputs.manifest.home_region:
                mask[row, job, 0] = True
    return mask
