#!/usr/bin/env bash
# Check what can be checked without a Docker engine: the compose file against Compose itself and
# the published schema, the Dockerfiles with hadolint, the set-up scripts with sh -n.
# Usage: infra/check.sh PATH_TO_VENV_BIN
set -euo pipefail
bin=$1
compose=docker-compose.temporal.yml
export POSTGRES_PASSWORD=checked-only
"$bin/docker-compose" --file "$compose" config --quiet
"$bin/check-jsonschema" --builtin-schema vendor.compose-spec "$compose"
"$bin/hadolint" Dockerfile Dockerfile.job infra/lambda/Dockerfile
for script in infra/compose/*.sh; do sh -n "$script"; done
echo "infrastructure files: compose, Dockerfiles and scripts are well-formed"
