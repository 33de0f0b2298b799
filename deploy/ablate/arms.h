// What `troupe ablate` compares: the run as it is written, and the run with one switch changed.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace troupe::deploy {

/// One run of an ablation: its name, which is a folder's too, and what it sets.
struct Arm {
  std::string name;
  std::vector<std::string> settings;
};

/// The base arm, without settings, then the arms of each switch in `over`. A switch is one of the
/// names of `ablation_switches`, or FIELD=VALUE|VALUE|...: an arm for each value. Throws
/// std::runtime_error that names a switch which is neither, or that comes twice.
std::vector<Arm> arms_of(std::span<const std::string> over);

/// A named switch, for help texts.
struct AblationSwitch {
  std::string name, meaning;
  std::vector<Arm> arms;
};
const std::vector<AblationSwitch>& ablation_switches();

}  // namespace troupe::deploy
