#!/usr/bin/env bash
# Put what the workflow needs on this machine, once: the tools of envs/debian.txt and a .venv with the
# Python packages of envs/requirements.lock. Says what it does; does nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
# The environment must not be built by the very interpreter that it replaces.
PATH=${PATH//"$PWD/.venv/bin:"/}

# Debian's mosdepth is there and yet does not start without the library that it loads by name.
works() { command -v "$1" > /dev/null && { [ "$1" != mosdepth ] || mosdepth --version > /dev/null 2>&1; }; }

missing_commands=()
missing_packages=()
while read -r package commands; do
    for command in $commands; do
        if ! works "$command"; then
            missing_commands+=("$command")
            missing_packages+=("$package")
        fi
    done
done < <(sed -n 's/^\([a-z0-9.+-]\+\)  *# /\1 /p' envs/debian.txt)

python=$(command -v python3.11 || command -v python3 || true)
venv_module_works() { "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }
if [ ! -x .venv/bin/python ] && { [ -z "$python" ] || ! venv_module_works; }; then
    missing_commands+=("python3 (3.11 or newer, with venv)")
    missing_packages+=(python3 python3-venv)
fi

if [ ${#missing_commands[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
        echo "Installing Debian packages: ${missing_packages[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${missing_packages[@]}" > /dev/null
        python=$(command -v python3.11 || command -v python3)
    else
        {
            echo "These commands are missing: ${missing_commands[*]}"
            echo "Without root they cannot be installed here. Any one of these gets them:"
            echo "  conda, one environment a rule:  snakemake --software-deployment-method conda"
            echo "  modules of your cluster:        module load ${missing_packages[*]}"
            echo "  an administrator:               apt-get install ${missing_packages[*]}"
            echo "Nothing was run."
        } >&2
        exit 1
    fi
fi

# The stamp holds what was installed, so that a changed lock file or a moved folder installs anew.
wanted="$(sha256sum envs/requirements.lock pyproject.toml | sha256sum | cut -d' ' -f1) $PWD"
if [ "$(cat .venv/installed 2> /dev/null || true)" != "$wanted" ]; then
    echo "Installing the locked Python packages into .venv"
    rm -rf .venv
    "$python" -m venv .venv
    .venv/bin/pip install -qq --disable-pip-version-check --require-hashes --no-deps \
        --requirement envs/requirements.lock
    # The build back end is among the locked packages, so nothing unlocked is fetched.
    .venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation \
        --editable .
    echo "$wanted" > .venv/installed
fi
