"""The grid now, for ``list`` and ``show``: read from the signal store where this machine has it.

Never pushed into sleeping jobs, and left out where there is no store, as on a remote client.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from workers.wiring import load_parts_here


def carbon_now() -> Mapping[str, float]:
    """gCO2eq/kWh at this moment by region, of the signal that steers."""
    parts = load_parts_here()
    if parts is None:
        return {}
    now = datetime.now(UTC)
    current = {region: item.at(now) for region, item in parts.steering_forecasts().items()}
    return {region: value for region, value in current.items() if value is not None}
