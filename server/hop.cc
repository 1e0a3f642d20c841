#include "server/hop.h"

#include "env/settings.h"
#include "server/forwarded_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nornic::server {
namespace {

// What drivers ask for at first; a client that asks for less finds the rest here.
constexpr std::int64_t kFirstRecords = 1000;
constexpr std::size_t kFewRecords = 16;

}  // namespace

Result<std::unique_ptr<Hop>> Hop::open(const std::string& address, bolt::ClientSettings settings) {
    const auto at = env::parse_host_port(address);
    if (!at) {
        return fail(ErrorCode::kDatabaseUnavailable, fmt::format("the leader advertises '{}', which is no host:port", address));
    }
    settings.host = at->first;
    settings.port = at->second;
    auto client = bolt::Client::connect(settings);
    if (client) {
        return std::unique_ptr<Hop>{new Hop{address, std::move(client).value()}};
    }
    if (client.error().code() == ErrorCode::kUnauthorized) {
        // It may as well be a limit of logins, or a member that cannot read its users yet.
        const ErrorCode code = error_code_of(client.error().hint()).value_or(ErrorCode::kUnauthorized);
        return fail(code, client.error().message());
    }
    return fail(ErrorCode::kDatabaseUnavailable, client.error().message());
}

bool Hop::is_idle() {
    return streams_.empty() && !client_->in_transaction() && client_->is_idle();
}

void Hop::abandon() {
    streams_.clear();
    client_->abandon();
}

Error Hop::failed(const Error& error) {
    streams_.clear();  // RESET followed
    if (const auto& failure = client_->last_failure()) {
        return to_error(*failure);
    }
    return error;
}

Result<> Hop::begin(const bolt::RunOptions& options) {
    const Result<> begun = client_->begin(options);
    return begun ? begun : Result<>{failed(begun.error())};
}

Result<bolt::Running> Hop::run(const std::string& query,
                               const Map& parameters,
                               const bolt::RunOptions& options,
                               Await await,
                               Form form) {
    NORNIC_TRY(send(query, parameters, options));
    return started(await, form);
}

Result<> Hop::send(const std::string& query, const Map& parameters, const bolt::RunOptions& options) {
    left_ = false;
    NORNIC_TRY(settle(nullptr));
    bolt::RunOptions asked = options;
    asked.fetch_size = kFirstRecords;
    const Result<> sent = client_->send(query, parameters, asked);
    left_ = client_->has_left();
    return sent ? sent : Result<>{failed(sent.error())};
}

Result<bolt::Running> Hop::started(Await await, Form form) {
    const auto started = client_->started();
    if (!started) {
        return failed(started.error());
    }
    bolt::Running running;
    if (form == Form::kPacked) {
        running.packed = started.value();
    } else {
        NORNIC_TRY(const Map metadata, bolt::unpack_metadata(started.value(), client_->dialect()));
        running.statement_id = integer_at(metadata, "qid");
        running.database = text_at(metadata, "db");
        running.available_after_ms = integer_at(metadata, "t_first");
        if (const Value* fields = metadata.find("fields"); fields != nullptr && fields->is_list()) {
            for (const Value& field : fields->as_list()) {
                running.fields.emplace_back(field.is_string() ? field.as_string() : std::string_view{});
            }
        }
    }
    auto stream = std::make_unique<Stream>();
    stream->id = last_ = running.statement_id;
    stream->form = form;
    stream->asked = true;
    streams_.push_back(std::move(stream));
    if (await == Await::kFirstRecord) {
        Stream& own = *streams_.back();
        NORNIC_TRY(const auto first, read(own));
        if (first) {
            own.kept.emplace_back(*first);
        }
    }
    return running;
}

bool Hop::has_all() {
    if (streams_.size() != 1) {
        return false;
    }
    Stream& stream = *streams_.front();
    while (stream.asked && client_->has_arrived(1) && stream.kept.size() < kFewRecords) {
        const auto next = read(stream);
        if (next && next.value()) {
            stream.kept.emplace_back(*next.value());
        }
    }
    return stream.ended && stream.kept.size() <= kFewRecords;
}

Hop::Stream* Hop::find(std::int64_t statement_id) {
    const std::int64_t wanted = statement_id == -1 ? last_ : statement_id;
    const auto found = std::ranges::find(streams_, wanted, [](const auto& s) { return s->id; });
    return found == streams_.end() ? nullptr : found->get();
}

Result<std::optional<std::string_view>> Hop::read(Stream& stream) {
    const auto next = client_->read();
    if (!next) {
        return failed(next.error());
    }
    const std::string_view message = next.value().message;
    if (next.value().is_record) {
        return std::optional{message};
    }
    stream.asked = false;
    stream.ended = true;
    // The end of a whole result is long, and seldom has these letters.
    if (message.find("has_more") != std::string_view::npos) {
        NORNIC_TRY(const Map metadata, bolt::unpack_metadata(message, client_->dialect()));
        stream.ended = !is_true_at(metadata, "has_more");
    }
    if (stream.ended) {
        stream.end = message;
    }
    return std::optional<std::string_view>{};
}

Result<bool> Hop::hand_over(Stream& stream, std::string_view record, bolt::RecordSink& sink) {
    if (stream.form == Form::kPacked) {
        return sink.packed_record(record);
    }
    NORNIC_TRY(const List values, bolt::unpack_record(record, client_->dialect()));
    return sink.record(values);
}

Result<> Hop::settle(const Stream* wanted) {
    for (const auto& stream : streams_) {
        while (stream->asked && stream.get() != wanted) {
            NORNIC_TRY(const auto record, read(*stream));
            if (record) {
                stream->kept.emplace_back(*record);
            }
        }
    }
    return success();
}

Result<bolt::Pulled> Hop::finish(Stream& stream, bolt::Pulled pulled) {
    pulled.outcome = bolt::PullOutcome::kFinished;
    if (stream.form == Form::kPacked) {
        pulled.packed = std::move(stream.end);
    } else {
        NORNIC_TRY(const Map end, bolt::unpack_metadata(stream.end, client_->dialect()));
        pulled.summary = to_summary(end);
        pulled.summary.records = stream.records;
        pulled.bookmark = text_at(end, "bookmark");
    }
    std::erase_if(streams_, [&](const auto& s) { return s.get() == &stream; });
    return pulled;
}

Result<bolt::Pulled> Hop::pull(std::int64_t statement_id, std::int64_t count, bolt::RecordSink* sink) {
    Stream* const stream = find(statement_id);
    if (stream == nullptr) {
        return fail(ErrorCode::kInvalidFormat, fmt::format("No such statement: {}", statement_id == -1 ? last_ : statement_id));
    }
    NORNIC_TRY(settle(stream));
    bolt::Pulled pulled;
    while (true) {
        const bool enough = count >= 0 && pulled.records >= count;
        if (stream->kept.empty() && stream->ended) {
            return finish(*stream, std::move(pulled));
        }
        if (enough && (!stream->kept.empty() || !stream->asked)) {
            pulled.outcome = bolt::PullOutcome::kHasMore;
            return pulled;
        }
        std::string kept;
        std::string_view record;
        if (!stream->kept.empty()) {
            kept = std::move(stream->kept.front());
            stream->kept.pop_front();
            record = kept;
        } else {
            if (!stream->asked) {
                const auto want = sink != nullptr ? bolt::Client::Want::kRecords : bolt::Client::Want::kNone;
                if (const Result<> asked = client_->ask(want, count < 0 ? -1 : count - pulled.records, stream->id); !asked) {
                    return failed(asked.error());
                }
                stream->asked = true;
            }
            NORNIC_TRY(const auto next, read(*stream));
            if (!next) {
                // All of a DISCARD is gone without having been seen.
                if (sink == nullptr && !stream->ended && count >= 0) {
                    pulled.outcome = bolt::PullOutcome::kHasMore;
                    return pulled;
                }
                continue;
            }
            if (enough) {
                // It has more than was asked for, so the end of this answer is still to come.
                stream->kept.emplace_back(*next);
                continue;
            }
            record = *next;
        }
        ++pulled.records;
        ++stream->records;
        if (sink != nullptr) {
            NORNIC_TRY(const bool going_on, hand_over(*stream, record, *sink));
            if (!going_on) {
                pulled.outcome = bolt::PullOutcome::kPaused;
                return pulled;
            }
        }
    }
}

Result<std::string> Hop::commit() {
    left_ = false;
    NORNIC_TRY(settle(nullptr));
    auto bookmark = client_->commit();
    left_ = client_->has_left();
    streams_.clear();
    return bookmark ? bookmark : Result<std::string>{failed(bookmark.error())};
}

Result<> Hop::rollback() {
    NORNIC_TRY(settle(nullptr));
    const Result<> done = client_->rollback();
    streams_.clear();
    return done ? done : Result<>{failed(done.error())};
}

}  // namespace nornic::server
