"""From what EC2 instance types cost to a price of vCPUs and of memory.

Amazon sells machines, the price table has vCPUs and GiB. What a type costs over what the table
takes for a machine of its shape is a ratio. The mean ratio over the types in use scales the table's
on-demand row, so that its split between vCPU and memory, which no price of a machine tells, stays.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from activities.errors import AnswerRefused
from domain.capacity import CapacityType
from domain.errors import MissingPrice
from domain.prices import PriceTable

GIB_PER_VCPU = {"c": 2.0, "m": 4.0, "r": 8.0}
"""Of the compute, general and memory families from the fifth generation on."""

_TYPE = re.compile(r"(?P<family>[cmr])(?P<rest>([5-9]|[1-9]\d)[a-z-]*)\.(?P<times>\d*)x?large")
_OTHERWISE = frozenset({"c5n"})
"""More memory than its family: 2.625 GiB for each vCPU."""

_EXCERPT = 40
_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Shape:
    """What a machine of a type has."""

    vcpus: int
    memory_gib: float


def shape_of(instance_type: str) -> Shape:
    """The shape that a type's name tells: ``m6i.xlarge`` has 4 vCPUs and 16 GiB.

    Raises:
        ValueError: it is of a family, generation or size whose names tell no shape.
    """
    found = _TYPE.fullmatch(instance_type)
    size = instance_type.partition(".")[2]
    known = found is not None and found["family"] + found["rest"] not in _OTHERWISE
    if found is None or not known or (found["times"] and not size.endswith("xlarge")):
        raise ValueError(
            f"{instance_type}: expected a size of a c, m or r family from the fifth generation on,"
            " as m6i.xlarge"
        )
    vcpus = 2 if size == "large" else 4 * int(found["times"] or 1)
    return Shape(vcpus, vcpus * GIB_PER_VCPU[found["family"]])


def usd(told: object, of: str) -> float:
    """A price as a vendor tells it. Raises ``AnswerRefused``."""
    try:
        price = float(told) if isinstance(told, str) else math.nan
    except ValueError:
        price = math.nan
    if not 0 < price < math.inf:
        raise AnswerRefused(f"{of}: {str(told)[:_EXCERPT]!r} is no price")
    return price


@dataclass(frozen=True, slots=True)
class Scaled:
    """The table's on-demand row of a region, at what machines cost."""

    usd_per_vcpu_hour: float
    usd_per_gib_hour: float
    ratio: float
    """To the on-demand row."""


def scaled(table: PriceTable, region: str, usd_per_hour: Mapping[str, Sequence[float]]) -> Scaled:
    """A region's prices from those of machines, several a type where zones differ.

    Raises:
        AnswerRefused: there are none, or the table has no on-demand row to scale.
    """
    try:
        base = table.price(region, CapacityType.ON_DEMAND)
    except MissingPrice:
        raise AnswerRefused("the price table has no on-demand row to scale") from None
    ratios = [
        price / table.usd_per_hour(region, CapacityType.ON_DEMAND, shape.vcpus, shape.memory_gib)
        for instance_type, prices in sorted(usd_per_hour.items())
        if (shape := shape_of(instance_type))
        for price in prices
    ]
    if not ratios:
        raise AnswerRefused("no price of any instance type in use")
    ratio = statistics.fmean(ratios)
    return Scaled(
        round(base.usd_per_vcpu_hour * ratio, _DECIMALS),
        round(base.usd_per_gib_hour * ratio, _DECIMALS),
        ratio,
    )
