// The manifest of a checkpoint: raw bytes, and a message under a hash that is right.
#include <xxhash.h>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/manifest.h"

using namespace troupe::runtime;

static void parse(const std::string& bytes) {
  try {
    parse_manifest(bytes, "step-1/manifest");
  } catch (const CheckpointError&) {
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string message(reinterpret_cast<const char*>(data), size);
  parse(message);
  const uint64_t hash = XXH3_64bits(data, size);
  parse(std::string(reinterpret_cast<const char*>(&hash), sizeof hash) + message);
  return 0;
}
