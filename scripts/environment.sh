# The virtual environment of this checkout; read by scripts/ramekin and scripts/test.
# Sets $root and $venv; `prepare EXTRA` makes or brings up to date what lies in $venv.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=${RAMEKIN_VENV:-$root/.venv}

fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf ' hint: %s\n' "$2" >&2
    exit 1
}

# Runs a command as root, or fails when that takes a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

# Installs Debian packages; indexes are brought up to date first, twice if the mirror falters.
install_debian() {
    as_root apt-get update -qq || { sleep 5; as_root apt-get update -qq; } || return 1
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null
}

find_python() {
    for python in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    fail "no Python 3.11 or newer was found" "set PYTHON to one, or install Debian's python3"
}

make_environment() {
    find_python
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        can_install || fail "$python cannot make virtual environments: it lacks ensurepip" \
            "as root: apt-get install python3-venv"
        install_debian python3-venv || fail "python3-venv could not be installed"
    fi
    "$python" -m venv "$venv" || fail "the virtual environment $venv could not be made"
}

# A stamp for each set of dependencies holds the digest of the pyproject.toml that it was installed from.
prepare() {
    mkdir -p "$venv" || fail "$venv cannot be written" "set RAMEKIN_VENV to a folder that can"
    stamp=$venv/ramekin${1:+-$1}.stamp
    digest=$(sha256sum <"$root/pyproject.toml")
    log=$(mktemp)
    (
        flock 9 # two first runs at once
        if [ "$(cat "$stamp" 2>/dev/null)" != "$digest" ]; then
            echo "setting up $venv" >&2
            [ -x "$venv/bin/python" ] || make_environment
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root${1:+[$1]}" \
                </dev/null >"$log" 2>&1 || { cat "$log" >&2; fail "the dependencies could not be installed"; }
            printf '%s\n' "$digest" | tee "$stamp" >"$venv/ramekin.stamp"
        else
            touch "$stamp"
        fi
    ) 9>"$venv/ramekin.lock" || { rm -f "$log"; exit 1; }
    rm -f "$log"
}
