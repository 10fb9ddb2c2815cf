#!/usr/bin/env bash
# Compile the groups of pyproject.toml into requirements/*.txt. Run through `make lock`, after changing a group.
set -euo pipefail
cd "$(dirname "$0")/.."
source dev/uv.sh

lock() { # FILE ARGUMENTS...: keeps the versions that FILE has unless they no longer fit
    local file=requirements/$1
    shift
    "$UV" pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header \
        --output-file "$file" pyproject.toml "$@"
}

lock control.txt --group control
lock control-test.txt --group control --group test --group lint --constraint requirements/control.txt
lock data-cpu.txt --group data --group cpu --override requirements/overrides.txt "${TORCH[@]}"
lock data-cpu-test.txt --group data --group cpu --group test --group data-test --group lint --group assets \
    --override requirements/overrides.txt --constraint requirements/data-cpu.txt "${TORCH[@]}"
UV_FIND_LINKS='' lock data-gpu.txt --group data --group gpu
lock s3.txt --group s3
lock deploy.txt --group deploy
