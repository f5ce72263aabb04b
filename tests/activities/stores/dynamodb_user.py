"""A process of its own that uses a table: run with ``-m``, by tests that kill it or race it.

chain URL TABLE JOB                  as ``sqlite_user`` does
race URL TABLE PREFIX COUNT LIMIT    as ``sqlite_user`` does, for LIMIT vCPUs
"""

from __future__ import annotations

import sys

from activities.stores.dynamodb import DynamoStore
from activities.stores.dynamodb_table import Table, connect
from tests.activities.stores.sqlite_user import chain, race

REGION = "eu-central-1"


def opened(url: str, name: str) -> DynamoStore:
    """A store with a client of its own, all in one table."""
    table = Table(connect(REGION, url), name)
    return DynamoStore(table, table)


if __name__ == "__main__":
    what, url, table_name, *arguments = sys.argv[1:]
    with opened(url, table_name) as store:
        if what == "chain":
            chain(store, *arguments)
        else:
            prefix, count, limit = arguments
            race(store, prefix, int(count), int(limit))
