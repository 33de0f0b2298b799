#include "deploy/ablate/arms.h"

#include <algorithm>
#include <set>
#include <stdexcept>

namespace troupe::deploy {
namespace {

/// A name that a folder may have: what is not a letter, digit, '.', '-' or '=' becomes '_'.
std::string folder_name(const std::string& text) {
  std::string name = text;
  std::replace_if(
      name.begin(), name.end(),
      [](unsigned char c) { return std::isalnum(c) == 0 && c != '.' && c != '-' && c != '='; },
      '_');
  return name;
}

std::vector<Arm> arms_of_field(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
    std::string known;
    for (const AblationSwitch& s : ablation_switches()) known += s.name + ", ";
    throw std::runtime_error("--over " + text + ": found no such switch, wanted one of " + known +
                             "or FIELD=VALUE|VALUE");
  }
  const std::string field = text.substr(0, equals);
  std::vector<Arm> arms;
  for (size_t begin = equals + 1; begin <= text.size();) {
    const size_t end = std::min(text.find('|', begin), text.size());
    const std::string value = text.substr(begin, end - begin);
    if (value.empty()) throw std::runtime_error("--over " + text + ": found an empty value");
    arms.push_back({folder_name(field.substr(field.rfind('.') + 1) + "=" +
                                value.substr(value.rfind('/') + 1)),
                    {field + "=" + value}});
    begin = end + 1;
  }
  return arms;
}

}  // namespace

const std::vector<AblationSwitch>& ablation_switches() {
  const std::string gamma_off = "train.routing.gamma=0";
  static const std::vector<AblationSwitch> switches{
      {"bias",
       "the routing bias: off, off with an auxiliary loss of 1e-2 instead, off without any loss",
       {{"no-bias", {gamma_off}},
        {"auxiliary-loss",
         {gamma_off, "train.routing.balance=MICRO_BATCH", "train.routing.balance_alpha=1e-2"}},
        {"no-balance", {gamma_off, "train.routing.balance=NONE"}}}},
      {"balance",
       "the balance loss beside the bias: none, by sequence, by micro-batch",
       {{"balance-none", {"train.routing.balance=NONE"}},
        {"balance-sequence", {"train.routing.balance=SEQUENCE"}},
        {"balance-micro-batch", {"train.routing.balance=MICRO_BATCH"}}}},
      {"mtp",
       "multi-token prediction of depth 0, 1 and 2",
       {{"mtp-0", {"model.with.mtp_layers=0"}},
        {"mtp-1", {"model.with.mtp_layers=1"}},
        {"mtp-2", {"model.with.mtp_layers=2"}}}},
      {"precision",
       "linear layers in FP32, BF16 and FP8",
       {{"fp32", {"train.precision=FP32"}},
        {"bf16", {"train.precision=BF16"}},
        {"fp8", {"train.precision=FP8"}}}},
      {"attention",
       "GQA and MHA in the place of the tiny model's MLA, with as many parameters",
       {{"gqa", {"model.file=config/models/tiny_gqa.textproto"}},
        {"mha", {"model.file=config/models/tiny_mha.textproto"}}}},
      {"recompute",
       "computing again in backward: memory and time; the hash stays",
       {{"recompute", {"train.recompute=true"}}}}};
  return switches;
}

std::vector<Arm> arms_of(std::span<const std::string> over) {
  std::vector<Arm> arms{{"base", {}}};
  std::set<std::string> names{"base"};
  for (const std::string& text : over) {
    const auto& known = ablation_switches();
    const auto found = std::find_if(known.begin(), known.end(),
                                    [&](const AblationSwitch& s) { return s.name == text; });
    for (const Arm& arm : found != known.end() ? found->arms : arms_of_field(text)) {
      if (!names.insert(arm.name).second) {
        throw std::runtime_error("--over " + text + ": found the arm " + arm.name +
                                 " twice, wanted each once");
      }
      arms.push_back(arm);
    }
  }
  return arms;
}

}  // namespace troupe::deploy
