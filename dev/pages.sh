#!/usr/bin/env bash
# Builds the bundle of the pages in Airflow: plugins/assay_airflow/ui/web -> plugins/assay_airflow/ui/static, or FOLDER.
# It needs node and npm; users of Assay need neither, because the bundle is committed. Packages go into .assay/web.
# Exit status 3: npm could not install the packages.
set -euo pipefail
cd "$(dirname "$0")/.."

sources=plugins/assay_airflow/ui/web
out=$(realpath "${1:-plugins/assay_airflow/ui/static}")
home=$PWD/.assay/web

mkdir -p "$home" "$out"
exec 9> "$home.lock"
flock 9
rm -rf "$home/src" "$home/styles"
cp -r "$sources"/. "$home"
cd "$home"
if ! cmp -s package-lock.json node_modules/.installed.json; then
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || exit 3
    cp package-lock.json node_modules/.installed.json
fi
npm run --silent check
node build.mjs --outdir "$out"
