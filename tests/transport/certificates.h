// Certificates for tests, made by OpenSSL: an authority and what it signs.
#pragma once

#include <chrono>
#include <memory>
#include <string>

// OpenSSL's own handles, without its headers.
struct evp_pkey_st;
struct x509_st;

namespace nornic::transport {

/// A folder of its own that is removed with it.
class Authority {
public:
    explicit Authority(const std::string& name);
    ~Authority();
    Authority(const Authority&) = delete;
    Authority& operator=(const Authority&) = delete;

    struct Wish {
        std::string names = "DNS:localhost,IP:127.0.0.1";
        std::chrono::seconds valid = std::chrono::hours{24 * 365};
    };
    /// Writes (again) the two files of a member.
    void issue(const std::string& member, const Wish& wish) const;
    void issue(const std::string& member) const { issue(member, Wish{}); }
    std::string certificate_file(const std::string& member) const { return folder_ + "/" + member + ".crt"; }
    std::string key_file(const std::string& member) const { return folder_ + "/" + member + ".key"; }
    std::string ca_file() const { return certificate_file("ca"); }

private:
    std::string folder_;
    evp_pkey_st* key_;
    x509_st* certificate_;
};

}  // namespace nornic::transport
