"""Energy of a run, and the coefficients that it is reckoned with.

All coefficients are one versioned ``Methodology``; a settlement and a decision name it by hash.
Sources: CCF = Cloud Carbon Footprint, ``ccf-coefficients`` of April 2026 (Apache-2.0), and its
methodology page, appendices I to III; SCI = Green Software Foundation, ISO/IEC 21031:2024.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from types import MappingProxyType
from typing import Any

import rfc8785

from domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class GpuPower:
    """A GPU's draw."""

    idle_w: float
    max_w: float


@dataclass(frozen=True, slots=True)
class CpuPower:
    """What one vCPU (a hyper-thread, or an Arm core) draws."""

    idle_w: float
    max_w: float


def _families(power: CpuPower, *names: str) -> dict[str, CpuPower]:
    return dict.fromkeys(names, power)


_CPUS: Mapping[str, CpuPower] = MappingProxyType(
    # CCF, output of April 2026, by microarchitecture; its EPYC 5th generation is an outlier
    # (3.7 to 9.0 W) and left out.
    _families(CpuPower(0.474, 1.693), "m6g", "c6g", "r6g", "m7g", "c7g", "r7g", "m8g", "c8g", "r8g")
    | _families(CpuPower(0.456, 1.957), "m6a", "c6a", "r6a")
    | _families(CpuPower(0.739, 2.282), "m7a", "c7a", "r7a")
    | _families(CpuPower(0.690, 4.063), "m5", "c5", "r5")
    | _families(CpuPower(0.767, 3.758), "m6i", "c6i", "r6i")
    | _families(CpuPower(1.036, 4.160), "m7i", "c7i", "r7i")
    | _families(CpuPower(0.690, 3.755), "n2")
    | _families(CpuPower(0.456, 1.834), "n2d", "t2d", "c2d")
    | _families(CpuPower(1.036, 4.062), "c3")
    | _families(CpuPower(0.739, 2.196), "c3d")
)
"""By instance family: what stands before the size, as ``m6i`` of ``m6i.xlarge``."""


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

    version: str = "2026.2"
    min_w_per_vcpu: float = 0.74
    """W, idle. CCF's mean over instance families, for a machine whose make is not known."""
    max_w_per_vcpu: float = 3.50
    """W, at full load. CCF, as above."""
    utilisation: float = 0.5
    """Share of full load, where it is not measured. CCF's default for clouds."""
    w_per_memory_gib: float = 0.392
    """W. CCF appendix I (DRAM), applied to all memory that is asked for: SCI counts what is
    reserved, not only what is used."""
    cpus: Mapping[str, CpuPower] = field(default_factory=lambda: _CPUS)
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
        data["cpus"] = {name: [cpu.idle_w, cpu.max_w] for name, cpu in sorted(self.cpus.items())}
        data["gpus"] = {name: [gpu.idle_w, gpu.max_w] for name, gpu in sorted(self.gpus.items())}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Methodology:
        """The methodology that ``as_json`` wrote."""
        cpus = {family: CpuPower(*power) for family, power in data["cpus"].items()}
        gpus = {model: GpuPower(*power) for model, power in data["gpus"].items()}
        held = {"cpus": MappingProxyType(cpus), "gpus": MappingProxyType(gpus)}
        return cls(**{**data, **held})

    def vcpu_w(self, families: Sequence[str] = ()) -> float:
        """What one vCPU draws: the mean over ``families``; over all machines where none is known.

        ``P = Pmin + u (Pmax - Pmin)`` (SCI, CCF).
        """
        known = [self.cpus[family] for family in families if family in self.cpus]
        known = known or [CpuPower(self.min_w_per_vcpu, self.max_w_per_vcpu)]
        return fmean(cpu.idle_w + self.utilisation * (cpu.max_w - cpu.idle_w) for cpu in known)

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
    families: Sequence[str] = (),
) -> float:
    """IT load of a run in W, before PUE: ``P = Pmin + u (Pmax - Pmin)`` for each part (SCI, CCF).

    ``families`` are the instance families it may run on, or the one it ran on.

    Raises:
        InvalidInput: a GPU model without a coefficient.
    """
    load = methodology.utilisation
    power = vcpus * methodology.vcpu_w(families) + memory_gib * methodology.w_per_memory_gib
    if gpus:
        try:
            gpu = methodology.gpus[(gpu_model or "").lower()]
        except KeyError:
            raise InvalidInput(
                "resources.gpu_model", gpu_model, "one of " + ", ".join(sorted(methodology.gpus))
            ) from None
        power += gpus * (gpu.idle_w + load * (gpu.max_w - gpu.idle_w))
    return power


def families_of(machine: str | None) -> tuple[str, ...]:
    """The instance family of a machine type, as ``m6i`` of ``m6i.xlarge``, ``n2`` of
    ``n2-standard-4``; none where the type is not known.
    """
    return (re.split(r"[.-]", machine, maxsplit=1)[0],) if machine else ()


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
