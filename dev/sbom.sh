#!/usr/bin/env bash
# Write a CycloneDX bill of materials for each image: .assay/sbom/{control,data-cpu,data-gpu}.json.
# It is made from the locks, so it names the version and the hashes of every file that an image may hold.
set -euo pipefail
cd "$(dirname "$0")/.."
dev/setup.sh deploy
mkdir -p .assay/sbom
for lock in control data-cpu data-gpu; do
    .assay/deploy/bin/cyclonedx-py requirements "requirements/$lock.txt" --output-reproducible \
        --output-format JSON --output-file ".assay/sbom/$lock.json"
    echo ".assay/sbom/$lock.json"
done
