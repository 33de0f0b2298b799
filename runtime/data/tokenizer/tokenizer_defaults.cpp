#include "runtime/data/tokenizer/tokenizer_defaults.h"

namespace troupe::runtime {

const std::vector<std::string>& default_special_tokens() {
  static const std::vector<std::string> tokens = {
      "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>",  "<｜fim▁hole｜>",
      "<｜fim▁begin｜>",         "<｜fim▁end｜>",         "<｜System｜>", "<｜User｜>",
      "<｜Assistant｜>"};
  return tokens;
}

const std::vector<std::string>& default_split_patterns() {
  static const std::vector<std::string> patterns = {
      R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)",
      R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)"
      R"(|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
      R"(| ?[\p{P}\p{S}]+[\r\n]*)"
      R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};
  return patterns;
}

PreTokenizer::Args default_pre_tokenizer() {
  PreTokenizer::Args args{.steps = {}, .add_prefix_space = false, .byte_level_regex = false};
  for (const std::string& pattern : default_split_patterns()) {
    args.steps.push_back({.pattern = Regex(pattern, "the default pre-tokenizer"),
                          .behavior = SplitBehavior::isolated,
                          .invert = false});
  }
  return args;
}

std::string_view default_chat_template() {
  return "{{ bos_token }}"
         "{% for message in messages %}"
         "{% if message['role'] == 'system' %}{{ '<｜System｜>' + message['content'] }}"
         "{% elif message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
         "{% elif message['role'] == 'assistant' %}"
         "{{ '<｜Assistant｜>' + message['content'] + eos_token }}"
         "{% else %}{{ raise_exception('unknown role ' + message['role']) }}{% endif %}"
         "{% endfor %}"
         "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}";
}

}  // namespace troupe::runtime
