#include "transport/tls.h"

#include "base/check.h"
#include "observability/log.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <ctime>

namespace nornic::transport {

namespace {

constexpr std::chrono::seconds kLookInterval{1};

std::string openssl_reason() {
    // The first is the deepest; later ones say "PEM lib".
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) {
        return "unknown reason";
    }
    if (ERR_SYSTEM_ERROR(code)) {
        return std::generic_category().message(ERR_GET_REASON(code));
    }
    const char* reason = ERR_reason_error_string(code);
    return reason == nullptr ? "unknown reason" : reason;
}

auto bad_setting(std::string_view variable, std::string_view value, std::string_view why) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("NORNICDB_CLUSTER_TLS_{}='{}': {}", variable, value, why));
}

std::int64_t seconds_of(const ASN1_TIME* time) {
    std::tm parts{};
    return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<std::int64_t>(timegm(&parts)) : 0;
}

Result<> set_up(SSL_CTX* context, const TlsSettings& settings) {
    NORNIC_CHECK(context != nullptr, "no memory for a TLS context");
    if (settings.min_version != "1.2" && settings.min_version != "1.3") {
        return bad_setting("MIN_VERSION", settings.min_version, "1.2 or 1.3 was expected");
    }
    SSL_CTX_set_min_proto_version(context, settings.min_version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    // No session is taken up again: each connection is verified against the certificates of now.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context, settings.certificate_file.c_str()) != 1) {
        return bad_setting("CERT_FILE", settings.certificate_file, openssl_reason());
    }
    if (SSL_CTX_use_PrivateKey_file(context, settings.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
        return bad_setting("KEY_FILE", settings.key_file, openssl_reason());
    }
    if (SSL_CTX_check_private_key(context) != 1) {
        ERR_clear_error();
        return bad_setting("KEY_FILE", settings.key_file, "the key does not belong to the certificate");
    }
    if (settings.ca_file.empty()) {
        SSL_CTX_set_default_verify_paths(context);
    } else if (SSL_CTX_load_verify_locations(context, settings.ca_file.c_str(), nullptr) != 1) {
        return bad_setting("CA_FILE", settings.ca_file, openssl_reason());
    }
    return success();
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::load(const TlsSettings& settings) {
    if (settings.certificate_file.empty()) {
        return bad_setting("CERT_FILE", "", "TLS is on, a PEM file was expected");
    }
    if (settings.key_file.empty()) {
        return bad_setting("KEY_FILE", "", "TLS is on, a PEM file was expected");
    }
    if (settings.verify_client && settings.ca_file.empty()) {
        return bad_setting("CA_FILE", "", "the authorities whose certificates are members' were expected, since "
                                          "NORNICDB_CLUSTER_TLS_VERIFY_CLIENT is on");
    }
    std::shared_ptr<TlsContext> made{new TlsContext};
    made->server_ = SSL_CTX_new(TLS_server_method());
    made->client_ = SSL_CTX_new(TLS_client_method());
    NORNIC_TRY(set_up(made->server_, settings));
    NORNIC_TRY(set_up(made->client_, settings));
    if (settings.verify_client) {
        SSL_CTX_set_verify(made->server_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
        SSL_CTX_set_client_CA_list(made->server_, SSL_load_client_CA_file(settings.ca_file.c_str()));
    }
    SSL_CTX_set_verify(made->client_, SSL_VERIFY_PEER, nullptr);
    made->not_after_ = seconds_of(X509_get0_notAfter(SSL_CTX_get0_certificate(made->server_)));
    STACK_OF(X509)* chain = nullptr;
    SSL_CTX_get0_chain_certs(made->server_, &chain);
    for (int i = 0; chain != nullptr && i < sk_X509_num(chain); ++i) {
        made->not_after_ = std::min(made->not_after_, seconds_of(X509_get0_notAfter(sk_X509_value(chain, i))));
    }
    ERR_clear_error();
    return std::shared_ptr<const TlsContext>{std::move(made)};
}

TlsContext::~TlsContext() {
    SSL_CTX_free(server_);
    SSL_CTX_free(client_);
}

TlsKeeper::Stamps TlsKeeper::stamps() const {
    Stamps out;
    const std::array<const std::string*, 3> files{
        &settings_.certificate_file, &settings_.key_file, &settings_.ca_file};
    for (std::size_t i = 0; i < files.size(); ++i) {
        struct stat found {};
        if (!files[i]->empty() && ::stat(files[i]->c_str(), &found) == 0) {
            out[i].modified_ns = std::int64_t{found.st_mtim.tv_sec} * 1'000'000'000 + found.st_mtim.tv_nsec;
            out[i].size = found.st_size;
            out[i].inode = found.st_ino;
        }
    }
    return out;
}

Result<> TlsKeeper::load() {
    MutexLock lock{mutex_};
    stamps_ = stamps();
    looked_at_ = clock_.now();
    NORNIC_TRY(context_, TlsContext::load(settings_));
    return success();
}

std::shared_ptr<const TlsContext> TlsKeeper::current() {
    MutexLock lock{mutex_};
    const Deadline now = clock_.now();
    if (now - looked_at_ >= kLookInterval) {
        looked_at_ = now;
        const Stamps found = stamps();
        if (found != stamps_) {
            // Taken before the files are read: a change in between is seen the next time. Also for files that
            // cannot be used: they are tried again once they change again.
            stamps_ = found;
            auto loaded = TlsContext::load(settings_);
            if (loaded) {
                context_ = std::move(loaded).value();
                log::info("cluster: TLS certificate read again from {}", settings_.certificate_file);
            } else {
                log::error("cluster: changed TLS files cannot be used, the ones read before stay in force: {}",
                           loaded.error().message());
            }
        }
    }
    return context_;
}

TlsChannel::TlsChannel(std::shared_ptr<const TlsContext> context, Side side, const std::string& host)
    : context_{std::move(context)},
      ssl_{SSL_new(side == Side::kDialer ? context_->client_ : context_->server_)} {
    NORNIC_CHECK(ssl_ != nullptr, "no memory for a TLS connection");
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (side == Side::kAcceptor) {
        SSL_set_accept_state(ssl_);
        return;
    }
    SSL_set_connect_state(ssl_);
    // An address is checked as an address, a name as a name (and only names go into SNI).
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), host.c_str()) != 1) {
        SSL_set_tlsext_host_name(ssl_, host.c_str());
        SSL_set1_host(ssl_, host.c_str());
    }
    ERR_clear_error();
}

TlsChannel::~TlsChannel() {
    SSL_free(ssl_);
}

bool TlsChannel::ready() const {
    return SSL_is_init_finished(ssl_) == 1;
}

void TlsChannel::begin(std::string& raw_out) {
    ERR_clear_error();
    SSL_do_handshake(ssl_);
    ERR_clear_error();
    take_output(raw_out);
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

Error TlsChannel::error_of(int why) const {
    const long verified = SSL_get_verify_result(ssl_);
    std::string reason = openssl_reason();
    if (verified != X509_V_OK) {
        reason = fmt::format("the certificate of the other side is refused: {}",
                             X509_verify_cert_error_string(verified));
    } else if (why == SSL_ERROR_SYSCALL) {
        reason = "ended in the middle of its words";
    }
    return Error{ErrorCode::kIo, "TLS: " + reason};
}

Result<> TlsChannel::feed(std::span<const char> raw, std::string& raw_out) {
    ERR_clear_error();
    std::size_t written = 0;
    if (!raw.empty() && (BIO_write_ex(SSL_get_rbio(ssl_), raw.data(), raw.size(), &written) != 1 ||
                         written != raw.size())) {
        return fail(ErrorCode::kIo, "TLS: no memory");
    }
    if (!ready()) {
        const int done = SSL_do_handshake(ssl_);
        const int why = SSL_get_error(ssl_, done);
        take_output(raw_out);
        if (done != 1 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
            return error_of(why);
        }
    }
    return success();
}

Result<std::size_t> TlsChannel::read(std::span<char> space, std::string& raw_out) {
    ERR_clear_error();
    std::size_t n = 0;
    if (SSL_read_ex(ssl_, space.data(), space.size(), &n) == 1) {
        return n;
    }
    const int why = SSL_get_error(ssl_, 0);
    take_output(raw_out);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        return std::size_t{0};
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
        ended_ = true;
        return std::size_t{0};
    }
    return error_of(why);
}

void TlsChannel::write(std::string_view plain, std::string& raw_out) {
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

}  // namespace nornic::transport
