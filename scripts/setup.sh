#!/bin/sh
# Checks this machine for what `make run` (or, with `test`, `make test`) needs and installs what is missing by apt-get,
# after saying what and why. Exits with 4 when a person must do something first, and says what.
set -eu

purpose=${1:-run}
rust_min=88 # minor version of the `rust-version` in Cargo.toml

stop() {
    printf '\nframegate cannot go on: %s\n' "$1" >&2
    exit 4
}

# package | the command or pkg-config module that shows it is there | why
packages() {
    cat <<'LIST'
gcc|cc|links the programs, compiles processors
pkg-config|pkg-config|finds the libraries below
libssl-dev|module openssl|OpenSSL: encryption of WebRTC
libavcodec-dev|module libavcodec|FFmpeg: decodes video
libavformat-dev|module libavformat|FFmpeg: files
libavutil-dev|module libavutil|FFmpeg: what the other two share
libswscale-dev|module libswscale|FFmpeg: pictures of other kinds in files
libyuv-dev|file /usr/include/libyuv.h|scales pictures
libclang-dev|file /usr/lib/llvm-*/lib/libclang.so* /usr/lib*/libclang.so* /usr/lib/*-linux-gnu/libclang*.so*|reads FFmpeg's headers for Rust
clang|clang|the same; for tests the second compiler
LIST
    [ "$purpose" = test ] || return 0
    cat <<'LIST'
g++|c++|the tests compile the C header as C++
chromium|chromium|the browser the tests drive
nodejs|node|runs the browser tests
npm|npm|installs what they need
python3|python3|runs a second WebRTC client, aiortc
python3-venv|module_python ensurepip|keeps aiortc inside target/venv
iproute2|ip|network namespaces for tests
cmake|cmake|builds examples/existing-library
libopencv-dev|module opencv4|OpenCV: examples/cpp
opencv-data|file /usr/share/opencv4/haarcascades/haarcascade_frontalface_alt.xml|what a face looks like, for faces.cpp
libzbar-dev|module zbar|bar codes: examples/foreign/zbar.c, examples/cpp/qr.cpp
libapriltag-dev|module apriltag|examples/foreign/apriltag.c
libdlib-dev|module dlib-1|examples/foreign/dlib.cpp
libblas-dev|module blas|dlib links it
liblapack-dev|module lapack|dlib links it
curl|curl|speaks HTTP to the program
libgstreamer1.0-dev|module gstreamer-1.0|GStreamer: its elements as processors
libgstreamer-plugins-base1.0-dev|module gstreamer-video-1.0|the same: pictures
gstreamer1.0-plugins-good|file /usr/lib/*/gstreamer-1.0/libgsteffectv.so|elements that the tests use
gstreamer1.0-plugins-bad|file /usr/lib/*/gstreamer-1.0/libgstzbar.so|the same: a reader of bar codes
LIST
}

there() {
    case $1 in
        module_python\ *) /usr/bin/python3 -c "import ${1#* }" 2>/dev/null ;;
        module\ *) command -v pkg-config >/dev/null && pkg-config --exists "${1#* }" ;;
        # shellcheck disable=SC2086 # the patterns must expand
        file\ *) [ -n "$(ls ${1#* } 2>/dev/null)" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

missing_packages() {
    packages | while IFS='|' read -r package sign why; do
        there "$sign" || printf '%s|%s\n' "$package" "$why"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_missing() {
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    names=$(printf '%s\n' "$missing" | cut -d'|' -f1 | tr '\n' ' ')
    echo "framegate needs, and does not find:"
    printf '%s\n' "$missing" | awk -F'|' '{ printf "    %-18s %s\n", $1, $2 }'
    command -v apt-get >/dev/null ||
        stop "there is no apt-get here. Install the list above (Debian's names) with your system's tool, then try again."
    line="apt-get install -y --no-install-recommends $names"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        stop "installing needs root. As root, run:  $line"
    echo "Installing them with: $line"
    # shellcheck disable=SC2086 # a list of names
    apt_install $names || { as_root apt-get update -q && apt_install $names; } ||
        stop "apt-get failed. As root, run:  $line"
    left=$(missing_packages | cut -d'|' -f1 | tr '\n' ' ')
    [ -z "$left" ] || stop "these are installed and still not found in PATH or by pkg-config: $left"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y -q --no-install-recommends "$@"
}

check_rust() {
    remedy="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default"
    command -v cargo >/dev/null && command -v rustc >/dev/null || stop "Rust is missing. Install it with:  $remedy"
    version=$(rustc --version | cut -d' ' -f2)
    minor=$(printf '%s' "$version" | cut -d. -f2)
    [ "$minor" -ge "$rust_min" ] || stop "Rust $version is too old, 1.$rust_min is needed. With rustup:  rustup update stable
without:  $remedy"
    if [ "$purpose" = test ]; then
        cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
            stop "rustfmt or clippy is missing. Run:  rustup component add rustfmt clippy"
    fi
}

check_disk() {
    profile=release need_gib=4
    if [ "$purpose" = test ]; then profile=debug need_gib=8; fi
    [ ! -d "${CARGO_TARGET_DIR:-target}/$profile/deps" ] || return 0 # the space is taken already
    free_gib=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free_gib" -ge "$need_gib" ] || stop "building needs $need_gib GiB of disk here, $free_gib GiB are free."
}

cd "$(dirname "$0")/.."
[ "$(uname -s)" = Linux ] || stop "it runs on Linux only: engines use its sandbox. A virtual machine or container will do."
check_disk
install_missing
check_rust
