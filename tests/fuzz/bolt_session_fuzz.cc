// Any bytes on a Bolt connection, from the handshake on, against a session that always works: no
// crash, no hang, and the session ends when the peer goes.
#include "base/check.h"
#include "bolt/conversation.h"
#include "bolt/handshake.h"
#include "bolt/websocket.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace {

using namespace nornic;
using namespace nornic::bolt;

class EasySession final : public Session {
public:
    void login(const AuthToken&, Completion<Login> done) override { done(Login{"x", false}); }
    void logoff() override {}
    void run(std::string, Value, TransactionOptions, Completion<Running> done) override {
        done(Running{0, {"n"}, "db", 0});
    }
    void begin(TransactionOptions, Completion<Begun> done) override { done(Begun{"db"}); }
    void run_in_transaction(std::string, Value v, Completion<Running> done) override {
        value_ = std::move(v);
        done(Running{next_++, {"n"}, "db", 0});
    }
    void commit(Completion<std::string> done) override { done(std::string{"FB:"}); }
    void rollback(Completion<void> done) override { done(success()); }
    void pull(std::int64_t id,
              std::int64_t count,
              RecordSink& sink,
              Completion<Pulled> done) override {
        if (id > 3) {
            done(fail(ErrorCode::kInvalidFormat, "No such statement"));
            return;
        }
        Pulled pulled;
        if (count != 0) {
            sink.record({&value_, 1});
            pulled.records = 1;
        }
        done(std::move(pulled));
    }
    void discard(std::int64_t, std::int64_t, Completion<Pulled> done) override { done(Pulled{}); }
    bool has_open_statement() const override { return false; }
    void route(Value,
               std::vector<std::string>,
               std::string,
               std::string,
               Completion<RoutingTable> done) override {
        done(RoutingTable{});
    }
    void interrupt() override {}
    void reset() override { next_ = 0; }

private:
    std::int64_t next_ = 0;
    Value value_;
};

class EasyBackend final : public Backend {
public:
    std::unique_ptr<Session> open_session(const ConnectionInfo&) override {
        return std::make_unique<EasySession>();
    }
    bool authentication_enabled() const override { return false; }
    std::string server_agent() const override { return "Neo4j/5.26.0"; }
    std::string advertised_address() const override { return "h:1"; }
};

class Sink final : public Transport {
public:
    std::size_t write(std::string& bytes) override {
        bytes.clear();
        return 0;
    }
    bool drained_or_notify() override { return true; }
    void close() override { closed = true; }
    void resume_input() override {}
    void post(std::function<void()> task) override { task(); }
    std::shared_ptr<void> share() override { return {}; }
    bool closed = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static EasyBackend backend;
    static Metrics metrics;
    ConversationSettings settings;
    settings.message_bytes_max = 1 << 16;
    std::string_view bytes{reinterpret_cast<const char*>(data), size};
    // As a WebSocket stream and as an HTTP head, too.
    std::string payload;
    std::string reply;
    WebSocketFrames{WebSocketFrames::Side::kServer}.feed(bytes, payload, reply);
    static_cast<void>(answer_http(bytes.substr(0, kHttpHeadBytesMax)).has_value());
    Handshake handshake;
    if (handshake.feed(bytes, reply) != Handshake::Outcome::kAgreed) {
        return 0;
    }
    Sink sink;
    Conversation conversation{backend,
                              settings,
                              metrics,
                              sink,
                              {},
                              {handshake.version(), false},
                              handshake.by_manifest()};
    // In pieces, so that messages are cut anywhere.
    while (!bytes.empty() && !sink.closed) {
        const std::size_t n =
            std::min<std::size_t>(bytes.size(), 1 + static_cast<std::uint8_t>(bytes[0]));
        conversation.receive(bytes.substr(0, n));
        conversation.work();
        bytes.remove_prefix(n);
    }
    conversation.terminate(true);
    NORNIC_CHECK(sink.closed, "the conversation did not end");
    return 0;
}
