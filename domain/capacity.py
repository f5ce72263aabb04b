"""Capacity types: how a machine is bought."""

from __future__ import annotations

from enum import StrEnum


class CapacityType(StrEnum):
    """What a run runs on; Karpenter's and EKS's term."""

    SPOT = "spot"
    """Cheaper, and may be taken back at short notice."""
    ON_DEMAND = "on_demand"
