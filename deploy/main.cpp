// The program: its commands stand in files of their own.
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "deploy/ablate/ablate_command.h"
#include "deploy/bench/bench_command.h"
#include "deploy/chaos/chaos_command.h"
#include "deploy/cluster/drain_command.h"
#include "deploy/cluster/lead/leader_supervisor.h"
#include "deploy/cluster/node/node_command.h"
#include "deploy/model/conform_command.h"
#include "deploy/model/convert_command.h"
#include "deploy/model/eval_command.h"
#include "deploy/model/generate_command.h"
#include "deploy/model/needle_command.h"
#include "deploy/model/tokenizer_command.h"
#include "deploy/plan_command.h"
#include "deploy/process/stop_signals.h"
#include "deploy/ps/ps_command.h"
#include "deploy/records/checkpoint_command.h"
#include "deploy/records/events_command.h"
#include "deploy/records/replay_command.h"
#include "deploy/trace/trace_command.h"
#include "deploy/train/train_command.h"

namespace {

/// A file that took the number of a closed standard stream would get what is printed.
void open_standard_streams() {
  for (int file = 0; file <= 2; ++file) {
    if (::fcntl(file, F_GETFD) < 0) static_cast<void>(::open("/dev/null", O_RDWR));
  }
}

/// "train, generate or ..."; empty if `name` is a command, or no name.
std::string commands_instead_of(const CLI::App& app, const std::string& name) {
  std::string list;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (name == command->get_name()) return {};
    list += (list.empty() ? "" : ", ") + command->get_name();
  }
  return name.starts_with("-") ? std::string() : list;
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_streams();
  CLI::App app{"Troupe trains models of the DeepSeek-V3 architecture as a company of actors."};
  app.set_version_flag("--version", "troupe 0.1.0");
  app.require_subcommand(1);
  app.footer("Try: troupe train config/runs/pretrain_tiny.textproto");
  troupe::deploy::add_train_command(app);
  troupe::deploy::add_node_command(app);
  troupe::deploy::add_drain_command(app);
  troupe::deploy::add_plan_command(app);
  troupe::deploy::add_generate_command(app);
  troupe::deploy::add_eval_command(app);
  troupe::deploy::add_needle_command(app);
  troupe::deploy::add_checkpoint_command(app);
  troupe::deploy::add_replay_command(app);
  troupe::deploy::add_ablate_command(app);
  troupe::deploy::add_chaos_command(app);
  troupe::deploy::add_conform_command(app);
  troupe::deploy::add_convert_command(app);
  troupe::deploy::add_tokenizer_command(app);
  troupe::deploy::add_bench_command(app);
  troupe::deploy::add_ps_command(app);
  troupe::deploy::add_events_command(app);
  troupe::deploy::add_trace_command(app);
  if (argc > 1) {
    if (const std::string wanted = commands_instead_of(app, argv[1]); !wanted.empty()) {
      std::cerr << "troupe: found the command '" << argv[1] << "', wanted one of " << wanted
                << std::endl;
      return 2;
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  } catch (const troupe::deploy::LeaderEnded& ended) {
    return ended.exit_code();
  } catch (const troupe::deploy::StoppedBySignal& stopped) {
    std::cerr << "troupe: " << stopped.what() << std::endl;
    return stopped.exit_code();
  } catch (const std::exception& error) {
    std::cout.flush();
    std::cerr << "troupe: " << error.what() << std::endl;
    return 1;
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::cerr << "troupe: standard output cannot be written" << std::endl;
    return 1;
  }
  return 0;
}
