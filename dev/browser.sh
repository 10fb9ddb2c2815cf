#!/usr/bin/env bash
# Print the path of a Chromium for the tests of pages. If there is none, install Debian's, where this user may.
# Fails if there is none after that: the tests that need one are then skipped.
set -euo pipefail
find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

find_browser && exit
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
echo "setup: installing chromium, for the tests of pages" >&2
export DEBIAN_FRONTEND=noninteractive
{
    apt-get update --quiet || true # an old list of packages may do
    timeout 600 apt-get install --quiet --yes --no-install-recommends chromium fonts-dejavu-core
} >&2 2>/dev/null || true
find_browser
