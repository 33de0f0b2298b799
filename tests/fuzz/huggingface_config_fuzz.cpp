// config.json of a Hugging Face folder, and the model that follows from it.
#include <algorithm>

#include "config/text/errors.h"
#include "config/validate.h"
#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/huggingface_config.h"

using namespace troupe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string text(reinterpret_cast<const char*>(data), size);
    config::validate({runtime::parse_huggingface_config(text, "config.json").model, {}});
  } catch (const runtime::CheckpointError&) {
  } catch (const config::ConfigError&) {
  }
  return 0;
}
