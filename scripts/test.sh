#!/usr/bin/env bash
# Everything that must hold, in the order in which it fails fastest. `make test` installs what this needs first.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

step() {
    printf '\n== %s\n' "$*"
    local begin=$SECONDS
    "$@" || { printf '\nFAILED after %s s: %s\n' "$((SECONDS - begin))" "$*" >&2; exit 1; }
    printf '== %s s\n' "$((SECONDS - begin))"
}

# For Rust tests of Python processors, for the package's own tests and types.
python_environment() {
    [ -x "$target/venv-python/bin/python" ] || /usr/bin/python3 -m venv "$target/venv-python"
    "$target/venv-python/bin/pip" install --quiet --disable-pip-version-check -r tests/python/requirements.txt
}

python_tests() {
    "$target/venv-python/bin/python" -m mypy --strict sdk/python/framegate &&
        "$target/venv-python/bin/python" -m unittest discover -s tests/python -v
}

rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --locked --no-fail-fast && cargo test --workspace --locked --doc
    else
        cargo test --workspace --locked --no-fail-fast
    fi
}

interop_tests() {
    [ -x "$target/venv/bin/python" ] || /usr/bin/python3 -m venv "$target/venv"
    "$target/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/interop/requirements.txt
    "$target/venv/bin/python" -m unittest discover -s tests/interop -v
}

# On real photographs: they come with a package and are never part of this repository.
example_tests() {
    [ -x "$target/venv-pictures/bin/python" ] || /usr/bin/python3 -m venv "$target/venv-pictures"
    "$target/venv-pictures/bin/pip" install --quiet --disable-pip-version-check -r tests/examples/requirements.txt
    "$target/venv-pictures/bin/python" -m unittest discover -s tests/examples -v
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
# The programs first: tests start them as a user does, side by side.
step cargo build --workspace --locked
step make --no-print-directory processors test-processors
step python_environment
step python_tests
step rust_tests
step cargo test --quiet --locked --manifest-path examples/rust/motion-heatmap/Cargo.toml
step npm ci --prefix tests/browser --no-audit --no-fund
step npm test --prefix tests/browser
step interop_tests
step example_tests
printf '\nAll of make test holds: %s s\n' "$SECONDS"
