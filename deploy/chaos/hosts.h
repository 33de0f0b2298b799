// Several hosts on this machine: each has a network of its own and a cable to a switch, and its programs have names,
// shared memory and process numbers of their own. All of it goes with this process.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace troupe::deploy {

class Hosts {
 public:
  /// What is wanting for such hosts here. Empty: nothing.
  static std::string why_none();
  /// Hosts 0 to count - 1; what is said while they are made goes to `log`. Throws std::runtime_error.
  Hosts(int count, const std::filesystem::path& log);
  ~Hosts();
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;

  std::string address(int host) const;
  /// Words of a command that starts the program behind them on a host, once, or again and again until it ends with
  /// code 0 or `over` exists; a program that is started once makes that file at its end.
  std::vector<std::string> on(int host, bool is_again, const std::filesystem::path& over) const;

  /// Nothing passes a host's cable, either way. Throws std::system_error, like those below.
  void cut(int host) const { set_cable(host, false); }
  void mend(int host) const { set_cable(host, true); }
  /// What a host sends to others is lost on its way; what they send arrives.
  void mute(int host) const { set_voice(host, false); }
  void unmute(int host) const { set_voice(host, true); }
  /// The network namespace of a host, as a file.
  int network(int host) const { return hosts_[static_cast<size_t>(host)].network; }

 private:
  struct Place {
    int network = -1;  ///< its namespace
    int socket = -1;   ///< one of that namespace, for what is set there
  };
  static Place make_place();
  void set_cable(int host, bool is_whole) const;
  void set_voice(int host, bool is_heard) const;

  Place switch_;
  std::vector<Place> hosts_;
};

}  // namespace troupe::deploy
