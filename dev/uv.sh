# Sourced: the project's own uv in $UV, and where CPU PyTorch comes from in $TORCH (arguments) or UV_FIND_LINKS.
# Packages come from wherever this machine's pip gets them: uv does not read pip's configuration, so it is told.
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3)}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "setup: $PYTHON is not Python 3.11; install python3.11 or set PYTHON" >&2
    exit 1
}
TOOLS=.assay/tools
export UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180}
UV=$PWD/$TOOLS/bin/uv
if ! [ -x "$UV" ]; then
    "$PYTHON" -m venv "$TOOLS"
    "$TOOLS/bin/pip" install --quiet --disable-pip-version-check --requirement requirements/uv.txt
fi

configured() { "$TOOLS/bin/pip" config get "global.$1" 2>/dev/null || true; }
index=${PIP_INDEX_URL:-$(configured index-url)}
[ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}

TORCH=()
links=${PIP_FIND_LINKS:-$(configured find-links)}
for folder in $links; do
    if compgen -G "$folder/torch-*+cpu-cp311-*.whl" >/dev/null; then
        export UV_FIND_LINKS=$folder
    fi
done
[ -n "${UV_FIND_LINKS:-}" ] || TORCH=(--torch-backend cpu)
