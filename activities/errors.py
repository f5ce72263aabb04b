"""What can go wrong at the edge.

LowtideError (domain)
└── ActivityFault
    ├── SpecConflict       a run's name is taken by another specification; never retried
    ├── RunStillAlive      a run asked to end has not ended yet; retried
    ├── RunRefused         a compute backend cannot run this as it is; trying again cannot help
    ├── ComputeUnavailable a compute backend does not serve us for now; retried
    ├── ManifestUnknown    the hash names no manifest that we hold; retried (calls.py says why)
    ├── StoreVersion       a store's file is of another schema than this build's
    ├── SecretMissing      a secret is not where it is looked for
    ├── SecretsUnavailable the secret store does not answer, or refuses us
    ├── StoreUnavailable   a store is out of reach, fails or refuses us; retried
    ├── StoreContended     others kept a store's items busy for too long; retried
    ├── StepTooLarge       a step is more than the store takes at once; never retried
    ├── BundleUnreadable   an exported ledger is not of the form that verify needs
    ├── ProviderFault      a provider of signals or prices did not serve us
    │   ├── ProviderDown       it serves nobody for now: the next refresh asks again
    │   └── AnswerRefused      one zone's or region's answer that was not given or cannot be trusted
    ├── ProviderMisconfigured  a provider cannot be used as it was set up
    └── HistoryFault       a history did not take or give observations; decisions go on
"""

from __future__ import annotations

from domain.errors import LowtideError, Unavailable


class ActivityFault(LowtideError):
    """A step at the edge did not come through."""


class SpecConflict(ActivityFault):
    """The run's name is taken by a run of another specification."""

    def __init__(self, run: str) -> None:
        super().__init__(f"run {run} exists with another specification; it was left alone")


class RunStillAlive(ActivityFault):
    """A run that was asked to end is still there."""

    def __init__(self, run: str, state: str) -> None:
        super().__init__(f"run {run} was asked to end and is still {state}")


class RunRefused(ActivityFault):
    """A compute backend cannot run this as it is: its answer, or what was found before asking."""

    def __init__(self, run: str, why: str) -> None:
        super().__init__(f"run {run} was refused: {why}")


class ComputeUnavailable(ActivityFault, Unavailable):
    """A compute backend is out of reach, failing or throttling; what came of a request that was
    under way is not known.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where} did not serve us: {what}")


class ManifestUnknown(ActivityFault):
    """A manifest's hash leads to no content."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"no manifest with SHA-256 {sha256}")


class StoreVersion(ActivityFault):
    """A store's file was laid out by another build."""

    def __init__(self, file: str, found: int, needed: int) -> None:
        super().__init__(
            f"{file} has schema version {found}; this build needs {needed}:"
            " use the build that made it, or another state folder"
        )


class StoreUnavailable(ActivityFault, Unavailable):
    """A store is out of reach, fails or refuses us; what came of a write that was under way is not
    known. Names no secret.
    """

    def __init__(self, store: str, what: str) -> None:
        super().__init__(f"store {store}: {what}")


class StoreContended(ActivityFault):
    """Others kept changing the items that a step needs; nothing of it was written."""

    def __init__(self, store: str, step: str) -> None:
        super().__init__(f"{store}: {step} gave way to others too often; try again")


class StepTooLarge(ActivityFault):
    """A step is more than the store takes in one piece; trying again cannot help."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what}: {size:,} is not allowed; expected {limit:,} at most")


class BundleUnreadable(ActivityFault):
    """An exported ledger cannot be read."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__(f"{file}, line {line}: {what}")


class SecretMissing(ActivityFault):
    """A secret is not where it is looked for."""

    def __init__(self, name: str, remedy: str) -> None:
        super().__init__(f"secret {name} is missing; {remedy}")


class SecretsUnavailable(ActivityFault, Unavailable):
    """The secret store does not answer, or refuses us."""

    def __init__(self, where: str, kind: str) -> None:
        super().__init__(
            f"Vault did not give {where} ({kind}), and nothing young enough is held;"
            " see that it is in reach and that the worker's role may read there"
        )


class ProviderFault(ActivityFault):
    """A provider of signals or prices did not serve us; the message names no secret."""


class ProviderDown(ProviderFault):
    """It serves nobody for now: out of reach, failing, refusing our key, or left in peace."""


class AnswerRefused(ProviderFault):
    """One zone's or region's answer that was not given or cannot be trusted; others are kept."""


class ProviderMisconfigured(ActivityFault):
    """A provider of signals or prices cannot be used as it was set up."""

    def __init__(self, provider: str, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{provider}: {field} is {value}; allowed: {allowed}")


class HistoryFault(ActivityFault):
    """A history did not take or give observations; no decision reads it. Names no secret."""

    def __init__(self, history: str, what: str) -> None:
        super().__init__(f"history {history}: {what}")
