#!/usr/bin/env bash
# Put what the workflow needs on this machine, once: the tools of envs/debian.txt and a .venv with the
# Python packages of envs/requirements.lock. Says what it does; does nothing when all is there.
# With the argument "tests", also the R packages of envs/debian-tests.txt, where that is possible.
set -euo pipefail
cd "$(dirname "$0")/.."
# The environment must not be built by the very interpreter that it replaces.
PATH=${PATH//"$PWD/.venv/bin:"/}

find_python() {
    local name
    for name in python3.11 python3; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            command -v "$name"
            return
        fi
    done
}

# Debian's mosdepth is there and yet does not start without the library that it loads by name.
works() { command -v "$1" > /dev/null && { [ "$1" != mosdepth ] || mosdepth --version > /dev/null 2>&1; }; }

# Fills missing_commands and missing_packages.
look_for_tools() {
    missing_commands=()
    missing_packages=()
    local package commands command
    if [ -z "$(find_python)" ]; then
        missing_commands+=("python3 (3.11 or newer, with venv)")
        missing_packages+=(python3 python3-venv)
    fi
    while read -r package commands; do
        for command in $commands; do
            if ! works "$command"; then
                missing_commands+=("$command")
                missing_packages+=("$package")
            fi
        done
    done < <(sed -n 's/^\([a-z0-9.+-]\+\)  *# /\1 /p' envs/debian.txt)
}

# Fills missing_commands (here R packages) and missing_packages.
look_for_r_packages() {
    missing_commands=()
    missing_packages=()
    local package library
    while read -r package library; do
        if ! Rscript --vanilla -e "quit(status = !nzchar(system.file(package = '$library')))" \
            > /dev/null 2>&1 < /dev/null; then
            missing_commands+=("$library")
            missing_packages+=("$package")
        fi
    done < <(sed -n 's/^\([a-z0-9.+-]\+\)  *# /\1 /p' envs/debian-tests.txt)
}

can_install() { [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; }

install_missing() {
    local log
    log=$(mktemp)
    echo "Installing Debian packages: ${missing_packages[*]}"
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing_packages[@]}"; } > "$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
    rm -f "$log"
}

install_python_packages() {
    # The stamp holds what was installed, so that a changed lock file or a moved folder installs anew.
    local wanted
    wanted="$(sha256sum envs/requirements.lock | cut -d' ' -f1) $PWD"
    if [ "$(cat .venv/installed 2> /dev/null || true)" != "$wanted" ]; then
        echo "Installing the locked Python packages into .venv"
        rm -rf .venv
        "$(find_python)" -m venv .venv
        .venv/bin/pip install -qq --disable-pip-version-check --require-hashes --no-deps \
            --requirement envs/requirements.lock
        # The build back end is among the locked packages, so nothing unlocked is fetched.
        .venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation \
            --editable .
        echo "$wanted" > .venv/installed
    fi
}

look_for_tools
if [ ${#missing_commands[@]} -gt 0 ] && can_install; then
    install_missing
    look_for_tools
fi
if [ -n "$(find_python)" ]; then
    install_python_packages
fi
if [ ${#missing_commands[@]} -gt 0 ]; then
    {
        echo "These commands are missing: ${missing_commands[*]}"
        echo "They cannot be installed here without root and apt. Any one of these gets them:"
        echo "  conda, one environment a rule:  .venv/bin/snakemake --software-deployment-method conda"
        echo "  modules of your cluster:        module load ${missing_packages[*]}"
        echo "  an administrator:               apt-get install ${missing_packages[*]}"
        echo "No job was run."
    } >&2
    exit 1
fi
if [ "${1:-}" = tests ]; then
    look_for_r_packages
    # Tests can do without: a failure is shown, and what is missing is named.
    if [ ${#missing_packages[@]} -gt 0 ] && can_install && install_missing; then
        look_for_r_packages
    fi
    if [ ${#missing_packages[@]} -gt 0 ]; then
        echo "R packages that are missing: ${missing_commands[*]} (Debian: ${missing_packages[*]})." \
            "Tests that compare with them are skipped." >&2
    fi
fi
