"""The command ``lowtide``."""

from __future__ import annotations

import os
import sys

import typer

from clients.cli import (
    backtest,
    demo,
    dev,
    explain,
    jobs,
    ledger,
    prices,
    refresh,
    regret,
    signals,
    worker,
)

app = typer.Typer(
    name="lowtide",
    help=(
        "Run deferrable batch jobs in the cleanest legal region and hour before their deadline.\n\n"
        "New here? `lowtide demo` shows it all in a minute; `lowtide dev` runs it on this machine;"
        " `lowtide submit examples/manifest.yaml --wait` submits a job.\n\n"
        "Exit codes: 0 well, 1 the job or check failed, 2 bad input (nothing done),"
        " 3 Temporal or a worker out of reach."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("dev")(dev.dev)
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("submit")(jobs.submit)
app.command("list")(jobs.list_jobs)
app.command("show")(jobs.show)
app.command("explain")(explain.explain)
app.command("run-now")(jobs.run_now)
app.command("cancel")(jobs.cancel)
app.command("change-deadline")(jobs.change_deadline)
app.command("signals")(signals.signals)
app.command("regions")(signals.regions)
app.command("prices")(prices.prices)
app.command("backtest")(backtest.backtest)
app.command("regret")(regret.regret)
app.command("refresh")(refresh.refresh)
app.add_typer(ledger.app, name="ledger")


def run() -> None:
    """Entry point. Leaves by ``os._exit``: at interpreter exit the Temporal SDK's native thread
    can abort a short-lived process after its work is done (sdk-python issue 300), which would
    turn a good exit code into a signal.
    """
    code = 1
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - shown whole, then the same way out
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
