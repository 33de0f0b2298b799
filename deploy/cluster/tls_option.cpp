#include "deploy/cluster/tls_option.h"

namespace troupe::deploy {

CLI::Option* add_tls_options(CLI::App& command, runtime::TlsFiles& files,
                             const std::string& group) {
  CLI::Option* certificate = command.add_option(
      "--tls-certificate", files.certificate,
      "PEM file: what this process shows on the control plane, which is then TLS");
  CLI::Option* key = command.add_option("--tls-key", files.key, "PEM file: its key, of mode 600");
  CLI::Option* authority =
      command.add_option("--tls-ca", files.authority,
                         "PEM file: who has to have signed the certificates of the others");
  certificate->needs(key)->needs(authority)->group(group);
  key->needs(certificate)->group(group);
  authority->needs(certificate)->group(group);
  return certificate;
}

}  // namespace troupe::deploy
