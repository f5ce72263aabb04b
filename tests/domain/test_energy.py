from __future__ import annotations

import dataclasses
import hashlib

import pytest

from domain.energy import (
    METHODOLOGY,
    GpuPower,
    Methodology,
    embodied_g,
    energy_kwh,
    families_of,
    it_power_w,
    transfer_kwh,
)
from domain.errors import InvalidInput


def test_a_run_reckoned_by_hand() -> None:
    """4 vCPUs, 16 GiB and one T4 for 2 hours in Frankfurt, each coefficient written out.

    vCPUs: 4 x (0.74 + 0.5 x (3.50 - 0.74)) = 4 x 2.12 = 8.48 W; memory: 16 x 0.392 = 6.272 W;
    GPU: 8 + 0.5 x (71 - 8) = 39.5 W; together 54.252 W. Over 2 h at a PUE of 1.35:
    54.252 x 2 / 1000 x 1.35 = 0.1464804 kWh. Embodied: 2 x (4 x 0.5 + 1 x 4.3) = 12.6 g.
    """
    power_w = it_power_w(METHODOLOGY, vcpus=4, memory_gib=16, gpus=1, gpu_model="t4")
    assert power_w == pytest.approx(54.252, abs=1e-12)
    assert energy_kwh(power_w, hours=2, pue=1.35) == pytest.approx(0.1464804, abs=1e-12)
    assert embodied_g(METHODOLOGY, vcpus=4, gpus=1, hours=2) == pytest.approx(12.6, abs=1e-12)
    assert transfer_kwh(METHODOLOGY, gib=10) == pytest.approx(0.1073741824, abs=1e-12)


def test_utilisation_lies_between_idle_and_full() -> None:
    """At 0 the idle draw, at 1 the full one."""
    idle = dataclasses.replace(METHODOLOGY, utilisation=0.0)
    full = dataclasses.replace(METHODOLOGY, utilisation=1.0)
    assert it_power_w(idle, 1, 0, 1, "a10g") == pytest.approx(0.74 + 18)
    assert it_power_w(full, 1, 0, 1, "a10g") == pytest.approx(3.50 + 153)


def test_a_gpu_model_is_known_in_any_case_or_refused() -> None:
    """``T4`` is a T4; an unknown model has no coefficient and is never taken for nothing."""
    assert it_power_w(METHODOLOGY, 1, 1, 1, "T4") == it_power_w(METHODOLOGY, 1, 1, 1, "t4")
    with pytest.raises(InvalidInput, match=r"resources.gpu_model: z9 .* one of a100, a100-80"):
        it_power_w(METHODOLOGY, 1, 1, 1, "z9")
    assert it_power_w(METHODOLOGY, 1, 1, 0, "z9") == it_power_w(METHODOLOGY, 1, 1)


def test_a_known_family_has_its_own_draw() -> None:
    """16 vCPUs and 32 GiB of a c7i at half load: 16 x 2.598 + 32 x 0.392 = 54.1 W, a worked
    example of the coefficients' look-up; pinned families count by their mean.
    """
    assert it_power_w(METHODOLOGY, 16, 32, families=("c7i",)) == pytest.approx(54.112)
    of_both = [it_power_w(METHODOLOGY, 1, 0, families=(name,)) for name in ("m6i", "m6g")]
    mean = it_power_w(METHODOLOGY, 1, 0, families=("m6i", "m6g"))
    assert mean == pytest.approx(sum(of_both) / 2)


@pytest.mark.parametrize(
    ("machine", "families"),
    [
        ("m6i.xlarge", ("m6i",)),
        ("c7g.metal", ("c7g",)),
        ("n2-standard-4", ("n2",)),
        ("", ()),
        (None, ()),
    ],
)
def test_a_machine_type_names_its_family(machine: str | None, families: tuple[str, ...]) -> None:
    """As either cloud writes it; one that is not known draws the mean of all machines."""
    assert families_of(machine) == families
    assert it_power_w(METHODOLOGY, 2, 4, families=families_of("z9.large")) == it_power_w(
        METHODOLOGY, 2, 4
    )


def test_the_methodology_is_its_canonical_form() -> None:
    """What a ledger blob holds is the same methodology, to the last coefficient."""
    other = dataclasses.replace(METHODOLOGY, version="2027.1", gpus={"x": GpuPower(1.5, 2.5)})
    for methodology in (METHODOLOGY, other):
        again = Methodology.from_json(methodology.as_json())
        assert again == methodology
        assert again.canonical() == methodology.canonical()
        assert hashlib.sha256(methodology.canonical()).hexdigest() == methodology.sha256


def test_no_coefficient_changes_without_a_version() -> None:
    """A change of any coefficient changes this hash: then ``version`` must change as well."""
    assert METHODOLOGY.version == "2026.2"
    assert METHODOLOGY.sha256 == "2d192c083eb6619981d87cfc00300f9fe19ae46c5b8cb11259092d5eb50f9f8f"
