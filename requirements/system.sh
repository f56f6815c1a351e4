# Install what the tests need beside Python, where it is missing and we may; else say what to install.
#
# The tests start servers of their own. Those of the distribution are not needed, so their packages
# are kept from starting them.
set -eu

PATH=$PATH:/usr/sbin:/usr/local/sbin
missing=
lacks() { command -v "$1" >/dev/null || missing="$missing $2"; }

lacks mariadbd mariadb-server
lacks redis-server redis-server
lacks chromium chromium
# Without these a page full of Chinese is a page full of boxes.
if ! fc-list :lang=zh 2>/dev/null | grep -q .; then
    missing="$missing fonts-noto-cjk"
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The tests need:$missing (Debian: sudo apt-get install$missing)" >&2
    exit 1
fi

echo "Installing$missing ..."
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
log=$(mktemp)
# fontconfig, too: it tells which fonts there are.
# shellcheck disable=SC2086
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    $missing fontconfig; } </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    echo "Installing$missing failed; the lines above say why." >&2
    exit 1
fi
rm -f "$log"
