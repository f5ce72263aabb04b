"""Energy of a run, and the coefficients that it is reckoned with.

All coefficients are one versioned ``Methodology``; a settlement and a decision name it by hash.
Sources: CCF = Cloud Carbon Footprint, ``ccf-coefficients`` of April 2026 (Apache-2.0), and its
methodology page, appendices I to III; SCI = Green Software Foundation, ISO/IEC 21031:2024.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import rfc8785

from domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class GpuPower:
    """A GPU's draw."""

    idle_w: float
    max_w: float


_GPUS: Mapping[str, GpuPower] = MappingProxyType(
    {
        # CCF appendix III (Teads' method).
        "t4": GpuPower(8, 71),
        "a10g": GpuPower(18, 153),
        "v100": GpuPower(35, 306),
        "p100": GpuPower(36, 306),
        "a100": GpuPower(46, 407),
        # Maker's board power; idle at 12 %, the ratio of CCF's own rows.
        "l4": GpuPower(9, 72),
        "l40s": GpuPower(42, 350),
        "a100-80": GpuPower(48, 400),
        "h100": GpuPower(84, 700),
        "h200": GpuPower(84, 700),
    }
)


@dataclass(frozen=True)
class Methodology:
    """Every coefficient between a run and its grams."""

    version: str = "2026.1"
    min_w_per_vcpu: float = 0.74
    """W, idle. CCF's mean over instance families, for a machine whose make is not known."""
    max_w_per_vcpu: float = 3.50
    """W, at full load. CCF, as above."""
    utilisation: float = 0.5
    """Share of full load, where it is not measured. CCF's default for clouds."""
    w_per_memory_gib: float = 0.392
    """W. CCF appendix I (DRAM), applied to all memory that is asked for: SCI counts what is
    reserved, not only what is used."""
    gpus: Mapping[str, GpuPower] = field(default_factory=lambda: _GPUS)
    embodied_g_per_vcpu_hour: float = 0.5
    """gCO2e. Derived from CCF's server model over 4 years (m6i 0.40, n2 0.42, t2d 0.62)."""
    embodied_g_per_gpu_hour: float = 4.3
    """gCO2e. CCF: 150 kg a GPU over 35,040 h."""
    network_kwh_per_gb: float = 0.01
    """kWh/GB between regions. Planning value between CCF's 0.001 (inter-data-centre) and the
    0.059 of the Sustainable Web Design model v4 (whole internet)."""
    network_kwh_per_gb_low: float = 0.001
    """kWh/GB; CCF."""
    network_kwh_per_gb_high: float = 0.059
    """kWh/GB; Sustainable Web Design v4."""

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``from_json`` is its inverse."""
        data = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        data["gpus"] = {
            model: [power.idle_w, power.max_w] for model, power in sorted(self.gpus.items())
        }
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Methodology:
        """The methodology that ``as_json`` wrote."""
        gpus = {model: GpuPower(*power) for model, power in data["gpus"].items()}
        return cls(**{**data, "gpus": MappingProxyType(gpus)})

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.as_json())

    @property
    def sha256(self) -> str:
        """The content hash by which decisions and settlements refer to it."""
        return hashlib.sha256(self.canonical()).hexdigest()


METHODOLOGY = Methodology()


def it_power_w(
    methodology: Methodology,
    vcpus: float,
    memory_gib: float,
    gpus: int = 0,
    gpu_model: str | None = None,
) -> float:
    """IT load of a run in W, before PUE: ``P = Pmin + u (Pmax - Pmin)`` for each part (SCI, CCF).

    Raises:
        InvalidInput: a GPU model without a coefficient.
    """
    load = methodology.utilisation
    vcpu_w = methodology.min_w_per_vcpu + load * (
        methodology.max_w_per_vcpu - methodology.min_w_per_vcpu
    )
    power = vcpus * vcpu_w + memory_gib * methodology.w_per_memory_gib
    if gpus:
        try:
            gpu = methodology.gpus[(gpu_model or "").lower()]
        except KeyError:
            raise InvalidInput(
                "resources.gpu_model", gpu_model, "one of " + ", ".join(sorted(methodology.gpus))
            ) from None
        power += gpus * (gpu.idle_w + load * (gpu.max_w - gpu.idle_w))
    return power


def energy_kwh(power_w: float, hours: float, pue: float) -> float:
    """Facility energy: IT power over time, times power usage effectiveness."""
    return power_w * hours / 1000 * pue


def embodied_g(methodology: Methodology, vcpus: float, gpus: int, hours: float) -> float:
    """The hardware's own footprint for these hours, gCO2e; the same wherever a job runs."""
    return hours * (
        vcpus * methodology.embodied_g_per_vcpu_hour + gpus * methodology.embodied_g_per_gpu_hour
    )


GB_PER_GIB = 2**30 / 10**9


def transfer_kwh(methodology: Methodology, gib: float) -> float:
    """Energy to move data between regions; the coefficient is per decimal gigabyte."""
    return gib * GB_PER_GIB * methodology.network_kwh_per_gb
