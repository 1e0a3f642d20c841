// Bringing a member's state to another: SnapshotSender on the member that has it, SnapshotReceiver on the one that
// wants it. Chunks travel on the bulk lane, checksummed, in a window, at a bounded rate; a transfer that was cut goes
// on where it was. Any thread; `run` takes what is long.
#pragma once

#include "base/clock.h"
#include "base/mutex.h"
#include "engine/snapshot.h"
#include "transport/message_bus.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace nornic::modes {

struct SnapshotTransferSettings {
    std::size_t chunk_bytes = std::size_t{256} << 10;
    std::size_t window_chunks = 8;  // sent and not yet acknowledged
    std::uint64_t bytes_per_second = std::uint64_t{64} << 20;  // at most
    Duration keep = std::chrono::minutes{10};  // how long an interrupted transfer can be taken up again
};

class SnapshotSender {
public:
    using Run = std::function<void(std::function<void()>)>;
    /// The peer holds everything up to the index, or (nullopt) the transfer was cut or failed and may be asked for
    /// again; what was cut goes on where it was. Called from step(), peer_down() and tick() alone, on their thread.
    using Done = std::function<void(const NodeName& to, std::optional<LogIndex> index)>;

    SnapshotSender(engine::EngineHost& engine,
                   transport::MessageBus& bus,
                   Clock& clock,
                   const SnapshotTransferSettings& settings,
                   Run run,
                   Done done);
    ~SnapshotSender();

    /// Begins, or takes up what was cut, or goes on in another epoch. Only so many at once; others wait.
    /// `least`: an older state would be no help, since the log does not go on behind it.
    void send(const NodeName& to, Term epoch, LogIndex least = {});
    void step(const NodeName& from, const transport::SnapshotResponse& message);
    void peer_down(const NodeName& peer);
    void tick();
    /// A write here, from its place in the log to its answer; the copy makes way for them.
    void write_took(Duration took);
    /// Whether a member far behind is sent entries, which are to make way like a copy.
    void entries_too(bool sent);
    /// What may be sent now of what others have missed.
    [[nodiscard]] std::uint64_t bytes_per_second() const;
    /// Log entries from here on are needed by whoever receives what is being sent.
    [[nodiscard]] std::optional<LogIndex> pinned() const;
    [[nodiscard]] std::uint64_t bytes_sent() const;
    /// Waits for the work that is under way; what `run` was given and has not begun does nothing any more.
    void stop();

private:
    struct Impl;
    const std::shared_ptr<Impl> impl_;
};

class SnapshotReceiver {
public:
    using Run = std::function<void(std::function<void()>)>;
    /// Asked when a transfer begins, and again before it is put in place.
    using Accepts = std::function<bool(
        const NodeName& from, Term term, LogIndex index, std::string_view history, std::string& reason)>;
    /// Puts it in place, then calls `done`, on any thread.
    using Install = std::function<void(std::unique_ptr<engine::SnapshotImport> import,
                                       const engine::SnapshotInfo& info,
                                       std::function<void(Result<>)> done)>;

    SnapshotReceiver(engine::EngineHost& engine,
                     transport::MessageBus& bus,
                     Clock& clock,
                     Run run,
                     Accepts accepts,
                     Install install);
    ~SnapshotReceiver();

    void step(const NodeName& from, const transport::SnapshotBegin& message);
    void step(const NodeName& from, const transport::SnapshotChunk& message);
    /// Gives back the room of what arrived and was not taken up again for a long time.
    void tick();
    [[nodiscard]] std::uint64_t bytes_received() const;
    void stop();

private:
    struct Impl;
    const std::shared_ptr<Impl> impl_;
};

}  // namespace nornic::modes
