// Certificates for tests, made by the openssl command.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "runtime/cluster/join/tls.h"

namespace troupe::tests {

class Authority {
 public:
  /// `folder` is there, and gets its files.
  Authority(std::filesystem::path folder, std::string name)
      : folder_(std::move(folder)), name_(std::move(name)) {
    openssl("req -x509 " + new_key(name_) + " -out " + name_ + ".pem -days 2");
  }

  static bool is_possible() { return std::system("command -v openssl > /dev/null") == 0; }

  /// A certificate that it has signed, and its key, of mode 600.
  runtime::TlsFiles sign(const std::string& name) const {
    openssl("req " + new_key(name) + " -out " + name + ".request");
    openssl("x509 -req -in " + name + ".request -CA " + name_ + ".pem -CAkey " + name_ +
            ".key -CAcreateserial -days 2 -out " + name + ".pem");
    return {.certificate = path(name + ".pem"),
            .key = path(name + ".key"),
            .authority = path(name_ + ".pem")};
  }

 private:
  static std::string new_key(const std::string& name) {
    return "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name + " -keyout " +
           name + ".key";
  }
  void openssl(const std::string& arguments) const {
    const std::string line = "cd '" + folder_.string() + "' && umask 077 && openssl " + arguments +
                             " > openssl.log 2>&1";
    EXPECT_EQ(std::system(line.c_str()), 0) << line;
  }
  std::string path(const std::string& file) const { return (folder_ / file).string(); }

  const std::filesystem::path folder_;
  const std::string name_;
};

}  // namespace troupe::tests
