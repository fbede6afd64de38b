#!/bin/sh
# Makes sure the machine has what the tests need besides Python packages: installs it where this runs as root on Debian
# or Ubuntu, otherwise names everything that is missing in one message.
set -eu

if ! command -v cargo >/dev/null 2>&1; then
    echo "The tests are of the native engine too and need Rust: https://rustup.rs" >&2
    exit 1
fi

missing=""
need() { # package, then a command that succeeds when it is there
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has_vulkan_driver() { ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json 2>/dev/null | grep -q .; }
has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
has_library() { ldconfig -p 2>/dev/null | grep -q "$1"; }

need chromium has_chromium
need redis-server command -v redis-server
need mesa-vulkan-drivers has_vulkan_driver
need libvulkan1 has_library libvulkan.so.1
need nodejs command -v node
need npm command -v npm
need fonts-noto-cjk sh -c "find /usr/share/fonts -name 'NotoSansCJK*' | grep -q ."

[ -z "$missing" ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # shellcheck disable=SC2086
    apt-get install -y -q --no-install-recommends $missing
    exit 0
fi
echo "The tests need what this machine lacks. Install it, then run make test again:" >&2
echo "    sudo apt-get install$missing" >&2
exit 1
