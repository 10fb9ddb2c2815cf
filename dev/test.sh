#!/usr/bin/env bash
# Run the tests, each in the environment it is about.
#   dev/test.sh fast          no engine, no server, nothing slow       dev/test.sh all     everything
#   dev/test.sh files F...    these files, folders or tests alone      dev/test.sh lint    ruff and mypy
#   K=EXPRESSION: only tests whose names match                         dev/test.sh types   mypy
#   dev/test.sh coverage      what the fast tests run of our code
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD:$PWD/plugins:$PWD/tests/startup RAY_USAGE_STATS_ENABLED=0 HF_HUB_OFFLINE=1
# Threads of a matrix product sleep while they wait. Several processes share the cores, and a thread that spins keeps
# the core from the one that is waited for.
export OMP_WAIT_POLICY=passive
unset PYTHONDONTWRITEBYTECODE # hundreds of processes would each compile our sources, and pytest rewrite every test

# The tests write thousands of small files, each synced as in production: in memory, where there is room for them.
if [ -w /dev/shm ] && [ "$(df --output=avail -B1G /dev/shm | tail -1)" -ge 8 ]; then
    TMPDIR=$(mktemp -d /dev/shm/assay.XXXX) # a short name: Ray's sockets lie below it
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
fi

CONTROL_TESTS=(tests/plugins tests/dags tests/dev tests/test_imports.py tests/test_rooms.py tests/security/control)
DATA_TESTS=(tests/ray_jobs tests/demo tests/docs tests/security/data)
DEPLOY_TESTS=(tests/docker tests/helm)
declare -A FOLDERS=([control]="${CONTROL_TESTS[*]} tests/e2e" [data]="${DATA_TESTS[*]}" [deploy]="${DEPLOY_TESTS[*]}")
# What mypy checks in which environment: where the libraries are that a file imports.
CONTROL_TYPES=(plugins/assay_airflow dags dev/in_process.py tests/plugins tests/dags tests/dev tests/security/control
    tests/test_imports.py tests/e2e tests/docker tests/helm tests/cases/run_dag.py)
DATA_TYPES=(ray_jobs demo benchmarks dev tests/conftest.py tests/{browser,release_corpus,recorded_run,stage_versions,s3_server,moto_server,start_swift,lying_s3,forked_processes}.py
    tests/cases tests/demo tests/docs tests/startup tests/security/data tests/security/odd_folders.py
    tests/security/{fuzz,planted}_targets tests/ray_jobs)
ENGINE=tests/ray_jobs/engine
# After Airflow's tests, so that the three sides take as long.
AFTER_CONTROL=(tests/ray_jobs/test_preprocess.py tests/ray_jobs/fields tests/ray_jobs/checkpoints)
# What these import takes seconds, and nothing in them runs without an engine, or in the inner loop.
mapfile -t WHOLE < <(grep -rl --include '*.py' "^pytestmark = \[\?pytest.mark.integration" "${DATA_TESTS[@]}")
mapfile -t SLOW < <(grep -rl --include '*.py' "^pytestmark = pytest.mark.slow" "${DATA_TESTS[@]}")
failed=0

run() { # ENVIRONMENT PYTEST-ARGUMENTS...: go on after a failure, so that one run tells everything
    local home=.assay/$1
    shift
    echo "== $home: pytest $*"
    "$home/bin/python" -m pytest "$@" || failed=1
}

lint() {
    echo "== ruff, mypy"
    .assay/control/bin/ruff check . || failed=1
    .assay/control/bin/ruff format --check --quiet . || { echo "run: make format"; failed=1; }
    .assay/control/bin/python dev/check_remote_code.py ray_jobs plugins dags demo benchmarks dev || failed=1
    types
}

types() {
    # What plugins import of ray_jobs is checked in the other environment, with the libraries that its functions import.
    local control=(.assay/control/bin/mypy --follow-imports silent --cache-dir .mypy_cache/control)
    local data=(.assay/data/bin/mypy --cache-dir .mypy_cache/data)
    "${control[@]}" --exclude '/conftest\.py$' "${CONTROL_TYPES[@]}" || failed=1
    "${data[@]}" --exclude '/conftest\.py$|^dev/in_process\.py$|/run_dag\.py$' "${DATA_TYPES[@]}" || failed=1
    # By their modules' whole names: in folders that mypy searches, all of them would be called `conftest`.
    mapfile -t modules < <(conftests "${CONTROL_TYPES[@]}")
    "${control[@]}" "${modules[@]}" || failed=1
    mapfile -t modules < <(conftests "${DATA_TYPES[@]}")
    "${data[@]}" "${modules[@]}" || failed=1
}

conftests() { # PATH...: arguments that name each conftest.py below them as a module
    find "$@" -name conftest.py | sed 's|^|--module=|; s|/|.|g; s|\.py$||'
}

environment_of() { # PATH of a file, a folder or a test: the environment that it is about
    local name folder
    for name in "${!FOLDERS[@]}"; do
        for folder in ${FOLDERS[$name]}; do
            [[ $1 != "$folder" && $1 != "$folder"[/:]* ]] || { echo "$name"; return; }
        done
    done
    echo "test: no environment has $1: name files or folders of ${FOLDERS[*]}" >&2
    return 2
}

files() { # PATH...: each in its environment, with every mark
    local path name
    local -A of=()
    for path in "$@"; do
        path=${path#"$PWD"/} path=${path#./} path=${path%/}
        [ -e "${path%%::*}" ] || { echo "test: there is no ${path%%::*}" >&2; exit 2; }
        name=$(environment_of "$path") || exit 2
        of[$name]+=" $path"
    done
    for name in control data deploy; do
        [ -n "${of[$name]:-}" ] || continue
        # A test of one plane may start the other one, and the S3 server.
        if [ $name = deploy ]; then dev/setup.sh deploy; else dev/setup.sh control data s3; fi
        # shellcheck disable=SC2086
        run $name ${of[$name]} ${K:+-k "$K"}
    done
}

beside() { # FUNCTION...: run them side by side; what the last prints comes at once, what the others print after it
    local log logs=() pids=() last=${*: -1}
    for lane in "${@:1:$#-1}"; do
        log=$(mktemp)
        ("$lane"; exit $failed) >"$log" 2>&1 &
        pids+=($!) logs+=("$log")
    done
    "$last"
    for lane in "${!pids[@]}"; do
        wait "${pids[lane]}" || failed=1
        cat "${logs[lane]}" && rm "${logs[lane]}"
    done
}

FAST="not integration and not e2e and not slow"
control_fast() {
    run control -m "$FAST" "${CONTROL_TESTS[@]}"
}
data_fast() {
    run data -n 2 --dist worksteal -m "$FAST" "${DATA_TESTS[@]}" "${WHOLE[@]/#/--ignore=}" "${SLOW[@]/#/--ignore=}"
}
checks() {
    lint
    dev/docs/build.sh || failed=1
    run deploy "${DEPLOY_TESTS[@]}"
    run control -m "not integration" "${CONTROL_TESTS[@]}"
}
units() {
    run data -n 2 --dist worksteal -m "not integration" "${DATA_TESTS[@]}" "${WHOLE[@]/#/--ignore=}"
}
control() {
    run control -m "integration or e2e" --durations 8 "${CONTROL_TESTS[@]}" tests/e2e
    run data -m integration --durations 8 "${AFTER_CONTROL[@]}"
}
engine() {
    run data -m integration --durations 12 "$ENGINE"
}
other_data() {
    run data -m integration --durations 12 "${DATA_TESTS[@]}" "${AFTER_CONTROL[@]/#/--ignore=}" --ignore "$ENGINE"
}

coverage() { # what the fast tests run of our code: a report here, and pages in .assay/coverage
    local home=$PWD/.assay/coverage
    rm -rf "$home" && mkdir -p "$home"
    COVERAGE_FILE=$home/.coverage.control run control --cov --cov-report= -m "$FAST" "${CONTROL_TESTS[@]}"
    COVERAGE_FILE=$home/.coverage.data run data -n 2 --dist worksteal --cov --cov-report= -m "$FAST" \
        "${DATA_TESTS[@]}" "${WHOLE[@]/#/--ignore=}" "${SLOW[@]/#/--ignore=}"
    export COVERAGE_FILE=$home/.coverage
    .assay/data/bin/python -m coverage combine --quiet "$home"
    .assay/data/bin/python -m coverage html --quiet --directory "$home"
    .assay/data/bin/python -m coverage report --sort cover
}

case ${1:-all} in
lint | types | coverage)
    dev/setup.sh control data
    "$1"
    ;;
files)
    shift
    files "$@"
    ;;
fast)
    dev/setup.sh control data
    beside lint control_fast data_fast
    ;;
all)
    dev/browser.sh >/dev/null & # beside the environments
    dev/setup.sh control data s3 deploy docs
    wait $! || NO_BROWSER=1
    # First what computes: three processes on two cores, so that none is idle while one of them ends.
    beside checks units
    # Three sides, because each waits for engines and servers. `wait_until` counts no time of a busy machine.
    beside control engine other_data
    if [ -n "${NO_BROWSER:-}" ]; then
        echo "test: there is no browser here (apt-get install chromium), so these files' tests of pages did not run:"
        grep -rl --include "test_*.py" needs_browser tests
    fi
    ;;
*)
    echo "usage: dev/test.sh fast|all|lint|types|coverage|files FILE..." >&2
    exit 2
    ;;
esac
exit $failed
