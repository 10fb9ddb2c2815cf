#!/usr/bin/env bash
# Make the project's environments under .assay/ from the locks. An environment whose lock did not change is left alone.
#   dev/setup.sh control data s3 deploy docs
set -euo pipefail
cd "$(dirname "$0")/.."
source dev/uv.sh

declare -A LOCK=([control]=control-test [data]=data-cpu-test [s3]=s3 [deploy]=deploy [docs]=docs)

install_lock() { # ENVIRONMENT
    local home=.assay/$1 lock=requirements/${LOCK[$1]}.txt stamp how site
    stamp=$(cat "$lock" dev/setup.sh dev/torchvision_cpu.py | sha256sum)
    [ "$(cat "$home/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    echo "setup: installing $lock into $home"
    [ -x "$home/bin/python" ] || "$UV" venv --quiet --python "$PYTHON" "$home"
    # Every file is compared with its hash in the lock. The CPU build of PyTorch has none there: see lock.sh.
    how=(--require-hashes)
    [ "$1" != data ] || how=(--verify-hashes "${TORCH[@]}")
    # Compiled once here: every Ray worker and Airflow task would compile torch and Airflow again where it may not write.
    "$UV" pip sync --quiet --compile-bytecode --python "$home/bin/python" "${how[@]}" "$lock"
    if [ "$1" = data ] && ! "$home/bin/python" -c 'import torchvision' 2>/dev/null; then
        site=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
        cp dev/torchvision_cpu.py "$site/assay_torchvision_cpu.py"
        echo 'import assay_torchvision_cpu' >"$site/assay_torchvision_cpu.pth"
        "$home/bin/python" -c 'import torchvision'
    fi
    rm -f "$home/.stamp-assay" # uv has just removed Assay itself, because the lock does not name it
    echo "$stamp" >"$home/.stamp"
}

# Assay itself, for the command `assay`. It stays in this folder: the environment only points here.
install_assay() { # ENVIRONMENT
    local home=.assay/$1 stamp
    stamp=$(cat pyproject.toml requirements/build.txt <(pwd) | sha256sum)
    [ "$(cat "$home/.stamp-assay" 2>/dev/null)" != "$stamp" ] || return 0
    # The packages that build it are compared with their hashes too.
    "$UV" pip install --quiet --no-deps --python "$home/bin/python" --build-constraints requirements/build.txt --editable .
    echo "$stamp" >"$home/.stamp-assay"
}

for name in "$@"; do
    install_lock "$name"
    case $name in control | data) install_assay "$name" ;; esac
done
