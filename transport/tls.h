// TLS between members. TlsKeeper holds certificate, key and authorities, and reads them again when the files
// change; TlsChannel is one connection's, a transformer of bytes (OpenSSL over memory buffers), so that one socket
// loop, with its direct and gathered writes, serves plain and encrypted links alike.
#pragma once

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "transport/proof.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

// OpenSSL's own handles, without its headers.
struct ssl_ctx_st;
struct ssl_st;

namespace nornic::transport {

struct TlsSettings {
    bool enabled = false;
    std::string certificate_file;  // PEM: the certificate first, then those between it and the authority
    std::string key_file;          // PEM
    std::string ca_file;           // PEM; empty: the system's authorities
    bool verify_client = false;    // who dials must have a certificate, too
    std::string min_version = "1.2";
    std::string server_name;       // expected in the certificates of those we dial; empty: the host dialed
};

/// Certificates and rules as they were read at one time. Immutable.
class TlsContext {
public:
    /// kInvalidArgument, one line that names the variable.
    static Result<std::shared_ptr<const TlsContext>> load(const TlsSettings& settings);
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

    /// When our own certificate (or the first of its chain to do so) ends, in seconds since 1970.
    [[nodiscard]] std::int64_t not_after() const noexcept { return not_after_; }

private:
    friend class TlsChannel;
    TlsContext() = default;
    ssl_ctx_st* server_ = nullptr;
    ssl_ctx_st* client_ = nullptr;
    std::int64_t not_after_ = 0;
};

/// The present TlsContext. Thread-safe.
class TlsKeeper {
public:
    TlsKeeper(TlsSettings settings, Clock& clock) : settings_{std::move(settings)}, clock_{clock} {}

    /// The first reading; its error stops the start.
    Result<> load();
    /// For the next connection. Looks at the files if it has not for a second; ones that cannot be used are
    /// logged and leave what there is in force.
    std::shared_ptr<const TlsContext> current();
    [[nodiscard]] const TlsSettings& settings() const noexcept { return settings_; }

private:
    struct Stamp {  // Of one file; a renewal changes at least one of these.
        std::int64_t modified_ns = 0;
        std::int64_t size = -1;
        std::uint64_t inode = 0;
        bool operator==(const Stamp&) const = default;
    };
    using Stamps = std::array<Stamp, 3>;
    [[nodiscard]] Stamps stamps() const;

    const TlsSettings settings_;
    Clock& clock_;
    Mutex mutex_;
    Stamps stamps_ GUARDED_BY(mutex_);
    Deadline looked_at_ GUARDED_BY(mutex_){};
    std::shared_ptr<const TlsContext> context_ GUARDED_BY(mutex_);
};

/// Not thread-safe.
class TlsChannel {
public:
    /// host: what a dialer expects in the certificate; a name or an address.
    TlsChannel(std::shared_ptr<const TlsContext> context, Side side, const std::string& host);
    ~TlsChannel();
    TlsChannel(const TlsChannel&) = delete;
    TlsChannel& operator=(const TlsChannel&) = delete;

    /// The dialer's first bytes.
    void begin(std::string& raw_out);
    /// Takes what came from the socket, for read(); appends what must go back. kIo if the peer's TLS cannot be
    /// gone on with (raw_out then holds the alert).
    Result<> feed(std::span<const char> raw, std::string& raw_out);
    /// Moves what was said into `space`; 0: no more for now.
    Result<std::size_t> read(std::span<char> space, std::string& raw_out);
    /// Appends the encrypted form. Precondition: ready().
    void write(std::string_view plain, std::string& raw_out);
    [[nodiscard]] bool ready() const;
    /// The peer said goodbye.
    [[nodiscard]] bool ended() const noexcept { return ended_; }

private:
    void take_output(std::string& raw_out);
    [[nodiscard]] Error error_of(int why) const;
    std::shared_ptr<const TlsContext> context_;
    ssl_st* ssl_;
    bool ended_ = false;
};

}  // namespace nornic::transport
