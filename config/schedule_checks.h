// What a schedule, its phases and YaRN must fulfil.
#pragma once

#include <string>

#include "config/checks.h"
#include "config/proto/model.pb.h"
#include "config/proto/run.pb.h"

namespace troupe::config {

constexpr int64_t most_steps = int64_t{1} << 40;
constexpr int32_t most_micro_batches = 1 << 20;
constexpr int32_t longest_sequence = 1 << 24;

/// `at` is where it stands: "yarn".
void check_yarn(const Yarn& yarn, const std::string& at, Checks& checks);

/// train.schedule, train.phase and train.spike.
void check_schedule(const Run& run, const Model& model, Checks& checks);

}  // namespace troupe::config
