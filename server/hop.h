// Hop: a Bolt connection from this member to the one that takes writes, on behalf of one client. Results stream through:
// nothing is kept here but the records that came with a first answer and that nobody asked for yet.
//
// One thread at a time. Calls block. An error is either what the other member answered, or kIo: the
// connection is lost, and whether what was asked happened is not known, unless has_left() tells.
#pragma once

#include "bolt/backend.h"
#include "bolt/client.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::server {

class Hop {
public:
    /// Connects and logs in. Errors say that nothing happened; kUnauthorized is the other member's own.
    static Result<std::unique_ptr<Hop>> open(const std::string& address, bolt::ClientSettings settings);

    [[nodiscard]] const std::string& address() const noexcept { return address_; }
    /// Open, with nothing under way.
    [[nodiscard]] bool is_idle();
    /// Closes without waiting for anything; what is open there is rolled back.
    void abandon();
    /// From within ClientSettings::still_wanted: makes the call that waits end soon with kTerminated.
    void interrupt() { client_->interrupt(); }

    Result<> begin(const bolt::RunOptions& options);
    /// Starts a statement, in the open transaction if there is one. kFirstRecord: it waits for that, or for the end, so that
    /// whatever makes the statement fail before comes out here. kPacked: answers are passed on as they came (bolt::Running::packed),
    /// to a client of version().
    enum class Await : std::uint8_t { kStart, kFirstRecord };
    enum class Form : std::uint8_t { kValues, kPacked };
    Result<bolt::Running> run(const std::string& query,
                              const Map& parameters,
                              const bolt::RunOptions& options,
                              Await await,
                              Form form = Form::kValues);
    [[nodiscard]] bolt::Version version() const { return client_->version(); }
    /// The two halves of run(): between them somebody may wait elsewhere until something has come.
    Result<> send(const std::string& query, const Map& parameters, const bolt::RunOptions& options);
    Result<bolt::Running> started(Await await, Form form);
    /// Takes what has come: whether started() would now return at once, and with success.
    bool has_first_record() { return client_->has_arrived(2); }
    /// Whether all of the one open statement has come, and is little: pull() returns at once.
    bool has_all();
    [[nodiscard]] int descriptor() const { return client_->descriptor(); }
    /// As bolt::Session::pull(); sink nullptr: records are thrown away.
    Result<bolt::Pulled> pull(std::int64_t statement_id, std::int64_t count, bolt::RecordSink* sink);
    Result<std::string> commit();
    Result<> rollback();
    /// Whether anything of the last statement or commit() has left for the other member. If not, nothing of it happened.
    [[nodiscard]] bool has_left() const noexcept { return left_; }
    [[nodiscard]] bool has_open_statement() const noexcept { return !streams_.empty(); }

private:
    struct Stream {
        std::int64_t id = 0;
        Form form = Form::kValues;
        bool asked = false;  // an answer is under way: records, then its end
        bool ended = false;
        std::deque<std::string> kept;  // RECORD messages that were read before they were asked for
        std::string end;               // the SUCCESS message
        std::int64_t records = 0;
    };

    Hop(std::string address, std::unique_ptr<bolt::Client> client) : address_{std::move(address)}, client_{std::move(client)} {}
    Stream* find(std::int64_t statement_id);
    /// The next RECORD message, good until the next call, or nullopt at the end of an answer.
    Result<std::optional<std::string_view>> read(Stream& stream);
    /// false: the sink has enough for now.
    Result<bool> hand_over(Stream& stream, std::string_view record, bolt::RecordSink& sink);
    /// Only one answer is under way at a time: keeps what is left of any but `wanted`'s.
    Result<> settle(const Stream* wanted);
    Result<bolt::Pulled> finish(Stream& stream, bolt::Pulled pulled);
    Error failed(const Error& error);

    const std::string address_;
    std::unique_ptr<bolt::Client> client_;
    std::vector<std::unique_ptr<Stream>> streams_;
    std::int64_t last_ = 0;
    bool left_ = false;
};

}  // namespace nornic::server
