#include "bolt/tls.h"

#include "base/check.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <limits>

namespace nornic::bolt {

namespace {

std::string openssl_reason() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return reason == nullptr ? "unknown reason" : reason;
}

auto bad_file(std::string_view what, const std::string& file) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("TLS: cannot use {} '{}': {}", what, file, openssl_reason()));
}

/// Certificate and key of this side.
Result<> load_identity(SSL_CTX* context, const std::string& certificate, const std::string& key) {
    if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
        return bad_file("certificate", certificate);
    }
    if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
        return bad_file("private key", key);
    }
    if (SSL_CTX_check_private_key(context) != 1) {
        return bad_file("private key (it does not belong to the certificate)", key);
    }
    return success();
}

}  // namespace

TlsContext::~TlsContext() {
    SSL_CTX_free(context_);
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(const TlsSettings& settings) {
    std::shared_ptr<TlsContext> made{new TlsContext{SSL_CTX_new(TLS_server_method())}};
    SSL_CTX* const context = made->context_;
    NORNIC_CHECK(context != nullptr, "no memory for a TLS context");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    NORNIC_TRY(load_identity(context, settings.certificate_file, settings.key_file));
    if (!settings.client_ca_file.empty()) {
        if (SSL_CTX_load_verify_locations(context, settings.client_ca_file.c_str(), nullptr) != 1) {
            return bad_file("client authority", settings.client_ca_file);
        }
        SSL_CTX_set_client_CA_list(context,
                                   SSL_load_client_CA_file(settings.client_ca_file.c_str()));
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    }
    return made;
}

Result<std::shared_ptr<TlsContext>> TlsContext::client(const ClientOptions& options) {
    std::shared_ptr<TlsContext> made{new TlsContext{SSL_CTX_new(TLS_client_method())}};
    SSL_CTX* const context = made->context_;
    NORNIC_CHECK(context != nullptr, "no memory for a TLS context");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    if (options.verify) {
        if (options.ca_file.empty()) {
            SSL_CTX_set_default_verify_paths(context);
        } else if (SSL_CTX_load_verify_locations(context, options.ca_file.c_str(), nullptr) != 1) {
            return bad_file("authority", options.ca_file);
        }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    }
    if (!options.certificate_file.empty()) {
        NORNIC_TRY(load_identity(context, options.certificate_file, options.key_file));
    }
    return made;
}

TlsChannel::TlsChannel(std::shared_ptr<TlsContext> context)
    : context_{std::move(context)}, ssl_{SSL_new(context_->context_)} {
    NORNIC_CHECK(ssl_ != nullptr, "no memory for a TLS connection");
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl_);
}

TlsChannel::TlsChannel(std::shared_ptr<TlsContext> context,
                       const std::string& host,
                       std::string& raw_out)
    : context_{std::move(context)}, ssl_{SSL_new(context_->context_)} {
    NORNIC_CHECK(ssl_ != nullptr, "no memory for a TLS connection");
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_);
    // An address is checked as an address, a name as a name (and only names go into SNI).
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), host.c_str()) != 1) {
        SSL_set_tlsext_host_name(ssl_, host.c_str());
        SSL_set1_host(ssl_, host.c_str());
    }
    ERR_clear_error();
    SSL_do_handshake(ssl_);
    take_output(raw_out);
}

TlsChannel::~TlsChannel() {
    SSL_free(ssl_);
}

bool TlsChannel::ready() const {
    return SSL_is_init_finished(ssl_) == 1;
}

void TlsChannel::take_output(std::string& raw_out) {
    BIO* const bio = SSL_get_wbio(ssl_);
    const std::size_t waiting = BIO_ctrl_pending(bio);
    if (waiting == 0) {
        return;
    }
    const std::size_t before = raw_out.size();
    raw_out.resize(before + waiting);
    std::size_t taken = 0;
    BIO_read_ex(bio, raw_out.data() + before, waiting, &taken);
    raw_out.resize(before + taken);
}

Result<> TlsChannel::feed(std::string_view raw, std::string& plain, std::string& raw_out) {
    ERR_clear_error();
    std::size_t written = 0;
    if (!raw.empty() && (BIO_write_ex(SSL_get_rbio(ssl_), raw.data(), raw.size(), &written) != 1 ||
                         written != raw.size())) {
        return fail(ErrorCode::kIo, "TLS: no memory");
    }
    char buffer[16 * 1024];
    while (true) {
        std::size_t n = 0;
        if (SSL_read_ex(ssl_, buffer, sizeof buffer, &n) == 1) {
            plain.append(buffer, n);
            continue;
        }
        const int why = SSL_get_error(ssl_, 0);
        take_output(raw_out);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
            return success();
        }
        if (why == SSL_ERROR_ZERO_RETURN) {
            ended_ = true;
            return success();
        }
        return fail(ErrorCode::kIo, "TLS: " + openssl_reason());
    }
}

void TlsChannel::wrap(std::string_view plain, std::string& raw_out) {
    ERR_clear_error();
    while (!plain.empty()) {
        std::size_t n = 0;
        if (SSL_write_ex(ssl_, plain.data(), plain.size(), &n) != 1) {
            // A memory buffer takes everything; what can fail is a connection already closed.
            ERR_clear_error();
            break;
        }
        plain.remove_prefix(n);
    }
    take_output(raw_out);
}

void TlsChannel::close(std::string& raw_out) {
    if (ready()) {
        SSL_shutdown(ssl_);
    }
    take_output(raw_out);
    ERR_clear_error();
}

}  // namespace nornic::bolt
