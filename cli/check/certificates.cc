// Certificates: are they there, do they fit their keys, until when do they hold, do peers believe them?
#include "cli/check/checks.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <ctime>
#include <memory>

namespace nornic::cli {
namespace {

constexpr int kDaysWarned = 30;
constexpr std::int64_t kSecondsADay = 86'400;

template <auto Free>
struct Freer {
    template <class T>
    void operator()(T* p) const {
        Free(p);
    }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Store = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;

std::string openssl_error() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return reason == nullptr ? "it is no PEM file" : reason;
}

struct Files {
    std::string about;
    std::string certificate_setting;
    std::string certificate_file;
    std::string key_setting;
    std::string key_file;
    std::string ca_file;        // empty: none
    std::string ca_setting;
    bool ca_signs_own = false;  // peers check each other's against it
    std::string host;           // that clients or peers dial
};

Certificate read_certificate(const std::string& file) {
    const Bio in{BIO_new_file(file.c_str(), "r")};
    return in ? Certificate{PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)} : nullptr;
}

/// Reads; a problem says what it is.
Certificate certificate_of(const Files& f, Findings& out) {
    Certificate certificate = read_certificate(f.certificate_file);
    if (!certificate) {
        out.problem(f.about, fmt::format("{}='{}' cannot be read: {}", f.certificate_setting, f.certificate_file, openssl_error()));
    }
    return certificate;
}

void check_key(const Files& f, X509& certificate, Findings& out) {
    const Bio in{BIO_new_file(f.key_file.c_str(), "r")};
    const Key key{in ? PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr) : nullptr};
    if (!key) {
        out.problem(f.about, fmt::format("{}='{}' cannot be read: {}", f.key_setting, f.key_file, openssl_error()));
    } else if (X509_check_private_key(&certificate, key.get()) != 1) {
        out.problem(f.about, fmt::format("the key '{}' does not belong to the certificate '{}'", f.key_file, f.certificate_file));
        ERR_clear_error();
    }
}

void check_dates(const Files& f, X509& certificate, Findings& out) {
    std::tm end{};
    ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &end);
    const std::int64_t left = ::timegm(&end) - std::time(nullptr);
    const std::string day = fmt::format("{:%Y-%m-%d}", end);
    if (X509_cmp_current_time(X509_get0_notBefore(&certificate)) > 0) {
        out.problem(f.about, fmt::format("'{}' is not valid yet: this machine's clock is slow, or the certificate was made with a fast one",
                                         f.certificate_file));
    } else if (left < 0) {
        out.problem(f.about, fmt::format("'{}' expired on {}: renew it", f.certificate_file, day));
    } else if (left < kDaysWarned * kSecondsADay) {
        out.warning(f.about, fmt::format("'{}' expires on {}, in {} days: renew it", f.certificate_file, day, left / kSecondsADay));
    } else {
        out.ok(f.about, fmt::format("'{}' is valid until {}", f.certificate_file, day));
    }
}

void check_host(const Files& f, X509& certificate, Findings& out) {
    if (!f.host.empty() && X509_check_host(&certificate, f.host.data(), f.host.size(), 0, nullptr) != 1 &&
        X509_check_ip_asc(&certificate, f.host.c_str(), 0) != 1) {
        out.warning(f.about, fmt::format("'{}' does not name '{}', by which this server is reached: who checks names refuses it",
                                         f.certificate_file,
                                         f.host));
    }
}

void check_authority(const Files& f, X509* certificate, Findings& out) {
    const Store store{X509_STORE_new()};
    if (X509_STORE_load_file(store.get(), f.ca_file.c_str()) != 1) {
        out.problem(f.about, fmt::format("{}='{}' cannot be read: {}", f.ca_setting, f.ca_file, openssl_error()));
        return;
    }
    if (!f.ca_signs_own || certificate == nullptr) {
        return;
    }
    const StoreContext context{X509_STORE_CTX_new()};
    X509_STORE_CTX_init(context.get(), store.get(), certificate, nullptr);
    if (X509_verify_cert(context.get()) != 1) {
        const int error = X509_STORE_CTX_get_error(context.get());
        if (error != X509_V_ERR_CERT_HAS_EXPIRED && error != X509_V_ERR_CERT_NOT_YET_VALID) {
            out.problem(f.about,
                        fmt::format("peers that check with '{}' refuse '{}': {}",
                                    f.ca_file,
                                    f.certificate_file,
                                    X509_verify_cert_error_string(error)));
        }
    }
    ERR_clear_error();
}

void check_files(const Files& f, Findings& out) {
    const Certificate certificate = certificate_of(f, out);
    if (certificate) {
        check_key(f, *certificate, out);
        check_dates(f, *certificate, out);
        check_host(f, *certificate, out);
    }
    if (!f.ca_file.empty()) {
        check_authority(f, certificate.get(), out);
    }
}

std::string host_of(const std::string& address, const std::string& otherwise) {
    const auto parsed = env::parse_host_port(address);
    return parsed ? parsed->first : otherwise;
}

Files client_files(std::string about, const std::string& prefix, const env::TlsSettings& tls, std::string host) {
    return {std::move(about),     prefix + "CERT", tls.certificate_file,   prefix + "KEY", tls.key_file,
            tls.client_ca_file,   prefix + "CLIENT_CA", false,             std::move(host)};
}

}  // namespace

void check_certificates(const env::Settings& settings, Findings& out) {
    const env::ClusterSettings& cluster = settings.cluster;
    const std::string cluster_host = host_of(cluster.advertise_address, {});
    if (settings.bolt_tls.enabled) {
        check_files(client_files("bolt TLS", "NORNICDB_BOLT_TLS_", settings.bolt_tls, host_of(settings.bolt_advertise_address, cluster_host)), out);
    }
    if (settings.http_tls.enabled) {
        check_files(client_files("http TLS", "NORNICDB_HTTP_TLS_", settings.http_tls, host_of(settings.http_advertise_address, cluster_host)), out);
    }
    if (cluster.tls_enabled && cluster.mode != "standalone") {
        check_files({"cluster TLS",
                     "NORNICDB_CLUSTER_TLS_CERT_FILE",
                     cluster.tls_certificate_file,
                     "NORNICDB_CLUSTER_TLS_KEY_FILE",
                     cluster.tls_key_file,
                     cluster.tls_ca_file,
                     "NORNICDB_CLUSTER_TLS_CA_FILE",
                     true,
                     cluster_host},
                    out);
    }
}

}  // namespace nornic::cli
