#include "support.h"

#include <cctype>
#include <memory>

namespace nornic::bolt {

using ::testing::_;
using ::testing::Invoke;
using ::testing::NiceMock;
using ::testing::Return;

std::string request(MessageTag tag, const std::vector<Value>& fields, Dialect dialect) {
    std::string out;
    MessageFramer framer{out};
    framer.begin();
    Packer packer{out, dialect};
    packer.structure(static_cast<std::uint8_t>(tag), fields.size());
    for (const Value& field : fields) {
        packer.value(field);
    }
    framer.end();
    return out;
}

std::string bytes_of(std::string_view hex) {
    std::string digits;
    for (const char c : hex) {
        if (std::isxdigit(static_cast<unsigned char>(c)) != 0) {
            digits.push_back(c);
        }
    }
    std::string out;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
        out.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
    }
    return out;
}

std::string hex_of(std::string_view bytes) {
    std::string out;
    for (const char c : bytes) {
        out += fmt::format("{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
    return out;
}

std::vector<std::string> answers_of(std::string_view output, Dialect dialect) {
    ChunkReader reader;
    MessageBatch batch;
    EXPECT_TRUE(reader.feed(output, std::size_t{1} << 30, batch));
    std::vector<std::string> out;
    for (std::size_t i = 0; i < batch.size(); ++i) {
        Unpacker in{batch[i], dialect, Unpacker::Entities::kTaken};
        std::uint8_t tag = 0;
        std::size_t fields = 0;
        EXPECT_TRUE(in.structure(tag, fields));
        std::string text;
        switch (static_cast<MessageTag>(tag)) {
            case MessageTag::kSuccess:
                text = "SUCCESS";
                break;
            case MessageTag::kRecord:
                text = "RECORD";
                break;
            case MessageTag::kIgnored:
                text = "IGNORED";
                break;
            case MessageTag::kFailure:
                text = "FAILURE";
                break;
            default:
                text = fmt::format("TAG {:02X}", tag);
                break;
        }
        for (std::size_t f = 0; f < fields; ++f) {
            Value v;
            EXPECT_TRUE(in.value(v)) << in.message();
            text += " " + to_cypher_text(v);
        }
        EXPECT_TRUE(in.at_end());
        out.push_back(text);
    }
    return out;
}

Map map_of(std::initializer_list<Map::Entry> entries) {
    return Map{entries};
}

void ConversationTest::start(Version version, bool by_manifest) {
    dialect_ = Dialect{version, false};
    ON_CALL(backend_, authentication_enabled()).WillByDefault(Return(true));
    ON_CALL(backend_, server_agent()).WillByDefault(Return("Neo4j/5.26.0"));
    ON_CALL(backend_, advertised_address()).WillByDefault(Return("localhost:7687"));
    ON_CALL(backend_, open_session(_)).WillByDefault(Invoke([this](const ConnectionInfo& info) {
        info_seen_ = info;
        struct Opened final : NiceMock<MockSession> {
            explicit Opened(NiceMock<MockSession>*& opened) : self{opened} { self = this; }
            ~Opened() override {
                if (self == this) {
                    self = nullptr;
                }
            }
            NiceMock<MockSession>*& self;
        };
        auto session = std::make_unique<Opened>(session_);
        play_working_session(*session);
        return std::unique_ptr<Session>{std::move(session)};
    }));
    ConnectionInfo info;
    info.connection_id = "bolt-7";
    conversation_.reset();
    transport_.output.clear();
    transport_.closed = false;
    conversation_ = std::make_unique<Conversation>(
        backend_, settings_, metrics_, transport_, info, dialect_, by_manifest);
}

void ConversationTest::play_working_session(NiceMock<MockSession>& session) {
    summary_.database = "neo4j";
    ON_CALL(session, login(_, _))
        .WillByDefault(Invoke([](const AuthToken& token, Completion<Login> done) {
            done(Login{token.principal, false});
        }));
    ON_CALL(session, run(_, _, _, _))
        .WillByDefault(Invoke([this](const std::string&,
                                     const Value&,
                                     const TransactionOptions&,
                                     Completion<Running> done) {
            next_row_ = 0;
            done(Running{0, fields_, "neo4j", 1});
        }));
    ON_CALL(session, begin(_, _))
        .WillByDefault(Invoke([this](const TransactionOptions&, Completion<Begun> done) {
            next_statement_ = 0;
            done(Begun{"neo4j"});
        }));
    ON_CALL(session, run_in_transaction(_, _, _))
        .WillByDefault(Invoke([this](const std::string&, const Value&, Completion<Running> done) {
            next_row_ = 0;
            done(Running{next_statement_++, fields_, "neo4j", 1});
        }));
    ON_CALL(session, commit(_)).WillByDefault(Invoke([](Completion<std::string> done) {
        done(std::string{"FB:kcw="});
    }));
    ON_CALL(session, rollback(_)).WillByDefault(Invoke([](Completion<void> done) {
        done(success());
    }));
    ON_CALL(session, pull(_, _, _, _))
        .WillByDefault(
            Invoke([this](std::int64_t, std::int64_t n, RecordSink& sink, Completion<Pulled> done) {
                Pulled pulled;
                while (next_row_ < rows_.size()) {
                    if (n >= 0 && pulled.records == n) {
                        pulled.outcome = PullOutcome::kHasMore;
                        done(std::move(pulled));
                        return;
                    }
                    ++pulled.records;
                    if (!sink.record(rows_[next_row_++])) {
                        pulled.outcome = PullOutcome::kPaused;
                        done(std::move(pulled));
                        return;
                    }
                }
                pulled.summary = summary_;
                pulled.bookmark = "FB:kcw=";
                done(std::move(pulled));
            }));
    ON_CALL(session, discard(_, _, _))
        .WillByDefault(Invoke([this](std::int64_t, std::int64_t, Completion<Pulled> done) {
            Pulled pulled;
            pulled.records = static_cast<std::int64_t>(rows_.size() - next_row_);
            next_row_ = rows_.size();
            pulled.summary = summary_;
            pulled.bookmark = "FB:kcw=";
            done(std::move(pulled));
        }));
    ON_CALL(session, route(_, _, _, _, _))
        .WillByDefault(Invoke([](const Value&,
                                 const std::vector<std::string>&,
                                 const std::string&,
                                 const std::string&,
                                 Completion<RoutingTable> done) {
            RoutingTable table;
            table.database = "neo4j";
            table.servers = {{"WRITE", {"h:1"}}, {"READ", {"h:1", "h:2"}}, {"ROUTE", {"h:1"}}};
            done(std::move(table));
        }));
}

std::string ConversationTest::hello(Map extra) {
    extra.set("user_agent", "test/1");
    if (!extra.contains("bolt_agent")) {
        extra.set("bolt_agent", map_of({{"product", "test/1"}}));
    }
    return request(MessageTag::kHello, {std::move(extra)});
}

void ConversationTest::log_in() {
    if (dialect_.has_logon()) {
        send({hello(), logon()});
    } else {
        send({hello(
            map_of({{"scheme", "basic"}, {"principal", "neo4j"}, {"credentials", "secret"}}))});
    }
    ASSERT_EQ(conversation_->state(), Conversation::State::kReady);
}

std::vector<std::string> ConversationTest::send(const std::vector<std::string>& requests) {
    std::string bytes;
    for (const std::string& r : requests) {
        bytes += r;
    }
    conversation_->receive(bytes);
    conversation_->work();
    return take_answers();
}

std::vector<std::string> ConversationTest::take_answers() {
    auto out = answers_of(transport_.output, dialect_);
    transport_.output.clear();
    return out;
}

}  // namespace nornic::bolt
