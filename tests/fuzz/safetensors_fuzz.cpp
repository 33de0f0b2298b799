// The header of a safetensors file, as parse_header reads it.
#include <cstdlib>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/safetensors_header.h"

using namespace troupe::runtime;

/// What a header that was accepted promises to those who read the tensors.
static void check(const SafetensorsHeader& header, size_t file_bytes) {
  uint64_t at = header.tensors.empty() ? file_bytes : header.tensors.front().begin;
  for (const TensorEntry& tensor : header.tensors) {
    const auto bytes = static_cast<uint64_t>(tensor.count()) *
                       static_cast<uint64_t>(size_of(tensor.dtype));
    if (tensor.begin != at || tensor.end - tensor.begin != bytes) std::abort();
    at = tensor.end;
  }
  if (at != file_bytes) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(parse_header({data, size}, "file"), size);
  } catch (const CheckpointError&) {
  }
  return 0;
}
