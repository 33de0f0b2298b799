#include "deploy/cluster/secret_option.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "runtime/cluster/cluster_error.h"

namespace troupe::deploy {

CLI::Option* add_secret_option(CLI::App& command, std::string& file) {
  return command.add_option("--secret", file,
                            "file with the cluster's secret; default: TROUPE_SECRET");
}

std::optional<runtime::Secret> cluster_secret(const std::string& file) {
  if (file.empty()) {
    const char* value = std::getenv(secret_variable);
    if (value == nullptr || *value == '\0') return std::nullopt;
    runtime::Secret secret{value};
    ::unsetenv(secret_variable);
    return secret;
  }
  struct stat facts {};
  std::ifstream stream(file, std::ios::binary);
  if (::stat(file.c_str(), &facts) != 0 || !stream) {
    throw runtime::ClusterError("cannot read the cluster secret in " + file + ": " +
                                std::strerror(errno));
  }
  if ((facts.st_mode & 077) != 0) {
    throw runtime::ClusterError(
        fmt::format("{}: found the mode {:o}, wanted 600: others may read the cluster secret", file,
                    facts.st_mode & 0777));
  }
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return runtime::Secret(text);
}

}  // namespace troupe::deploy
