// The program: its commands stand in files of their own.
#include <CLI/CLI.hpp>
#include <iostream>

#include "deploy/bench_command.h"
#include "deploy/conform_command.h"
#include "deploy/convert_command.h"
#include "deploy/eval_command.h"
#include "deploy/generate_command.h"
#include "deploy/tokenizer_command.h"
#include "deploy/train_command.h"

int main(int argc, char** argv) {
  CLI::App app{"Troupe trains models of the DeepSeek-V3 architecture as a company of actors."};
  app.set_version_flag("--version", "troupe 0.1.0");
  app.require_subcommand(1);
  app.footer("Try: troupe train config/runs/pretrain_tiny.textproto");
  troupe::deploy::add_train_command(app);
  troupe::deploy::add_generate_command(app);
  troupe::deploy::add_eval_command(app);
  troupe::deploy::add_conform_command(app);
  troupe::deploy::add_convert_command(app);
  troupe::deploy::add_tokenizer_command(app);
  troupe::deploy::add_bench_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::cout.flush();
    std::cerr << "troupe: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
