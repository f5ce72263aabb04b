"""Which signal steers a decision: one for all its cells, or none."""

from __future__ import annotations

from datetime import datetime

from domain.decision import DecisionInputs
from domain.forecast import Signal
from domain.outlook import Outlook
from domain.policy import OnOneSignal, OnSignalLoss
from domain.rows import Rows


def steering_outlook(rows: Rows, inputs: DecisionInputs) -> Outlook | None:
    """The one signal that a decision compares, by annual means where its forecasts have lately
    lost to them; ``None`` for cost alone.
    """
    outlook = _signal_to_steer_by(rows, inputs.now)
    regret = rows.ground.world.regret
    if outlook is None or regret is None:
        return outlook
    if (outlook.signal, inputs.manifest.residency) not in regret.static_rule:
        return outlook
    return _static_outlook(rows, outlook.signal, inputs.now) or outlook


def _signal_to_steer_by(rows: Rows, now: datetime) -> Outlook | None:
    policy = rows.ground.world.policy
    steering = _trusted_outlook(rows, policy.steering_signal, now)
    if steering is not None and (
        policy.regions_with_one_signal is OnOneSignal.LEAVE_OUT
        or steering.fresh_regions == len(rows.first_of_region)
    ):
        return steering
    if steering is None and policy.on_signal_loss is OnSignalLoss.COST_ONLY:
        return None
    other = _trusted_outlook(rows, policy.steering_signal.other, now)
    if steering is None or (other and other.fresh_regions > steering.fresh_regions):
        return other
    return steering


def _trusted_outlook(rows: Rows, signal: Signal, now: datetime) -> Outlook | None:
    """A signal's outlook, if enough regions have a fresh forecast of it."""
    if signal not in rows.ground.curves:
        return None
    outlook = Outlook.expected(rows, signal, now)
    return outlook if outlook.fresh_regions >= _fresh_enough(rows) else None


def _static_outlook(rows: Rows, signal: Signal, now: datetime) -> Outlook | None:
    """By annual means, if enough regions have one."""
    if signal not in rows.ground.annual:
        return None
    outlook = Outlook.static(rows, signal, now)
    return outlook if outlook.fresh_regions >= _fresh_enough(rows) else None


def _fresh_enough(rows: Rows) -> int:
    return min(rows.ground.world.policy.min_fresh_regions, len(rows.first_of_region))
