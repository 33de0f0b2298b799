// A model file: parsed, checked, and what follows from a model that is accepted.
#include "config/parameters.h"
#include "config/text/errors.h"
#include "config/text/textproto.h"
#include "config/validate.h"

using namespace troupe::config;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    LoadedModel loaded;
    loaded.origins = parse_textproto(
        "m.textproto", std::string(reinterpret_cast<const char*>(data), size), loaded.model);
    validate(loaded);
    static_cast<void>(train_flops_per_token(loaded.model, 64));
  } catch (const ConfigError&) {
  }
  return 0;
}
