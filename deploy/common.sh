# What install, quickstart and check share. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${TROUPE_CACHE:-${HOME:?HOME is not set, wanted: a folder for the cache}/.cache/troupe}
[[ $cache == /* ]] || cache=$PWD/$cache
export TROUPE_CACHE=$cache # CMake and the programs must see the folder that install filled

say() { printf '%s: %s\n' "${0##*/}" "$*"; }

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# compile_jobs MIB: as many compilers as there are cores, fewer if each cannot have MIB of memory.
compile_jobs() {
  local cores by_memory
  cores=$(nproc)
  by_memory=$(awk -v mib="$1" '/^MemAvailable:/ { print int($2 / 1024 / mib) }' /proc/meminfo)
  if ((by_memory < 1)); then
    echo 1
  elif ((by_memory < cores)); then
    echo "$by_memory"
  else
    echo "$cores"
  fi
}

# logged LOG COMMAND...: runs it silently; if it fails, shows the end of what it wrote.
logged() {
  local log=$1
  shift
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    fail "failed: $* (all of its output: $log)"
  fi
}

# configure OPTION...: makes or updates build/.
configure() { cmake -S "$root" -B "$root/build" -DCMAKE_BUILD_TYPE=Release "$@"; }

# build [TARGET]
build() { cmake --build "$root/build" -j "$(compile_jobs 1500)" ${1:+--target "$1"}; }
