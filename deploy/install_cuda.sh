# A CUDA toolkit for `deploy/install --cuda`. Sourced, never run.

# Of one release of the toolkit; PyPI numbers its parts apart.
cuda_wheels=(
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.0.2.14
  nvidia-nccl-cu13==2.28.9 nvidia-cutlass==4.2.0.0
)

# nvcc_release NVCC: "13.0", or nothing.
nvcc_release() { "$1" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p'; }

# NVIDIA's own wheels, in a virtual environment; no driver comes with them. The environment is made
# beside its place and moved there as the last step, so an interrupted one is never taken for whole.
install_cuda() {
  local found nvcc folder=$cache/cuda
  for nvcc in "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "$(command -v nvcc)" /usr/local/cuda/bin/nvcc; do
    [[ -x $nvcc ]] || continue
    found=$(nvcc_release "$nvcc")
    if [[ ${found%%.*} == 13 ]]; then
      say "CUDA: $found at $nvcc"
      return
    fi
    say "CUDA: found ${found:-no release} at $nvcc, wanted 13"
  done
  if [[ -e $folder/wheels && $(<"$folder/wheels") == "${cuda_wheels[*]}" ]]; then
    say "CUDA: $(nvcc_release "$folder/toolkit/bin/nvcc") in $folder"
    return
  fi
  say "fetching a CUDA toolkit: ${cuda_wheels[*]}"
  rm -rf "$folder"
  mkdir -p "$folder"
  logged "$cache/log/cuda" python3 -m venv "$folder/python"
  logged "$cache/log/cuda" "$folder/python/bin/python" -m pip install --no-deps "${cuda_wheels[@]}"
  local toolkit
  toolkit=$(find "$folder/python/lib" -type d -path '*/site-packages/nvidia/cu13' | head -n 1)
  [[ -n $toolkit ]] || fail "found no nvidia/cu13 in $folder/python, wanted the toolkit that the wheels bring"
  ln -sfn "$toolkit" "$folder/toolkit"
  [[ -e $toolkit/lib64 ]] || ln -s lib "$toolkit/lib64"
  [[ -n $(nvcc_release "$folder/toolkit/bin/nvcc") ]] || fail "$folder/toolkit/bin/nvcc does not run"
  echo "${cuda_wheels[*]}" >"$folder/wheels"
  say "CUDA: $(nvcc_release "$folder/toolkit/bin/nvcc") in $folder"
}
