#include "tests/transport/certificates.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <cstdio>
#include <filesystem>

namespace nornic::transport {

namespace {

X509* make(EVP_PKEY* key, const std::string& name, std::chrono::seconds valid) {
    static std::atomic<long> serial{1};
    X509* x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), -7200);
    X509_gmtime_adj(X509_getm_notAfter(x), static_cast<long>(valid.count()));
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x),
                               "CN",
                               MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()),
                               -1,
                               -1,
                               0);
    return x;
}

void extend(X509* x, X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    ASSERT_NE(extension, nullptr) << value;
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
}

void write_pem(const std::string& file, const std::function<void(std::FILE*)>& write) {
    // As an operator's tool does it: a whole new file in the place of the old one.
    std::FILE* f = std::fopen((file + ".new").c_str(), "w");
    write(f);
    std::fclose(f);
    std::filesystem::rename(file + ".new", file);
}

}  // namespace

Authority::Authority(const std::string& name)
    : folder_{(std::filesystem::temp_directory_path() / "nornic_transport_XXXXXX").string()},
      key_{EVP_EC_gen("P-256")},
      certificate_{make(key_, name, std::chrono::hours{24 * 365})} {
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    X509_set_issuer_name(certificate_, X509_get_subject_name(certificate_));
    extend(certificate_, certificate_, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate_, certificate_, NID_key_usage, "critical,keyCertSign,cRLSign");
    X509_sign(certificate_, key_, EVP_sha256());
    write_pem(ca_file(), [&](std::FILE* f) { PEM_write_X509(f, certificate_); });
}

Authority::~Authority() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
}

void Authority::issue(const std::string& member, const Wish& wish) const {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* x = make(key, member, wish.valid);
    X509_set_issuer_name(x, X509_get_subject_name(certificate_));
    extend(x, certificate_, NID_subject_alt_name, wish.names);
    X509_sign(x, key_, EVP_sha256());
    write_pem(certificate_file(member), [&](std::FILE* f) { PEM_write_X509(f, x); });
    write_pem(key_file(member),
              [&](std::FILE* f) { PEM_write_PrivateKey(f, key, nullptr, nullptr, 0, nullptr, nullptr); });
    X509_free(x);
    EVP_PKEY_free(key);
}

}  // namespace nornic::transport
