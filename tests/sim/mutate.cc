// The deliberate defects that are done to messages in transit. None is in product code.
#include "base/bytes.h"
#include "base/hash.h"
#include "engine/snapshot.h"
#include "tests/sim/network.h"
#include "tests/sim/node.h"

#include <algorithm>
#include <vector>

namespace nornic::sim {
namespace {

/// The epoch that the receiver lives in, as its log and its view tell.
std::uint64_t epoch_at(Node& node) {
    return node.alive() ? node.replica().view().term.value : 0;
}

/// Whatever epoch it is of, it arrives as of the receiver's.
bool rewrite_epoch(ClusterMessage& m, std::uint64_t epoch) {
    const auto set = [epoch](auto* part) {
        const bool other = part->epoch() != epoch;
        part->set_epoch(epoch);
        return other;
    };
    return m.has_heartbeat()            ? set(m.mutable_heartbeat())
           : m.has_heartbeat_response() ? set(m.mutable_heartbeat_response())
           : m.has_wal_batch()          ? set(m.mutable_wal_batch())
           : m.has_wal_batch_response() ? set(m.mutable_wal_batch_response())
                                        : false;
}

/// One that came in a single chunk loses a pair, and says that it never had it.
bool leave_pair_out(World& world, transport::SnapshotChunk& chunk) {
    if (!chunk.last() || chunk.sequence() != 1 || chunk.pair_count() < 2) {
        return false;
    }
    struct Pair {
        std::string_view key;
        std::string_view value;
    };
    std::vector<Pair> pairs;
    ByteReader in{chunk.pairs()};
    while (!in.at_end() && in.ok()) {
        const std::string_view key = in.get_string();
        pairs.push_back({key, in.get_string()});
    }
    if (pairs.size() != chunk.pair_count()) {
        return false;  // it was taken up again, and begins behind other pairs
    }
    pairs.erase(pairs.begin() + static_cast<std::ptrdiff_t>(world.random.below(pairs.size())));
    std::string bytes;
    ByteWriter out{bytes};
    for (const auto& [key, value] : pairs) {
        out.put_string(key);
        out.put_string(value);
    }
    chunk.set_crc32c(crc32c(0, bytes));
    chunk.set_digest(fnv1a(bytes));
    chunk.set_pair_count(pairs.size());
    chunk.set_pairs(std::move(bytes));
    return true;
}

google::protobuf::RepeatedPtrField<transport::LogEntry>* entries_of(ClusterMessage& m) {
    return m.has_wal_batch()        ? m.mutable_wal_batch()->mutable_entries()
           : m.has_append_entries() ? m.mutable_append_entries()->mutable_entries()
                                    : nullptr;
}

bool harm(World& world, std::size_t from, std::size_t to, ClusterMessage& m) {
    switch (world.menu.mutation) {
        case Mutation::kEpochRewritten:
            return rewrite_epoch(m, epoch_at(world.node(to)));
        case Mutation::kForgedReceived: {
            const std::uint64_t last = world.node(to).disk().lineage.size() - 1;
            if (m.has_wal_batch_response() && m.wal_batch_response().received_index() < last) {
                m.mutable_wal_batch_response()->set_outcome(transport::WALBatchResponse::ACCEPTED);
                m.mutable_wal_batch_response()->set_epoch(epoch_at(world.node(to)));
                m.mutable_wal_batch_response()->set_received_index(last);
                m.mutable_wal_batch_response()->set_persisted_index(last);
                return true;
            }
            return false;
        }
        case Mutation::kEntryTwice:
            if (auto* const entries = entries_of(m); entries != nullptr && entries->size() > 1 && world.random.one_in(20)) {
                const int at = 1 + static_cast<int>(world.random.below(static_cast<std::uint64_t>(entries->size() - 1)));
                entries->at(at).set_payload(entries->at(at - 1).payload());
                entries->at(at).set_kind(entries->at(at - 1).kind());
                return true;
            }
            return false;
        case Mutation::kEntryDropped:
            if (auto* const entries = entries_of(m); entries != nullptr && entries->size() > 1 && world.random.one_in(20)) {
                const int at = static_cast<int>(world.random.below(static_cast<std::uint64_t>(entries->size() - 1)));
                entries->DeleteSubrange(at, 1);
                for (int i = at; i < entries->size(); ++i) {
                    entries->at(i).set_index(entries->at(i).index() - 1);
                }
                return true;
            }
            return false;
        case Mutation::kAlwaysInSync:
            if (m.has_heartbeat() && m.heartbeat().leading() && !m.heartbeat().in_sync()) {
                m.mutable_heartbeat()->set_in_sync(true);
                return true;
            }
            return false;
        case Mutation::kWitnessGrants:
            if (m.has_vote_response() && world.node(from).witness() && !m.vote_response().vote_granted()) {
                m.mutable_vote_response()->set_vote_granted(true);
                return true;
            }
            return false;
        case Mutation::kFenceAccepted:
            if (m.has_fence_response() && !m.fence_response().accepted()) {
                m.mutable_fence_response()->set_accepted(true);
                return true;
            }
            return false;
        case Mutation::kSnapshotHole:
            return m.has_snapshot_chunk() && leave_pair_out(world, *m.mutable_snapshot_chunk());
        default:
            return false;
    }
}

}  // namespace

Forged mutate(World& world, std::size_t from, std::size_t to, MessagePtr message) {
    if (world.menu.mutation == Mutation::kNone || !world.faults) {
        return {std::move(message), from};
    }
    auto copy = std::make_shared<ClusterMessage>(*message);
    std::size_t as = from;
    if (!harm(world, from, to, *copy) && !(world.menu.raft.on && harm_raft(world, from, to, *copy, as))) {
        return {std::move(message), from};
    }
    world.mark("mutation: done");
    world.trace("a message {} -> {} is forged", world.node(from).id(), world.node(to).id());
    return {std::move(copy), as};
}

}  // namespace nornic::sim
