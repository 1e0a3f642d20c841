// What the tests of transport share: a handler that remembers and can be waited for, a raw socket that speaks
// frames, and messages.
#pragma once

#include "base/mutex.h"
#include "transport/frames.h"
#include "transport/proof.h"
#include "transport/tcp_bus.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::transport {

using namespace std::chrono_literals;

inline constexpr std::chrono::seconds kPatience{20};

/// Remembers what it is told; every wait ends by what it waits for, or fails after kPatience.
class Recorder final : public MessageHandler {
public:
    struct Received {
        NodeName from;
        Lane lane;
        std::shared_ptr<const ClusterMessage> message;
        bool more = false;
    };
    struct Down {
        NodeName id;
        LostReason reason;
    };

    void peer_up(const PeerInfo& peer) override;
    void peer_down(const NodeName& peer, LostReason reason) override;
    void message(const NodeName& from, Lane lane, std::shared_ptr<const ClusterMessage> message, bool more) override;

    bool wait_up(const NodeName& peer, std::size_t times = 1);
    std::optional<LostReason> wait_down(const NodeName& peer, std::size_t times = 1);
    bool wait_messages(std::size_t count);
    bool wait(const std::function<bool()>& condition);  // looked at after each event

    std::vector<Received> received() const;
    std::vector<PeerInfo> ups() const;
    std::size_t downs() const;
    void clear();
    /// Messages wait in here until it is let go.
    void block();
    void unblock();
    std::function<void(const Received&)> on_message;  // set before the start

private:
    mutable Mutex mutex_;
    ConditionVariable changed_;
    std::vector<PeerInfo> ups_ GUARDED_BY(mutex_);
    std::vector<Down> downs_ GUARDED_BY(mutex_);
    std::vector<Received> received_ GUARDED_BY(mutex_);
    bool blocked_ GUARDED_BY(mutex_) = false;
};

/// A bus with its handler and settings that make tests quick.
struct Member {
    explicit Member(const NodeName& id, const std::function<void(Settings&)>& change = {}, Metrics* metrics = nullptr);
    ~Member();
    void start(const std::vector<std::string>& peers = {});
    bool send(const NodeName& to, std::uint64_t number, Lane lane = LANE_CONTROL);
    PeerStats stats_of(const NodeName& peer) const;

    PeerInfo self;
    Settings settings;
    Recorder handler;
    std::unique_ptr<MessageBus> bus;
};
PeerInfo make_self(const NodeName& id);
Settings quick_settings();

std::shared_ptr<ClusterMessage> numbered(std::uint64_t number);
std::uint64_t number_of(const ClusterMessage& message);
/// A WALBatch of one entry with so many bytes.
std::shared_ptr<ClusterMessage> sized(std::size_t bytes, std::uint64_t number = 0);

/// A plain socket of a test's own.
class RawPeer {
public:
    explicit RawPeer(const std::string& address);
    ~RawPeer();
    RawPeer(const RawPeer&) = delete;
    RawPeer& operator=(const RawPeer&) = delete;
    RawPeer(RawPeer&& other) noexcept;

    bool write(std::string_view bytes);
    bool send(const ClusterMessage& message, WireFormat format = WireFormat::kProtobuf);
    /// The next payload; nullopt at the end of the stream or after kPatience.
    std::optional<std::string> read_payload();
    std::shared_ptr<ClusterMessage> receive();
    /// The next that is no Ping and no Hello.
    std::shared_ptr<ClusterMessage> receive_message();
    /// All there is up to the end of the stream is read; false: the end did not come.
    bool wait_closed();
    /// Hello in, Hello out (with proofs if there is a secret).
    bool introduce(const Hello& hello, WireFormat format = WireFormat::kProtobuf, const std::string& secret = {});
    void reset();  // closes with RST
    int fd() const { return fd_; }

private:
    int fd_ = -1;
    std::string pending_;
};
Hello make_raw_hello(const NodeName& id, Lane lane = LANE_CONTROL);

}  // namespace nornic::transport
