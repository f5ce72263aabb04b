"""``python -m examples.genomics``: one run, from where the last one was cut to the one result.

Exit codes: 0 a result stands, 1 it could not be kept, 2 bad arguments or environment and nothing
done, 143 told to end by SIGTERM.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from dataclasses import fields

from examples.genomics.analysis import Analysis, Parameters
from examples.genomics.checkpoints import Checkpoints
from examples.genomics.objects import ObjectsUnavailable, UnknownLocation, location
from examples.genomics.results import OtherResult, Results
from examples.genomics.run import SIGTERM_EXIT, BadEnvironment, Notice, Run

DONE, NOT_KEPT, BAD_INPUT = 0, 1, 2

log = logging.getLogger("genomics")


def main() -> int:
    """Run once; the exit code."""
    notice = Notice()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    parameters, checkpoint_every_s = arguments()
    try:
        work = Work(Run.of(os.environ), parameters, checkpoint_every_s, notice)
        return work.see_through()
    except (BadEnvironment, UnknownLocation) as error:
        log.error("%s", error)  # noqa: TRY400 - a mistake of whoever started it; no trace needed
        return BAD_INPUT
    except (ObjectsUnavailable, OtherResult) as error:
        log.error("the result cannot be kept: %s", error)  # noqa: TRY400 - of the storage
        return NOT_KEPT


def arguments() -> tuple[Parameters, float]:
    """What the command says: the analysis, and seconds between checkpoints."""
    parser = argparse.ArgumentParser(prog="genomics", description=__doc__)
    for each in fields(Parameters):
        option = f"--{each.name.replace('_', '-')}"
        parser.add_argument(option, type=type(each.default), default=each.default)
    parser.add_argument("--checkpoint-every-s", type=float, default=20.0)
    given = vars(parser.parse_args())
    checkpoint_every_s: float = given.pop("checkpoint_every_s")
    try:
        return Parameters(**given), checkpoint_every_s
    except ValueError as error:
        parser.error(str(error))


class Work:
    """One attempt at the job."""

    def __init__(
        self, run: Run, parameters: Parameters, checkpoint_every_s: float, notice: Notice
    ) -> None:
        """Reach where checkpoints and results are kept."""
        self._run = run
        self._parameters = parameters
        self._checkpoint_every_s = checkpoint_every_s
        self._notice = notice
        self._results = Results(location(run.output_uri, run.region), parameters.work)
        self._checkpoints = Checkpoints(
            location(run.checkpoint_uri, run.region), run.attempt, parameters.work
        )

    def see_through(self) -> int:
        """Work until the result stands or SIGTERM comes; the exit code."""
        log.info("%s attempt %d in %s", self._run.job, self._run.attempt, self._run.region)
        if standing := self._results.standing():
            log.info("nothing to do: %s stands", standing)
            return DONE
        analysis = Analysis(self._parameters, self._checkpoints.newest())
        resumed_at = analysis.next_read
        if not self._analyse(analysis):
            return SIGTERM_EXIT
        standing = self._results.commit(
            analysis.findings(),
            {
                "job": self._run.job,
                "attempt": self._run.attempt,
                "region": self._run.region,
                "resumed_at": resumed_at,
            },
        )
        log.info("%s stands", standing)
        return DONE

    def _analyse(self, analysis: Analysis) -> bool:
        """Align what is left; ``False`` when told to end first."""
        saved, saved_at = analysis.next_read, time.monotonic()
        while not analysis.done:
            if self._notice.given:
                if analysis.next_read > saved:
                    self._save(analysis)
                log.info("told to end at read %d", analysis.next_read)
                return False
            analysis.advance()
            if time.monotonic() - saved_at >= self._checkpoint_every_s:
                self._save(analysis)
                saved, saved_at = analysis.next_read, time.monotonic()
        return True

    def _save(self, analysis: Analysis) -> None:
        """Keep what is done so far. Losing a checkpoint costs work, never the result."""
        reads, of = analysis.next_read, self._parameters.reads
        try:
            self._checkpoints.save(analysis.state())
        except ObjectsUnavailable as error:
            log.warning("read %d of %d, no checkpoint: %s", reads, of, error)
        else:
            log.info("read %d of %d, checkpoint kept", reads, of)


if __name__ == "__main__":
    sys.exit(main())
