// Whatever a peer sends, or says that it is: a mode takes what fits and drops the rest.
#include "tests/modes/conformance/suite.h"

#include "base/random.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <limits>

namespace nornic::modes::conformance {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

/// How a field is filled.
enum class Fill : std::uint8_t { kDefault, kOne, kGreatest, kRandom };

std::uint64_t number(Fill fill, Random& random) {
    switch (fill) {
        case Fill::kDefault:
            return 0;
        case Fill::kOne:
            return 1;
        case Fill::kGreatest:
            return std::numeric_limits<std::uint64_t>::max();
        case Fill::kRandom:
            // Mostly small: those are the ones that fit somewhere.
            return random.one_in(8) ? random.next() : random.below(12);
    }
    return 0;
}

void fill_message(Message& message, Fill fill, Random& random, int depth = 0);

void fill_field(Message& message, const FieldDescriptor& field, Fill fill, Random& random, int depth) {
    const auto& reflection = *message.GetReflection();
    const std::uint64_t value = number(fill, random);
    if (field.is_repeated()) {
        const int count = fill == Fill::kDefault ? 0 : fill == Fill::kRandom ? static_cast<int>(random.below(4)) : 2;
        for (int i = 0; i < count; ++i) {
            if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && depth < 4) {
                fill_message(*reflection.AddMessage(&message, &field), fill, random, depth + 1);
            } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
                reflection.AddString(&message, &field, "a,b");
            }
        }
        return;
    }
    switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_UINT64:
            reflection.SetUInt64(&message, &field, value);
            break;
        case FieldDescriptor::CPPTYPE_UINT32:
            reflection.SetUInt32(&message, &field, static_cast<std::uint32_t>(value));
            break;
        case FieldDescriptor::CPPTYPE_BOOL:
            reflection.SetBool(&message, &field, value % 2 == 1);
            break;
        case FieldDescriptor::CPPTYPE_ENUM:
            reflection.SetEnumValue(&message, &field, static_cast<int>(value % 1000));
            break;
        case FieldDescriptor::CPPTYPE_STRING: {
            const char* const names[] = {"", "a", "b", "c", "w", "a,b,c", "b,a", "history of a", ",,,", "a,a"};
            reflection.SetString(
                &message, &field, fill == Fill::kDefault ? "" : std::string{names[value % std::size(names)]});
            break;
        }
        case FieldDescriptor::CPPTYPE_MESSAGE:
            fill_message(*reflection.MutableMessage(&message, &field), fill, random, depth + 1);
            break;
        default:
            break;
    }
}

void fill_message(Message& message, Fill fill, Random& random, int depth) {
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
        fill_field(message, *message.GetDescriptor()->field(i), fill, random, depth);
    }
}

/// One message of each type, its fields filled alike.
std::vector<ClusterMessage> of_every_type(Fill fill, Random& random) {
    std::vector<ClusterMessage> out;
    const auto& body = *ClusterMessage::descriptor()->oneof_decl(0);
    for (int i = 0; i < body.field_count(); ++i) {
        ClusterMessage message;
        Message& inner = *message.GetReflection()->MutableMessage(&message, body.field(i));
        fill_message(inner, fill, random);
        out.push_back(std::move(message));
    }
    return out;
}

class Messages : public EveryMode {
protected:
    void form_with_data() {
        form();
        ASSERT_TRUE(await(propose(4, "w"), Outcome::kCommitted));
        cluster.run(10);
    }
    /// All members hear all of it from each other, and answer what they answer.
    void say_everywhere(const std::vector<ClusterMessage>& messages) {
        for (const NodeName& to : cluster.names()) {
            for (const NodeName& from : cluster.names()) {
                for (const ClusterMessage& message : messages) {
                    if (to != from) {
                        cluster.step(to, from, message);
                    }
                }
            }
        }
    }
};
NORNIC_FOR_EVERY_MODE(Messages);

TEST_P(Messages, FromStrangersChangeNothing) {
    form_with_data();
    Random random{1};
    for (const NodeName& to : cluster.names()) {
        const std::string before = cluster.state_of(to);
        for (const Fill fill : {Fill::kDefault, Fill::kOne, Fill::kGreatest, Fill::kRandom}) {
            for (const ClusterMessage& message : of_every_type(fill, random)) {
                for (const NodeName& from : {NodeName{"stranger"}, NodeName{}, to}) {
                    cluster.strategy(to).step(from, message);
                    EXPECT_EQ(cluster.state_of(to), before) << message.ShortDebugString();
                    EXPECT_TRUE(cluster.strategy(to).take_messages().empty()) << message.ShortDebugString();
                    EXPECT_TRUE(cluster.strategy(to).take_ready().empty()) << message.ShortDebugString();
                }
            }
        }
    }
}

TEST_P(Messages, ThatSayNothingChangeNothing) {
    form_with_data();
    Random random{1};
    for (const ClusterMessage& message : of_every_type(Fill::kDefault, random)) {
        if (message.has_promote()) {
            continue;  // an order, which needs no words
        }
        for (const NodeName& to : cluster.names()) {
            for (const NodeName& from : cluster.names()) {
                if (to == from) {
                    continue;
                }
                const std::string before = cluster.state_of(to);
                cluster.step(to, from, message);
                cluster.settle();
                EXPECT_EQ(cluster.state_of(to), before) << message.ShortDebugString();
            }
        }
    }
    const ClusterMessage empty;
    say_everywhere({empty});
    cluster.settle();
    EXPECT_EQ(cluster.writers(), std::vector<NodeName>{writer});
    cluster.expect_progress_and_convergence();
}

TEST_P(Messages, OfTheFirstTermAreStaleLater) {
    form_with_data();
    Random random{1};
    // A restart of all of them, and where the mode has epochs a newer one.
    for (const NodeName& name : cluster.names()) {
        cluster.crash(name);
    }
    cluster.expect_progress_and_convergence();
    say_everywhere(of_every_type(Fill::kOne, random));
    cluster.expect_progress_and_convergence();
}

TEST_P(Messages, WithAbsurdNumbersBreakNothing) {
    form_with_data();
    Random random{1};
    say_everywhere(of_every_type(Fill::kGreatest, random));
    cluster.run(5);
    cluster.expect_progress_and_convergence();
}

TEST_P(Messages, FilledAtRandomBreakNothingThatWasPersisted) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE(seed);
        Cluster fresh{GetParam()};
        fresh.start_all();
        const auto found = fresh.await_writer(GetParam().settle_ticks);
        ASSERT_TRUE(found);
        fresh.run(20);
        Random random{seed};
        for (const ClusterMessage& message : of_every_type(Fill::kRandom, random)) {
            // Members believe each other, so what one claims may move them; but they stay sane.
            for (const NodeName& to : fresh.names()) {
                for (const NodeName& from : fresh.names()) {
                    if (to != from) {
                        (void)fresh.strategy(to).view();
                        fresh.strategy(to).step(from, message);
                        (void)fresh.strategy(to).take_messages();
                        (void)fresh.strategy(to).view();
                    }
                }
            }
        }
    }
}

TEST_P(Messages, OfRandomBytesBreakNothing) {
    form_with_data();
    Random random{7};
    int parsed = 0;
    for (int i = 0; i < 20'000; ++i) {
        // Bytes that begin as a message of the protocol, and then are anything.
        std::string bytes(2 + random.below(24), '\0');
        for (char& byte : bytes) {
            byte = static_cast<char>(random.one_in(3) ? random.below(128) : random.below(16));
        }
        bytes[0] = static_cast<char>((1 + random.below(12)) << 3 | 2);
        bytes[1] = static_cast<char>(bytes.size() - 2);
        ClusterMessage message;
        if (!message.ParseFromString(bytes)) {
            continue;
        }
        ++parsed;
        const std::vector<NodeName> names = cluster.names();
        const NodeName& to = names[random.below(names.size())];
        const NodeName& from = names[random.below(names.size())];
        if (to != from) {
            cluster.strategy(to).step(from, message);
            (void)cluster.strategy(to).take_messages();
            (void)cluster.strategy(to).view();
        }
    }
    EXPECT_GT(parsed, 100) << "the test says something";
}

}  // namespace
}  // namespace nornic::modes::conformance
