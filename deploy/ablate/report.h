// The report of an ablation.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "deploy/ablate/arm_result.h"

namespace troupe::deploy {

/// One line an arm, the base first, with differences from it.
std::string ablation_table(const std::vector<ArmResult>& results);

/// The same, with every step's loss, as one JSON object.
std::string ablation_json(const std::string& run, const std::vector<ArmResult>& results);

/// Writes report.txt, report.json, loss.svg and maxvio.svg into `folder`.
void write_ablation(const std::filesystem::path& folder, const std::string& run,
                    const std::vector<ArmResult>& results);

}  // namespace troupe::deploy
