#include "transport/frames.h"

#include "tests/transport/support.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <limits>

namespace nornic::transport {
namespace {

std::string framed(std::string_view payload) {
    const auto n = static_cast<std::uint32_t>(payload.size());
    std::string out;
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        out.push_back(static_cast<char>(n >> shift));
    }
    return out + std::string{payload};
}

/// All payloads in `bytes`, fed in pieces of `step`; a failure is appended as text.
std::vector<std::string> split(std::string_view bytes, std::size_t step, std::size_t frame_bytes_max) {
    FrameReader reader{frame_bytes_max};
    std::vector<std::string> out;
    while (!bytes.empty()) {
        const std::string_view piece = bytes.substr(0, step);
        bytes.remove_prefix(piece.size());
        reader.feed(std::as_bytes(std::span{piece.data(), piece.size()}));
        while (true) {
            const auto next = reader.next();
            if (!next) {
                out.push_back("error: " + next.error().message());
                return out;
            }
            if (!next.value()) {
                break;
            }
            out.emplace_back(*next.value());
        }
    }
    return out;
}

TEST(FrameReader, SplitsTheSameWhereverTheBytesAreCut) {
    std::string bytes;
    std::vector<std::string> expected;
    for (const std::size_t size : {1U, 2U, 3U, 7U, 100U, 1U, 5000U, 70000U, 4U}) {
        expected.emplace_back(size, static_cast<char>('a' + size % 26));
        bytes += framed(expected.back());
    }
    for (const std::size_t step : {1U, 2U, 3U, 5U, 64U, 1000U, 65536U, 1000000U}) {
        EXPECT_EQ(split(bytes, step, 1 << 20), expected) << step;
    }
}

TEST(FrameReader, GivesTheSameWithEachSingleCut) {
    const std::string bytes = framed("hello") + framed("x") + framed("world");
    const std::vector<std::string> expected{"hello", "x", "world"};
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        FrameReader reader{100};
        std::vector<std::string> got;
        for (const std::string_view piece : {std::string_view{bytes}.substr(0, cut), std::string_view{bytes}.substr(cut)}) {
            // Straight into its space, as a socket does it.
            for (std::string_view rest = piece; !rest.empty();) {
                const auto space = reader.space();
                const std::size_t n = std::min(space.size(), rest.size());
                std::memcpy(space.data(), rest.data(), n);
                reader.commit(n);
                rest.remove_prefix(n);
            }
            while (auto next = reader.next().value()) {
                got.emplace_back(*next);
            }
        }
        EXPECT_EQ(got, expected) << cut;
        EXPECT_EQ(reader.pending_bytes(), 0U);
    }
}

struct BadLength {
    const char* name;
    std::string bytes;
    std::string expected;
};
class FrameReaderBadLength : public ::testing::TestWithParam<BadLength> {};
TEST_P(FrameReaderBadLength, IsRefusedWithAReason) {
    const auto got = split(GetParam().bytes, 1, 100);
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got.front(), "error: " + GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(
    Table,
    FrameReaderBadLength,
    ::testing::Values(
        BadLength{"zero", std::string(4, '\0'), "a frame of 0 bytes; 1 to 100 were expected"},
        BadLength{"one over", std::string("\0\0\0\x65", 4), "a frame of 101 bytes; 1 to 100 were expected"},
        BadLength{"all ones", "\xff\xff\xff\xff", "a frame of 4294967295 bytes; 1 to 100 were expected"},
        BadLength{"tls",
                  "\x16\x03\x01\x02",
                  "a frame of 369295618 bytes; 1 to 100 were expected (this is how TLS begins: is "
                  "NORNICDB_CLUSTER_TLS_ENABLED the same on both sides?)"},
        BadLength{"http",
                  "GET / HTTP/1.1\r\n",
                  "a frame of 1195725856 bytes; 1 to 100 were expected (this is how HTTP begins: the port is that of "
                  "the cluster)"}));

TEST(FrameReader, BelievesALengthOnlyAsFarAsBytesArrive) {
    FrameReader reader{std::size_t{64} << 20};
    reader.feed(std::as_bytes(std::span{"\x03\xff\xff\xff", 4}));
    EXPECT_FALSE(reader.next().value());
    EXPECT_GE(reader.space().size(), 1U);
    EXPECT_LE(reader.capacity(), std::size_t{128} << 10);
    // And it keeps no more than twice what came.
    std::size_t fed = 4;
    while (fed < std::size_t{1} << 20) {
        const auto space = reader.space();
        reader.commit(space.size());
        fed += space.size();
        EXPECT_LE(reader.capacity(), 2 * fed + (std::size_t{128} << 10));
    }
}

TEST(FrameReader, GivesALargeBufferBack) {
    FrameReader reader{std::size_t{64} << 20};
    const std::string bytes = framed(std::string(std::size_t{10} << 20, 'x'));
    reader.feed(std::as_bytes(std::span{bytes}));
    EXPECT_EQ(reader.next().value()->size(), std::size_t{10} << 20);
    EXPECT_GE(reader.space().size(), 1U);
    EXPECT_LE(reader.capacity(), std::size_t{1} << 20);
}

/// One message of each type, all fields set to what is not their default.
std::vector<ClusterMessage> one_of_each() {
    std::vector<ClusterMessage> out;
    const auto fill = [](auto&& self, google::protobuf::Message& message, int depth) -> void {
        const auto* descriptor = message.GetDescriptor();
        const auto* reflection = message.GetReflection();
        for (int i = 0; i < descriptor->field_count(); ++i) {
            const auto* field = descriptor->field(i);
            using Type = google::protobuf::FieldDescriptor;
            const int times = field->is_repeated() ? 2 : 1;
            for (int t = 0; t < times; ++t) {
                const auto set = [&](auto add, auto put, auto value) {
                    field->is_repeated() ? (reflection->*add)(&message, field, value)
                                         : (reflection->*put)(&message, field, value);
                };
                using R = google::protobuf::Reflection;
                switch (field->cpp_type()) {
                    case Type::CPPTYPE_UINT64:
                        set(&R::AddUInt64, &R::SetUInt64, std::numeric_limits<std::uint64_t>::max() - static_cast<std::uint64_t>(i));
                        break;
                    case Type::CPPTYPE_UINT32:
                        set(&R::AddUInt32, &R::SetUInt32, 0x89ABCDEFU);
                        break;
                    case Type::CPPTYPE_BOOL:
                        set(&R::AddBool, &R::SetBool, true);
                        break;
                    case Type::CPPTYPE_STRING:
                        set(&R::AddString, &R::SetString,
                            field->type() == Type::TYPE_BYTES ? std::string("\0\xff{\"", 4)
                                                              : std::string{"näme \"quoted\" \\ {"});
                        break;
                    case Type::CPPTYPE_ENUM:
                        reflection->SetEnum(&message, field, field->enum_type()->value(1));
                        break;
                    case Type::CPPTYPE_MESSAGE:
                        if (depth > 0) {
                            self(self,
                                 field->is_repeated() ? *reflection->AddMessage(&message, field)
                                                      : *reflection->MutableMessage(&message, field),
                                 depth - 1);
                        }
                        break;
                    default:
                        ADD_FAILURE() << "a type that this test does not know: " << field->name();
                }
            }
        }
    };
    const auto* body = ClusterMessage::descriptor()->oneof_decl(0);
    for (int i = 0; i < body->field_count(); ++i) {
        ClusterMessage message;
        message.set_trace_parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        fill(fill, *message.GetReflection()->MutableMessage(&message, body->field(i)), 3);
        out.push_back(message);
    }
    return out;
}

TEST(Encoding, EveryMessageSurvivesBothEncodings) {
    const auto messages = one_of_each();
    EXPECT_EQ(messages.size(), 38U);
    for (const ClusterMessage& message : messages) {
        for (const WireFormat format : {WireFormat::kProtobuf, WireFormat::kJson}) {
            const Frame frame = encode(message, format, 1 << 20).value();
            const auto payloads = split(frame.view(), 7, 1 << 20);
            ASSERT_EQ(payloads.size(), 1U);
            EXPECT_EQ(format_of(payloads.front()), format) << type_name(message);
            const auto back = decode(payloads.front());
            ASSERT_TRUE(back) << back.error().message();
            EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*back.value(), message)) << type_name(message);
        }
        EXPECT_NE(type_name(message), "unknown");
        EXPECT_FALSE(describe(message).empty());
        EXPECT_EQ(describe(message).find('\n'), std::string::npos);
    }
}

TEST(Encoding, JsonNamesAreThoseOfTheProtocolPage) {
    ClusterMessage message;
    WALBatch& batch = *message.mutable_wal_batch();
    batch.set_previous_index(41);
    batch.set_acknowledge_persisted(true);
    LogEntry& entry = *batch.add_entries();
    entry.set_kind(ENTRY_WRITE_SET);
    entry.set_payload("\x01\x02");
    const Frame frame = encode(message, WireFormat::kJson, 1000).value();
    EXPECT_EQ(frame.view().substr(4),
              R"({"wal_batch":{"previous_index":"41","entries":[{"kind":1,"payload":"AQI="}],)"
              R"("acknowledge_persisted":true}})");
}

TEST(Encoding, TheExampleOfTheProtocolPage) {
    ClusterMessage message;
    Heartbeat& m = *message.mutable_heartbeat();
    m.set_epoch(3);
    m.set_sequence(7);
    m.set_commit_index(41);
    m.set_last_index(42);
    m.set_in_sync(true);
    m.set_leading(true);
    m.set_primary_id("a");
    EXPECT_EQ(encode(message, WireFormat::kProtobuf, 1000).value().view(),
              (std::string_view{"\0\0\0\x11\x3a\x0f\x08\x03\x10\x07\x20\x29\x28\x2a\x30\x01\x38\x01\x42\x01\x61", 21}));
    EXPECT_EQ(encode(message, WireFormat::kJson, 1000).value().view(),
              (std::string{"\0\0\0\x7f", 4} +
               R"({"heartbeat":{"epoch":"3","sequence":"7","commit_index":"41","last_index":"42","in_sync":true,"leading":true,"primary_id":"a"}})"));
}

TEST(Encoding, JsonTakesBothSpellingsNumbersAndUnknownFields) {
    for (const char* text : {R"({"wal_batch":{"previous_index":41}})",
                             R"({"walBatch":{"previousIndex":"41"}})",
                             R"({ "walBatch" : { "previous_index" : 41, "later": {"a": [1, {"b": null}]} }, "more": 1 } )"}) {
        const auto message = decode(text);
        ASSERT_TRUE(message) << text << message.error().message();
        EXPECT_EQ(message.value()->wal_batch().previous_index(), 41U) << text;
    }
}

class BadJson : public ::testing::TestWithParam<std::string> {};
TEST_P(BadJson, IsRefused) {
    const auto message = decode(GetParam());
    ASSERT_FALSE(message) << GetParam();
    EXPECT_EQ(message.error().code(), ErrorCode::kCorruption);
    EXPECT_FALSE(message.error().message().empty());
}
INSTANTIATE_TEST_SUITE_P(Table,
                         BadJson,
                         ::testing::Values("{",
                                           "{\"ping\":{}",
                                           "{\"ping\":{}}x",
                                           "{\"ping\":{}}{\"ping\":{}}",
                                           "{\"ping\":{\"sequence\":-1}}",
                                           "{\"ping\":{\"sequence\":\"one\"}}",
                                           "{\"ping\":[]}",
                                           "{\"snapshot_chunk\":{\"pairs\":\"%%%\"}}",
                                           "{]}",
                                           "{\"a\":" + std::string(17, '[') + std::string(17, ']') + "}",
                                           std::string(100000, '{')));

TEST(Encoding, JsonEnumsAreNumbersAndANameIsUnderstoodToo) {
    EXPECT_EQ(decode(R"({"hello":{"lane":"LANE_BULK"}})").value()->hello().lane(), LANE_BULK);
    EXPECT_EQ(decode(R"({"hello":{"lane":2}})").value()->hello().lane(), LANE_BULK);
    // A kind of a later version stays what it is.
    const auto later = decode(R"({"wal_batch":{"entries":[{"kind":77}]}})").value();
    EXPECT_EQ(static_cast<int>(later->wal_batch().entries(0).kind()), 77);
    EXPECT_NE(encode(*later, WireFormat::kJson, 1000).value().view().find("\"kind\":77"), std::string_view::npos);
}

TEST(Encoding, BadBytesAreRefused) {
    for (const std::string& bytes : {std::string{"\x82\x01\xff", 3}, std::string{"\xff\xff\xff\xff"},
                                     std::string{"\x6a\x03\x22\x01\xff", 5} /* a node id that is not UTF-8 */}) {
        EXPECT_FALSE(decode(bytes));
    }
    EXPECT_FALSE(decode(""));
}

// A list of empty entries takes two bytes each on the wire, and up to a hundred in memory.
TEST(Encoding, FieldsAreCountedBeforeTheyTakeMemory) {
    const auto append = [](std::size_t entries) {  // AppendEntries of so many empty entries
        std::string body;
        for (std::size_t i = 0; i < entries; ++i) {
            body.append("\x2a\x00", 2);
        }
        std::string out{"\x1a"};
        for (std::size_t n = body.size(); n > 0; n >>= 7U) {
            out.push_back(static_cast<char>((n & 0x7fU) | (n > 0x7f ? 0x80U : 0U)));
        }
        return out + body;
    };
    const auto most = decode(append(kFieldsMax - 1));
    ASSERT_TRUE(most) << most.error().message();
    EXPECT_EQ(most.value()->append_entries().entries_size(), static_cast<int>(kFieldsMax - 1));
    const auto more = decode(append(kFieldsMax));
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().message(), "more than 2097152 fields in one payload");

    const auto json = [](std::size_t entries) {
        std::string out{R"({"append_entries":{"entries":[{})"};
        for (std::size_t i = 1; i < entries; ++i) {
            out += ",{}";
        }
        return out + "]}}";
    };
    EXPECT_FALSE(decode(json(kFieldsMax + 2)));

    // A packed list takes eight bytes for one; and a large payload of few fields is as good as ever.
    ClusterMessage packed;
    packed.mutable_region_status()->mutable_frontier()->Resize(static_cast<int>(kFieldsMax), 1);
    EXPECT_FALSE(decode(packed.SerializeAsString()));
    ClusterMessage large;
    large.mutable_append_entries()->add_entries()->set_payload(std::string(std::size_t{8} << 20, '\xff'));
    large.mutable_append_entries()->set_leader_id("a");
    const auto same = decode(large.SerializeAsString());
    ASSERT_TRUE(same);
    EXPECT_EQ(same.value()->append_entries().entries(0).payload().size(), std::size_t{8} << 20);
    EXPECT_EQ(same.value()->append_entries().leader_id(), "a");
    // Bytes that end within a field are refused by the parser, whatever the walk makes of them.
    EXPECT_FALSE(decode(append(1 << 20).substr(0, (1 << 20) - 1)));
}

TEST(Encoding, AMessageOfALaterVersionHasNoBody) {
    // Field 60, length-delimited, of two bytes.
    const auto message = decode(std::string("\xe2\x03\x02\x08\x01", 5));
    ASSERT_TRUE(message);
    EXPECT_EQ(message.value()->body_case(), ClusterMessage::BODY_NOT_SET);
    EXPECT_EQ(describe(*message.value()), "a message of an unknown type");
}

TEST(Encoding, AMessageLargerThanAFrameIsRefused) {
    for (const WireFormat format : {WireFormat::kProtobuf, WireFormat::kJson}) {
        const auto frame = encode(*sized(1000), format, 1000);
        ASSERT_FALSE(frame);
        EXPECT_EQ(frame.error().code(), ErrorCode::kInvalidArgument);
    }
}

}  // namespace
}  // namespace nornic::transport
