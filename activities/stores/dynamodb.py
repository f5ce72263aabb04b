"""The production store: DynamoDB behind the ports ``SignalStore``, ``Ledger``, ``Room`` and
``Documents``.

Two tables of one key schema, ``pk`` and ``sk``, both strings, and no index; they may be one table.
*Signals* may be a global table. *Ledger* is of one home region, since a transaction reaches no
further and a global table would let the last writer win. Failing over to another region is a
switch made on purpose, when the old one is fenced off.

========  =========================  ======================  ======================================
table     pk                         sk                      item
========  =========================  ======================  ======================================
signals   forecasts#SHARD            ZONE|SIGNAL             forecast; the only kind with TTL
signals   revision                   forecasts               changes with any forecast
signals   observed#ZONE|SIGNAL       start                   one observation
signals   observed                   longest-step            how far back one may begin
signals   documents                  NAME                    one document, whole
ledger    jobs#SHARD                 JOB                     row: manifest, head, outcome, room held
ledger    events#JOB                 place                   hash and canonical bytes, put if absent
ledger    blob#SHA256                part                    immutable content
ledger    room#UTC-DAY               REGION|CAPACITY-TYPE    24 hours of vCPUs and GPUs reserved
ledger    moved#SHARD                JOB#place               head of a chain that no root covers
ledger    unsettled#SHARD            JOB                     closed, with a run to account for
ledger    expiring#SHARD             expiry#JOB              holds room until then
ledger    roots                      number                  root; its heads are a blob
ledger    open-roots                 number                  its heads may still stand in ``moved``
========  =========================  ======================  ======================================

Places and numbers have ten digits, instants are ISO 8601 in UTC to the microsecond, so that both
sort. A job's shard is ``shard_of`` its name. The lists ``moved``, ``unsettled`` and ``expiring``
stand in for sparse indexes; ``dynamodb_jobs.py`` says why.

Reads are strongly consistent. Each write that depends on another is one ``TransactWriteItems``,
and each may safely be sent twice: a commit finds its first try by its events, not by a client
request token, which DynamoDB forgets after ten minutes.

Requests, with nobody in the way (and one for each further MB of a partition):

==========================  ====================================================================
refresh, 300 zones x 2      14, or 7 where nothing is new; and 1 for 25 new observations
reads of a decision         revision 1; forecasts 8, only when the revision has changed; room 1
                            for each UTC day, and 1 for the job's row; with live prices, 2 for
                            each worker in 30 s
commit of a decision        4, of which 2 for the blob of the room that it saw; the first after
                            a refresh also brings 600 forecasts: 6 to look for them, 24 to write
admission of a job          4
other commits               2
settlement pass             8 for each of three lists, 1 for open roots, and what is to be done:
settlement of a job         3 for its chain and commit, 2 for each series of observations, 2 for
                            the blob of these, 7 for its decision's inputs of 600 forecasts, or 1
                            where this process holds those of an earlier one
learned reclaim rates       2 for each pass that settled Spot runs
root                        8 at most, and 1 for each 25 chains that moved
==========================  ====================================================================

Limits: a claim touches 40 UTC days at most, an event has 390 KB at most. Infrastructure makes the
tables: on-demand capacity, point-in-time recovery, protection against deletion, and on signals a
TTL by ``expires_epoch_s``. A client needs GetItem, BatchGetItem, Query, BatchWriteItem, PutItem,
UpdateItem and DeleteItem (a transaction needs those of its parts); nothing here scans.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from activities.stores.dynamodb_documents import DynamoDocuments
from activities.stores.dynamodb_ledger import DynamoLedger
from activities.stores.dynamodb_room import DynamoRoom
from activities.stores.dynamodb_signals import DynamoSignals
from activities.stores.dynamodb_table import Table


class DynamoStore(DynamoSignals, DynamoDocuments, DynamoLedger, DynamoRoom):
    """Signals and documents in one table, ledger, blobs and room in another, or all in one.

    Threads and processes share it. The four ports also stand alone, each over its ``Table``.
    """

    def __init__(self, signals: Table, ledger: Table) -> None:
        """Hold the tables, each with a client of its region (``dynamodb_table.connect``)."""
        DynamoSignals.__init__(self, signals)
        DynamoDocuments.__init__(self, signals)
        DynamoLedger.__init__(self, ledger)

    def close(self) -> None:
        """Close both tables' connections."""
        self._signals.close()
        self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
