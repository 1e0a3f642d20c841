// TLS as a transformer of bytes (OpenSSL over memory buffers), so that one socket loop serves plain
// and encrypted connections alike.
#pragma once

#include "base/result.h"
#include "bolt/settings.h"

#include <memory>
#include <string>
#include <string_view>

// OpenSSL's own handles, without its headers.
struct ssl_ctx_st;
struct ssl_st;

namespace nornic::bolt {

/// Certificates and rules of one side. Thread-safe once made.
class TlsContext {
public:
    /// kInvalidArgument naming the file that cannot be used.
    static Result<std::shared_ptr<TlsContext>> server(const TlsSettings& settings);
    struct ClientOptions {
        bool verify = true;
        std::string ca_file;  // empty: the system's
        std::string certificate_file;
        std::string key_file;
    };
    static Result<std::shared_ptr<TlsContext>> client(const ClientOptions& options);
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

private:
    friend class TlsChannel;
    explicit TlsContext(ssl_ctx_st* context) : context_{context} {}
    ssl_ctx_st* context_;
};

/// One connection's. Not thread-safe.
class TlsChannel {
public:
    /// The side that was connected to.
    explicit TlsChannel(std::shared_ptr<TlsContext> context);
    /// The side that connects; begins the handshake into `raw_out`. The certificate must be for
    /// `host`.
    TlsChannel(std::shared_ptr<TlsContext> context, const std::string& host, std::string& raw_out);
    ~TlsChannel();
    TlsChannel(const TlsChannel&) = delete;
    TlsChannel& operator=(const TlsChannel&) = delete;

    /// Takes what came from the socket; appends what was said, and what must go back. kIo if the
    /// peer's TLS cannot be gone on with (raw_out then holds the alert).
    Result<> feed(std::string_view raw, std::string& plain, std::string& raw_out);
    /// Appends the encrypted form. Precondition: ready().
    void wrap(std::string_view plain, std::string& raw_out);
    /// Says goodbye.
    void close(std::string& raw_out);
    [[nodiscard]] bool ready() const;
    /// The peer said goodbye.
    [[nodiscard]] bool ended() const noexcept { return ended_; }

private:
    void take_output(std::string& raw_out);
    std::shared_ptr<TlsContext> context_;
    ssl_st* ssl_;
    bool ended_ = false;
};

}  // namespace nornic::bolt
