#!/bin/sh
# Create and update Temporal's two databases. Idempotent: run at every start of the stack.
set -eu
schemas=/etc/temporal/schema/postgresql/v12
for pair in temporal:temporal temporal_visibility:visibility; do
  database=${pair%%:*}
  tree=${pair##*:}
  temporal-sql-tool --database "$database" create-database || true # it may be there already
  temporal-sql-tool --database "$database" setup-schema --version 0.0 || true
  temporal-sql-tool --database "$database" update-schema --schema-dir "$schemas/$tree/versioned"
done
