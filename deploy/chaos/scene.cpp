#include "deploy/chaos/scene.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>

#include "deploy/cluster/secret_option.h"
#include "runtime/cluster/join/secret.h"

namespace troupe::deploy {
namespace {

using actors::Failpoint;
using actors::FailpointError;
using actors::Fault;

constexpr const char* port = ":7070";

bool has(const std::vector<Failpoint>& plan, Fault fault) {
  return std::any_of(plan.begin(), plan.end(), [&](const Failpoint& f) { return f.fault == fault; });
}

bool has_cables(const std::vector<Failpoint>& plan) { return has(plan, Fault::link) || has(plan, Fault::oneway); }

}  // namespace

void Scene::check(const std::vector<Failpoint>& plan, int processes) {
  const auto refuse = [](const std::string& what, const std::string& why) {
    if (!why.empty()) throw FailpointError(what + " cannot be: " + why);
  };
  for (const Failpoint& f : plan) {
    const bool is_of_cable = f.fault == Fault::link || f.fault == Fault::oneway;
    if (is_of_cable && (f.index < 1 || f.index >= processes)) {
      throw FailpointError("failpoint " + to_string(f) + ": found process " + std::to_string(f.index) +
                           ", wanted 1 to " + std::to_string(processes - 1) + ": the others reach the run by process 0");
    }
  }
  if (has(plan, Fault::disk)) refuse("disk", SmallDisk::why_none());
  if (has_cables(plan)) refuse("link", Hosts::why_none());
}

Scene::Scene(const Args& args)
    : log_(args.log), over_(args.log.string() + ".over"), processes_(args.processes),
      disk_([&]() -> std::optional<SmallDisk> {
        if (!has(args.plan, Fault::disk)) return std::nullopt;
        return std::optional<SmallDisk>(std::in_place, args.run_folder, args.disk_bytes);
      }()),
      hosts_([&]() -> std::optional<Hosts> {
        if (!has_cables(args.plan)) return std::nullopt;
        return std::optional<Hosts>(std::in_place, args.processes, args.log.string() + ".hosts");
      }()),
      surroundings_(args.run_folder / "events", [this](const Failpoint& f) { return deed_of(f); }) {
  if (hosts_) ::setenv(secret_variable, runtime::hexadecimal(runtime::random_nonce()).c_str(), 0);
}

std::vector<Child> Scene::children(std::vector<std::string> arguments) {
  if (!hosts_) return {{"faults", std::move(arguments), log_}};
  const std::string place = hosts_->address(0) + port;
  arguments.insert(arguments.end(), {"--listen", place, "--insecure"});
  std::vector<Child> all{{"faults", std::move(arguments), log_, hosts_->on(0, false, over_)}};
  for (int p = 1; p < processes_; ++p) {
    const std::string name = "host-" + std::to_string(p);
    all.push_back({name, {"node", "--join", place, "--insecure"}, log_.parent_path() / (name + ".log"),
                   hosts_->on(p, true, over_)});
  }
  return all;
}

std::vector<std::string> Scene::finish() {
  auto done = surroundings_.finish();
  if (disk_) disk_->keep();
  return done;
}

Surroundings::Deed Scene::deed_of(const Failpoint& failpoint) {
  if (failpoint.fault == Fault::disk) {
    return {.strike = [this] { disk_->fill(); }, .relieve = [this] { disk_->clear(); }};
  }
  std::ifstream log(log_);
  const std::string output{std::istreambuf_iterator<char>(log), {}};
  const int host = host_of_process(output, failpoint.index);
  if (failpoint.fault == Fault::link) {
    return {.strike = [this, host] { hosts_->cut(host); }, .relieve = [this, host] { hosts_->mend(host); }};
  }
  return {.strike = [this, host] { hosts_->mute(host); }, .relieve = [this, host] { hosts_->unmute(host); }};
}

int host_of_process(const std::string& output, int process) {
  const std::string number = std::to_string(process);
  const std::regex pattern("(?:node " + number + " of \\d+: |joined: process " + number + " \\()host-(\\d+),");
  int host = -1;
  for (std::sregex_iterator at(output.begin(), output.end(), pattern), end; at != end; ++at) {
    host = std::stoi((*at)[1].str());
  }
  if (host < 0) throw std::runtime_error("found no host of process " + number + " in the output of the run");
  return host;
}

}  // namespace troupe::deploy
