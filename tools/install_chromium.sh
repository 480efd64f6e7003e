#!/usr/bin/env bash
# Installs Debian's Chromium where there is none; says what to do on systems without apt.
set -euo pipefail
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
  echo "Chromium is installed"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "No apt-get here: install Chromium yourself and set CAUSALKIT_CHROMIUM to its path." >&2
  exit 1
fi
run() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
run apt-get update -qq
run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
