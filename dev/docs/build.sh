#!/usr/bin/env bash
# Build the documentation into .assay/site, in seconds. Any warning of Sphinx fails the build: a link to nothing, a
# missing anchor, a page that no navigation names. So does a resource that a page would load from another host.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf .assay/site
# -E: an unchanged page is read again too, because Sphinx tells the faults of a page only when it reads it.
.assay/docs/bin/sphinx-build -W --keep-going -q -E -c docs -d .assay/docs-cache . .assay/site
.assay/docs/bin/python dev/docs/check_site.py .assay/site
echo "docs: .assay/site/index.html"
