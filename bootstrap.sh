#!/usr/bin/env bash
# Installs what is missing, builds, and does one thing:
#   ./bootstrap.sh build    build/mitral
#   ./bootstrap.sh demo     the main job: phantom scans, teacher, student, plans, a segmented scan
#   ./bootstrap.sh test     all tests, also under the address and undefined-behaviour sanitizers
#   ./bootstrap.sh bench    mitral beside its peers; results in benchmarks/results
#   ./bootstrap.sh conformance    ONNX's backend suite, mitral beside its peers; the table in docs/conformance.md
#   ./bootstrap.sh exporters      models of every exporter beside the framework they come from (each in an environment of its own)
#   ./bootstrap.sh real-models    models from Python packages beside ONNX Runtime
# Run a second time it installs nothing. Python packages go into .venv, nowhere else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() { printf 'bootstrap.sh: %s\n' "$*" >&2; exit 1; }

packages=(gcc libc6-dev pkg-config python3-venv zlib1g-dev libprotobuf-c-dev protobuf-c-compiler libcmocka-dev libnifti-dev
  libpng-dev libjpeg-dev libtiff-dev libwebp-dev libopenjp2-7-dev libpcre2-dev libcjson-dev libxxhash-dev)

install_packages() {
  command -v dpkg-query >/dev/null || return 0 # not Debian or Ubuntu: meson names what it does not find
  local missing=() package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || fail "expected these packages to be installed: ${missing[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
    || fail "expected these packages to install: ${missing[*]}"
}

# A file of requirements is installed once for its contents; the stamp is inside the environment.
install_python() {
  local environment=$1 file=$2 stamp sum
  stamp="$environment/$(basename "$file").stamp"
  sum=$(sha256sum < "$file")
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && return 0
  [ -x "$environment/bin/python3" ] || python3 -m venv "$environment" || fail "expected python3 -m venv to make $environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$file"
  printf '%s' "$sum" > "$stamp"
}

build() { # folder, meson options…
  local folder=$1
  shift
  [ -f "$folder/build.ninja" ] || .venv/bin/meson setup "$folder" "$@" >/dev/null
  .venv/bin/ninja -C "$folder" ${NINJA_ARGUMENTS:-} | tail -n 1
}

case "${1:-}" in
  build | demo | test | bench | conformance | exporters | real-models) ;;
  *) fail "expected build, demo, test, bench, conformance, exporters or real-models, found '${1:-}'" ;;
esac
[ "$(uname -s)" = Linux ] || fail "expected Linux, found $(uname -s)"
install_packages
install_python .venv requirements.txt
PATH="$PWD/.venv/bin:$PATH"
case "$1" in
  build)
    build build
    echo "built build/mitral"
    ;;
  demo)
    build build
    exec bash examples/demo.sh
    ;;
  test)
    install_python .venv requirements-test.txt
    build build -Dwerror=true
    build build-sanitize -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1
    exec .venv/bin/python3 tests/run.py
    ;;
  exporters)
    build build
    exec .venv/bin/python3 tests/exporters/run.py "${@:2}"
    ;;
  real-models)
    build build
    install_python .venv requirements-test.txt
    exec .venv/bin/python3 tests/conformance/real_models.py "${@:2}"
    ;;
  bench)
    build build
    install_python .venv-bench benchmarks/requirements.txt
    exec .venv-bench/bin/python3 benchmarks/run.py "${@:2}"
    ;;
  conformance)
    build build
    install_python .venv-bench benchmarks/requirements.txt
    exec .venv-bench/bin/python3 tests/conformance/report.py "${@:2}"
    ;;
esac
