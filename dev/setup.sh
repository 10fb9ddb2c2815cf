#!/usr/bin/env bash
# Make the project's environments under .assay/ from the locks. An environment whose lock did not change is left alone.
#   dev/setup.sh control data s3 deploy docs
set -euo pipefail
cd "$(dirname "$0")/.."
source dev/uv.sh

declare -A LOCK=([control]=control-test [data]=data-cpu-test [s3]=s3 [deploy]=deploy [docs]=docs)

for name in "$@"; do
    lock=requirements/${LOCK[$name]}.txt home=.assay/$name
    stamp=$(cat "$lock" dev/setup.sh dev/torchvision_cpu.py | sha256sum)
    if [ "$(cat "$home/.stamp" 2>/dev/null)" = "$stamp" ]; then
        continue
    fi
    echo "setup: installing $lock into $home"
    [ -x "$home/bin/python" ] || "$UV" venv --quiet --python "$PYTHON" "$home"
    # Every file is compared with its hash in the lock. The CPU build of PyTorch has none there: see lock.sh.
    how=(--require-hashes)
    [ "$name" != data ] || how=(--verify-hashes "${TORCH[@]}")
    # Compiled once here: every Ray worker and Airflow task would compile torch and Airflow again where it may not write.
    "$UV" pip sync --quiet --compile-bytecode --python "$home/bin/python" "${how[@]}" "$lock"
    if [ "$name" = data ] && ! "$home/bin/python" -c 'import torchvision' 2>/dev/null; then
        site=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
        cp dev/torchvision_cpu.py "$site/assay_torchvision_cpu.py"
        echo 'import assay_torchvision_cpu' >"$site/assay_torchvision_cpu.pth"
        "$home/bin/python" -c 'import torchvision'
    fi
    echo "$stamp" >"$home/.stamp"
done
