# Make an empty virtual environment in $1, with the first Python here that is new enough.
set -eu

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
python=
for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$name" -c "$new_enough" >/dev/null 2>&1; then
        python=$name
        break
    fi
done
if [ -z "$python" ]; then
    echo "Python 3.11 or newer is needed; found: $(python3 --version 2>&1 || true)" >&2
    exit 1
fi

# Debian ships Python without the part that makes environments.
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $package ..."
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    else
        echo "$python cannot make virtual environments (Debian: sudo apt-get install $package)" >&2
        exit 1
    fi
fi

"$python" -m venv --clear "$1"
