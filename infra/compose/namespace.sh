#!/bin/sh
# Create the namespace `lowtide` and its search attributes. Idempotent. The worker registers the
# attributes too and refuses to start on a type conflict; here they exist before it is deployed.
set -eu
export TEMPORAL_NAMESPACE=lowtide
until temporal operator cluster health >/dev/null 2>&1; do sleep 1; done
temporal operator namespace describe >/dev/null 2>&1 ||
  temporal operator namespace create --retention 720h
for name in Phase Outcome Region CapacityType JobClass Tenant Urgency; do
  temporal operator search-attribute create --name "$name" --type Keyword
done
for name in PlannedStart Deadline; do
  temporal operator search-attribute create --name "$name" --type Datetime
done
for name in CarbonPlanned AvoidedGrams; do
  temporal operator search-attribute create --name "$name" --type Double
done
