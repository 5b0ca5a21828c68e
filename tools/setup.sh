#!/bin/sh
# Makes .venv with storecast and everything it needs, or stops with one sentence
# that says what is missing.
#
#   sh tools/setup.sh          what `make demo` needs
#   sh tools/setup.sh --neural torch and XGBoost as well: every model
#   sh tools/setup.sh --dev    every extra, and the tools of the tests as well
#   sh tools/setup.sh --check  only says what would be done
#   PYTHON=/path/to/python3.12 sh tools/setup.sh
#
# .venv/.storecast-setup says how far it came, one fact a line: the state, what it
# was made from, main, neural or dev, the folder it was made in. "making" is what an
# interrupted run leaves behind, and such a .venv is made anew: pip can leave a
# package half-written that it then takes for whole.
set -eu

MAIN_MB=410        # wheels for Linux x86_64 and CPython 3.11
NEURAL_MB=610
DEV_MB=1180
NEEDED_KB=2500000  # .venv at its largest, the wheels it is made from included
MORE_KB=2500000    # what torch, Spark and the like need beside it
# Without it a Linux machine gets torch's CUDA build, gigabytes that most laptops cannot use.
TORCH_INDEX=https://download.pytorch.org/whl/cpu

main() {
    want=main
    check_only=no
    for argument in "$@"; do
        case $argument in
            --dev | --neural) want=${argument#--} ;;
            --check) check_only=yes ;;
            *) stop "$argument is no option of tools/setup.sh, which knows --neural, --dev and --check." ;;
        esac
    done
    root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
    cd -- "$root"
    # Uninterrupted by settings of an outer environment.
    unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
    state_file=.venv/.storecast-setup

    check_platform
    look_at_venv
    if [ "$state" = ready ]; then
        [ "$check_only" = no ] || say "nothing to do: .venv has Python $version and is up to date."
        return
    fi
    if [ "$state" = none ] || [ "$state" = broken ]; then
        find_python
    fi
    [ "$state" = installed ] || announce
    [ "$check_only" = no ] || return 0
    case $state in none | broken) make_venv ;; esac
    [ "$state" = installed ] || install_packages
    check_openmp
    write_state ready
    say "ready: .venv has storecast on Python $version."
}

say() { printf 'setup: %s\n' "$*"; }

stop() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

check_platform() {
    system=$(uname -s)
    machine=$(uname -m)
    case "$system $machine" in
        "Linux x86_64" | "Linux aarch64" | "Darwin arm64") ;;
        *) stop "storecast runs on Linux (x86_64, aarch64) and on macOS (arm64), but this is $system on $machine." ;;
    esac
    if [ "$system" = Linux ] && command -v getconf >/dev/null 2>&1; then
        libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc="another C library"
        case $libc in
            "glibc 2."[0-9] | "glibc 2.1"[0-9] | "glibc 2.2"[0-7] | "another C library")
                stop "the packages storecast needs are built for Linux with glibc 2.28 or newer, but this system has $libc." ;;
        esac
    fi
}

# Prints the version of an interpreter that really runs and can take the packages. A
# command that is found need not run: version managers leave such behind.
version_of() {
    "$1" -I -c '
import platform, sys, sysconfig
fits = (
    sys.implementation.name == "cpython"
    and sys.maxsize > 2**32
    and platform.machine() == sys.argv[1]
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)
print("%d.%d.%d" % sys.version_info[:3] if fits else "unfit")
' "$machine" 2>/dev/null </dev/null || true
}

supported() {
    case $1 in 3.11.* | 3.12.* | 3.13.* | 3.14.*) return 0 ;; *) return 1 ;; esac
}

minor() {
    rest=${1#3.}
    printf '%s' "${rest%%.*}"
}

has_venv() { "$1" -I -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null; }

# Sets state to ready, installed (packages in, OpenMP not yet seen to load), stale
# (works, but was made from other requirements), broken or none.
look_at_venv() {
    state=none
    version=
    [ -e .venv ] || [ -L .venv ] || return 0
    state=broken
    version=$(version_of .venv/bin/python)
    supported "$version" || return 0
    if [ -n "${PYTHON:-}" ]; then
        asked=$(version_of "$PYTHON")
        if supported "$asked" && [ "$(minor "$asked")" != "$(minor "$version")" ]; then
            return 0
        fi
    fi
    # Without the file somebody made this .venv by hand: it is completed, not replaced.
    if [ -f "$state_file" ]; then
        { read -r was && read -r from && read -r had && read -r where; } <"$state_file" || return 0
        [ "$was" != making ] && [ "$where" = "$root" ] || return 0
        if [ "$from" = "$(requirements)" ] && [ -x .venv/bin/storecast ]; then
            case "$had $want" in
                "main dev" | "main neural" | "neural dev") ;;
                *)
                    want=$had
                    state=$was
                    return 0 ;;
            esac
        fi
        # What a .venv has beside storecast stays up to date in it.
        case "$had $want" in
            "dev main" | "dev neural" | "neural main") want=$had ;;
        esac
    fi
    state=stale
}

# A fingerprint of all that decides what is installed.
requirements() {
    printf 'python3.%s %s' "$(minor "$version")" "$(cat pyproject.toml constraints.txt | cksum)"
}

write_state() {
    printf '%s\n%s\n%s\n%s\n' "$1" "$(requirements)" "$want" "$root" >"$state_file"
}

find_python() {
    python=
    if [ -n "${PYTHON:-}" ]; then
        version=$(version_of "$PYTHON")
        [ -n "$version" ] || stop "PYTHON=$PYTHON does not run; name a CPython 3.11 to 3.14 that does."
        supported "$version" || stop "PYTHON=$PYTHON is $(described "$version"), and storecast needs a 64-bit CPython 3.11 to 3.14 built for $machine."
        has_venv "$PYTHON" || stop_without_venv "$PYTHON" "$version"
        python=$PYTHON
        return 0
    fi
    bare=
    bare_version=
    version=3.0.0
    for candidate in python3.14 python3.13 python3.12 python3.11 python3 python; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        found=$(version_of "$candidate")
        supported "$found" || continue
        if ! has_venv "$candidate"; then
            [ -n "$bare" ] || { bare=$candidate && bare_version=$found; }
        elif [ "$(minor "$found")" -gt "$(minor "$version")" ]; then
            python=$candidate
            version=$found
        fi
    done
    [ -n "$python" ] || [ -z "$bare" ] || stop_without_venv "$bare" "$bare_version"
    [ -n "$python" ] || stop "no Python that runs storecast was found; install CPython 3.11 to 3.14 ($(how_to_get python)), or name one: make PYTHON=/path/to/python3."
}

described() {
    if [ "$1" = unfit ]; then printf 'another build of Python'; else printf 'Python %s' "$1"; fi
}

stop_without_venv() {
    stop "Python $2 ($1) has no venv module; install it ($(how_to_get venv "3.$(minor "$2")")), or name another Python: make PYTHON=/path/to/python3."
}

how_to_get() {
    if [ "$system" = Darwin ]; then
        case $1 in
            libomp) printf 'brew install libomp' ;;
            *) printf 'brew install python@3.13' ;;
        esac
    elif command -v apt-get >/dev/null 2>&1; then
        case $1 in
            python) printf 'apt-get install python3 python3-venv' ;;
            venv) printf 'apt-get install python%s-venv' "$2" ;;
            libomp) printf 'apt-get install libgomp1' ;;
        esac
    else
        case $1 in
            libomp) printf 'the package libgomp of your Linux' ;;
            *) printf 'the packages python3 and python3-venv of your Linux' ;;
        esac
    fi
}

announce() {
    if [ "$state" != stale ]; then
        free=$(df -Pk . | awk 'NR == 2 { print $4 }')
        if [ -d .venv ] && [ ! -L .venv ]; then
            used=$(du -sk .venv 2>/dev/null | awk '{ print $1 }')
            free=$((free + ${used:-0}))
        fi
        needed=$NEEDED_KB
        [ "$want" = main ] || needed=$((NEEDED_KB + MORE_KB))
        [ "$free" -ge "$needed" ] || stop_without_space "$((free / 1000)) MB"
    fi
    case $want in main) size=$MAIN_MB ;; neural) size=$NEURAL_MB ;; dev) size=$DEV_MB ;; esac
    case $state in
        none) say "Python $version ($python) makes .venv, and about $size MB will be downloaded." ;;
        broken) say "Python $version ($python) makes .venv anew, and up to $size MB will be downloaded." ;;
        stale) say "the .venv on Python $version is brought up to date, and up to $size MB will be downloaded." ;;
    esac
}

stop_without_space() {
    stop "the disk of $root has $1 free, and .venv needs about $((${needed:-NEEDED_KB} / 1000)) MB: make room and try again."
}

make_venv() {
    say "making .venv ..."
    rm -rf .venv
    mkdir .venv
    write_state making
    "$python" -m venv .venv >.venv/setup.log 2>&1 || stop_with_log "the virtual environment could not be made"
}

install_packages() {
    before=$(cat "$state_file" 2>/dev/null) || before=
    write_state making
    # pip unpacks beside the packages: a small /tmp does not matter.
    mkdir -p .venv/tmp
    # Dependency groups came with pip 25.1.
    .venv/bin/python -I -c '
import sys, pip
sys.exit(tuple(int(part) for part in pip.__version__.split(".")[:2]) < (25, 1))
' >/dev/null 2>&1 || {
        say "bringing pip up to date ..."
        pip_install --upgrade "pip>=25.1"
    }
    # pyspark alone has no wheel, and nothing in it to compile.
    set -- --only-binary :all: --constraint constraints.txt
    if [ "$want" != main ]; then
        say "installing torch ..."
        index=
        [ "$system" = Darwin ] || index="--extra-index-url $TORCH_INDEX"
        # shellcheck disable=SC2086 # two words, or none
        pip_install "$@" $index torch
    fi
    say "installing storecast$(with_what), a few minutes ..."
    case $want in
        main) pip_install "$@" --editable . ;;
        neural) pip_install "$@" --editable ".[xgboost,neural]" ;;
        dev) pip_install "$@" --no-binary pyspark --group dev --editable ".[all]" ;;
    esac
    rm -rf .venv/tmp
    write_state installed
}

with_what() {
    case $want in
        neural) printf ' with every model' ;;
        dev) printf ', its extras and the tools of its tests' ;;
    esac
}

pip_install() {
    TMPDIR="$root/.venv/tmp" .venv/bin/python -m pip install --quiet --no-input \
        --disable-pip-version-check "$@" >.venv/setup.log 2>&1 </dev/null && return 0
    if grep -q -i 'no space left on device' .venv/setup.log; then
        stop_without_space "too little"
    elif grep -q -E 'after connection broken by|NewConnectionError|NameResolutionError|ProxyError|ReadTimeoutError' .venv/setup.log; then
        # pip gathers everything before it touches what is there: a .venv that worked still does.
        if [ "$state" = stale ] && [ -n "$before" ]; then
            printf '%s\n' "$before" >"$state_file"
        elif [ "$state" = stale ]; then
            rm -f "$state_file"
        fi
        stop "no network: pip could not reach its package index, so connect (or set pip's proxy or index-url) and try again; all it said is in .venv/setup.log."
    fi
    stop_with_log "pip could not install the packages"
}

stop_with_log() {
    cause=$(grep -E '(ERROR|[A-Za-z]Error): ' .venv/setup.log | tail -n 1 | sed 's/^[ |]*//' | cut -c 1-300)
    stop "$1${cause:+ ($cause)}; all it said is in .venv/setup.log."
}

check_openmp() {
    .venv/bin/python -c 'import lightgbm' >.venv/setup.log 2>&1 </dev/null && return 0
    if grep -q -E 'libg?omp' .venv/setup.log; then
        stop "LightGBM needs the OpenMP library; install it ($(how_to_get libomp)) and try again."
    fi
    stop_with_log "LightGBM cannot be loaded"
}

main "$@"
