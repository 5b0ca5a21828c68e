#!/bin/sh
# Writes constraints.txt: one version of every package, for every supported Python and
# platform. Needs uv and the network. Versions already there are kept where they still
# fit; `sh tools/make_constraints.sh --upgrade` looks for newer ones.
#
# One version for all, so that what the tests ran on is what everybody gets: with it,
# no line needs a condition. Wheels only: nobody is asked for a compiler; pyspark alone
# has none, and needs none. torch is pinned here and its CUDA libraries are not: the CPU
# build, which tools/setup.sh asks for, has none.
set -eu
torch=2.13.0
wheels="--only-binary :all: --no-binary pyspark"
cuda='^(cuda|nvidia)-|^triton='
cd -- "$(dirname -- "$0")/.."
uv=${UV:-uv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

{
    cat pyproject.toml
    printf '\n[tool.uv]\nenvironments = [\n'
    for platform in "linux x86_64" "linux aarch64" "darwin arm64"; do
        printf '  "%s",\n' "sys_platform == '${platform% *}' and platform_machine == '${platform#* }' and implementation_name == 'cpython' and python_full_version < '3.15'"
    done
    printf ']\n'
} >"$work/pyproject.toml"
cp README.md "$work/" 2>/dev/null || :
[ ! -f constraints.txt ] || cp constraints.txt "$work/solved.txt"

printf 'torch==%s\n' "$torch" >"$work/torch.txt"
(cd "$work" && "$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
    $wheels --no-header --no-annotate --no-emit-index-url --group dev --extra all "$@" \
    --constraint torch.txt --output-file solved.txt pyproject.toml >/dev/null)

{
    printf '# What make and CI install by. Made by tools/make_constraints.sh; not edited by hand.\n'
    sed -e '/^#/d' -e 's/ *;.*//' "$work/solved.txt" | grep -v -E "$cuda"
} >"$work/constraints.txt"
twice=$(cut -d= -f1 "$work/constraints.txt" | uniq -d)
if [ -n "$twice" ]; then
    printf 'No single version fits everywhere: %s\n' "$twice" >&2
    exit 1
fi

checked() {  # what is installed, and the oldest macOS that it is asked to run on
    for minor in 11 12 13 14; do
        for platform in x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin; do
            (cd "$work" && MACOSX_DEPLOYMENT_TARGET=$1 "$uv" pip compile --quiet $wheels $2 \
                --python-version "3.$minor" --python-platform "$platform" \
                --constraint constraints.txt pyproject.toml >/dev/null)
            printf 'CPython 3.%s on %s: wheels for storecast %s\n' "$minor" "$platform" "$2"
        done
    done
}
checked 13.0 ""
checked 15.0 "--group dev --extra all"
cp "$work/constraints.txt" constraints.txt
