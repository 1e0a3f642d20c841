// Any chunks as a snapshot that arrives: what is taken is a beginning of one stream of pairs in order, what is refused
// changes nothing, and what a restart finds is what was taken.

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "engine/snapshot_pairs.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace {

using namespace nornic;
using namespace nornic::engine;

constexpr std::string_view kOwnKey = "mimport";

/// The stream as the test reads it.
struct Model {
    std::string stream;           // taken so far
    std::size_t whole = 0;        // where the last whole pair ends
    std::map<std::string, std::string> pairs;

    [[nodiscard]] std::uint64_t digest(std::size_t end) const {
        return fnv1a(std::string_view{stream}.substr(0, end));
    }
    void read_on() {
        while (true) {
            ByteReader in{std::string_view{stream}.substr(whole)};
            const std::string_view key = in.get_string();
            const std::string_view value = in.get_string();
            if (!in.ok()) {
                return;
            }
            NORNIC_CHECK(!key.empty() && key != kOwnKey, "a key that must not be taken");
            NORNIC_CHECK(pairs.empty() || pairs.rbegin()->first < key, "a pair out of order was taken");
            pairs.emplace(key, value);
            whole += in.position();
        }
    }
};

class World {
public:
    void run(ByteReader& in) {
        open();
        constexpr int kStepsMax = 300;
        for (int i = 0; i < kStepsMax && in.ok() && !in.at_end(); ++i) {
            step(in);
        }
        compare();
    }

private:
    void step(ByteReader& in) {
        switch (in.get_u8() % 8) {
            case 0:  // The process ends and starts again.
                open();
                return;
            case 1:  // The sender begins again.
                import_->drop_partial();
                model_.stream.resize(model_.whole);
                return;
            case 2: {  // Anything.
                SnapshotChunk chunk = next(in);
                chunk.crc32c = in.get_u32();
                add(chunk);
                return;
            }
            case 3: {
                SnapshotChunk chunk = next(in);
                chunk.pair_count = in.get_varint();
                add(chunk);
                return;
            }
            case 4: {
                SnapshotChunk chunk = next(in);
                chunk.digest = in.get_u64();
                add(chunk);
                return;
            }
            case 5: {  // A pair as a sender would write it.
                SnapshotChunk chunk;
                ByteWriter out{chunk.pairs};
                out.put_string(in.get_raw(in.get_u8() % 16));
                out.put_string(in.get_raw(in.get_u8()));
                complete(chunk, in.get_u8());
                add(chunk);
                return;
            }
            default:
                add(next(in));
        }
    }

    SnapshotChunk next(ByteReader& in) {
        SnapshotChunk chunk;
        chunk.pairs = std::string{in.get_raw(in.get_u8() % 64)};
        complete(chunk, in.get_u8());
        return chunk;
    }
    /// Count, digest and checksum as they would be if the stream went on like this.
    void complete(SnapshotChunk& chunk, std::uint8_t last) const {
        chunk.last = last == 255;
        chunk.crc32c = crc32c(0, chunk.pairs);
        const std::string stream = model_.stream + chunk.pairs;
        chunk.digest = fnv1a(stream);
        chunk.pair_count = model_.pairs.size();
        for (std::size_t at = model_.whole; at < stream.size(); ++chunk.pair_count) {
            ByteReader pair{std::string_view{stream}.substr(at)};
            pair.get_string();
            pair.get_string();
            if (!pair.ok()) {
                return;
            }
            at += pair.position();
        }
    }

    void add(const SnapshotChunk& chunk) {
        const SnapshotPosition before = import_->position();
        const bool was_complete = import_->complete();
        const Result<> added = import_->add(chunk);
        if (!added) {
            NORNIC_CHECK(added.error().code() == ErrorCode::kCorruption, "{}", added.error().message());
            NORNIC_CHECK(import_->position() == before, "a chunk that was refused moved the place");
            NORNIC_CHECK(import_->complete() == was_complete, "a chunk that was refused completed it");
            model_.stream.resize(model_.whole);
            return;
        }
        NORNIC_CHECK(!was_complete, "something was added to a complete snapshot");
        NORNIC_CHECK(chunk.crc32c == crc32c(0, chunk.pairs), "a wrong checksum was taken");
        model_.stream += chunk.pairs;
        model_.read_on();
        NORNIC_CHECK(chunk.digest == model_.digest(model_.stream.size()), "a wrong digest was taken");
        NORNIC_CHECK(chunk.pair_count == model_.pairs.size(), "a wrong count was taken");
        NORNIC_CHECK(import_->complete() == chunk.last, "complete before the end, or not at it");
        check_position();
    }

    void check_position() const {
        const SnapshotPosition position = import_->position();
        NORNIC_CHECK(position.pair_count == model_.pairs.size(), "{}", position.pair_count);
        NORNIC_CHECK(position.digest == model_.digest(model_.whole), "{:016x}", position.digest);
        NORNIC_CHECK(position.last_key == (model_.pairs.empty() ? "" : model_.pairs.rbegin()->first), "last key");
    }

    void open() {
        import_.reset();
        auto progress = PairImport::progress_in(*kv_).value();
        import_ = std::make_unique<PairImport>(
            kv_,
            progress.value_or(PairImport::Progress{.info = {"id", LogIndex{1}, Term{1}, "history", 0}, .position = {}}),
            nullptr);
        model_.stream.resize(model_.whole);
        check_position();
    }

    void compare() const {
        std::map<std::string, std::string> held;
        const auto cursor = kv_->new_cursor();
        for (cursor->seek(""); cursor->valid(); cursor->next()) {
            if (cursor->key() != kOwnKey) {
                held.emplace(cursor->key(), cursor->value());
            }
        }
        NORNIC_CHECK(held == model_.pairs, "the store does not hold what was taken");
    }

    std::shared_ptr<Kv> kv_ = make_memory_kv();
    std::unique_ptr<PairImport> import_;
    Model model_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteReader in{std::string_view{reinterpret_cast<const char*>(data), size}};
    World{}.run(in);
    return 0;
}
