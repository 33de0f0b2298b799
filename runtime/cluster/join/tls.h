// Certificates by which the processes of a run know each other on the control plane.
#pragma once

#include <string>

namespace troupe::runtime {

/// PEM files of one process. Each side shows its certificate and takes the other's if the authority
/// has signed it, whatever the name in it: the authority is the cluster's own and signs for nobody
/// else.
struct TlsFiles {
  std::string certificate;  ///< with the chain below the authority, if there is one
  std::string key;          ///< without a passphrase
  std::string authority;

  bool is_set() const { return !certificate.empty(); }
};

/// Throws ClusterError where a connection would fail later and say less: a file that cannot be
/// read, a key that others may read or of another certificate, a certificate that has run out or
/// that the authority has not signed.
void check_tls(const TlsFiles& files);

}  // namespace troupe::runtime
