#include "runtime/cluster/join/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "runtime/cluster/cluster_error.h"

namespace troupe::runtime {
namespace {

template <class T, void (*release)(T*)>
struct Release {
  void operator()(T* object) const { release(object); }
};
using Context = std::unique_ptr<SSL_CTX, Release<SSL_CTX, SSL_CTX_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Release<X509_STORE_CTX, X509_STORE_CTX_free>>;

/// What OpenSSL says of the call that has failed.
std::string why() {
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  const char* text = ERR_reason_error_string(error);
  return text ? text : "no reason given";
}

void check_readable(const char* option, const std::string& file) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.c_str(), "rb"),
                                                               std::fclose);
  if (!stream) {
    throw ClusterError(std::string(option) + ": cannot read " + file + ": " + std::strerror(errno));
  }
}

void check_mode(const std::string& file) {
  struct stat facts {};
  if (::stat(file.c_str(), &facts) != 0 || (facts.st_mode & 077) == 0) return;
  char mode[8];
  std::snprintf(mode, sizeof mode, "%o", static_cast<unsigned>(facts.st_mode & 0777));
  throw ClusterError("--tls-key: found the mode " + std::string(mode) + " of " + file +
                     ", wanted 600: others may read the key");
}

}  // namespace

void check_tls(const TlsFiles& files) {
  check_readable("--tls-certificate", files.certificate);
  check_readable("--tls-key", files.key);
  check_readable("--tls-ca", files.authority);
  check_mode(files.key);
  const Context context(SSL_CTX_new(TLS_method()));
  if (!context) throw ClusterError("cannot use TLS: " + why());
  if (SSL_CTX_use_certificate_chain_file(context.get(), files.certificate.c_str()) != 1) {
    throw ClusterError("--tls-certificate: found no certificate in " + files.certificate + ": " +
                       why());
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    throw ClusterError("--tls-key: found no key of " + files.certificate + " in " + files.key +
                       ": " + why());
  }
  if (SSL_CTX_load_verify_locations(context.get(), files.authority.c_str(), nullptr) != 1) {
    throw ClusterError("--tls-ca: found no certificate in " + files.authority + ": " + why());
  }
  const StoreContext store(X509_STORE_CTX_new());
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(context.get(), &chain);
  if (!store || X509_STORE_CTX_init(store.get(), SSL_CTX_get_cert_store(context.get()),
                                    SSL_CTX_get0_certificate(context.get()), chain) != 1) {
    throw ClusterError("cannot use TLS: " + why());
  }
  if (X509_verify_cert(store.get()) != 1) {
    throw ClusterError("--tls-certificate: " + files.certificate +
                       " is not accepted by the authority in " + files.authority + ": " +
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(store.get())));
  }
}

}  // namespace troupe::runtime
