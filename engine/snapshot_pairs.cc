#include "engine/snapshot_pairs.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "engine/store/keys.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {

constexpr std::uint8_t kProgressFormat = 1;
constexpr std::size_t kFlushBytes = std::size_t{16} << 20;
/// No key or value of ours is near these; RocksDB takes none that are larger.
constexpr std::uint64_t kKeyBytesMax = std::uint64_t{8} << 20;
constexpr std::uint64_t kValueBytesMax = std::uint64_t{3} << 30;
/// The two lengths of a pair.
constexpr std::size_t kLengthsBytesMax = 20;

std::string encode_progress(const PairImport::Progress& progress) {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_u8(kProgressFormat);
    out.put_string(progress.info.id);
    out.put_varint(progress.info.index.value);
    out.put_varint(progress.info.term.value);
    out.put_string(progress.info.history);
    out.put_varint(progress.info.bytes_estimate);
    out.put_string(progress.position.last_key);
    out.put_varint(progress.position.pair_count);
    out.put_u64(progress.position.digest);
    out.put_u8(progress.complete ? 1 : 0);
    return bytes;
}

Error damaged(const SnapshotInfo& info, std::string_view what) {
    return Error{ErrorCode::kCorruption, fmt::format("a chunk of snapshot {}: {}", info.id, what)};
}

}  // namespace

// ---- Export ----

bool PairExport::go_behind(const std::string& key) {
    cursor_->seek(key);
    const bool found = key.empty() || (cursor_->valid() && cursor_->key() == key);
    if (found && !key.empty()) {
        cursor_->next();
    }
    skip_own();
    placed_ = true;
    return found;
}

void PairExport::skip_own() {
    if (cursor_->valid() && cursor_->key() == kImportKey) {
        cursor_->next();
    }
}

Result<> PairExport::seek(const SnapshotPosition& position) {
    if (placed_ && position == position_) {
        return success();
    }
    bool found = true;
    if (!placed_ || position.last_key != position_.last_key) {
        found = go_behind(position.last_key);
        NORNIC_TRY(cursor_->status());
    }
    if (position.partial > 0) {
        found = found && cursor_->valid() &&
                position.partial < kLengthsBytesMax + cursor_->key().size() + cursor_->value().size();
    }
    if (!found) {
        placed_ = false;
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("snapshot {} has no place {} bytes behind its pair {}",
                                info_.id,
                                position.partial,
                                position.pair_count));
    }
    position_ = position;
    return success();
}

Result<SnapshotChunk> PairExport::next(std::size_t bytes) {
    if (!placed_) {
        go_behind(position_.last_key);
    }
    bytes = std::max<std::size_t>(bytes, 1);
    SnapshotChunk chunk;
    chunk.pairs.reserve(bytes);
    // What was given of a pair before is left out, and what does not fit.
    const auto append = [&](std::string_view part, std::uint64_t begins_at) {
        const std::uint64_t skip = position_.partial > begins_at ? position_.partial - begins_at : 0;
        if (skip < part.size()) {
            const std::string_view piece = part.substr(skip, bytes - chunk.pairs.size());
            chunk.pairs.append(piece);
            position_.partial += piece.size();
        }
    };
    std::string head;
    while (cursor_->valid() && chunk.pairs.size() < bytes) {
        const std::string_view value = cursor_->value();
        head.clear();
        ByteWriter out{head};
        out.put_string(cursor_->key());
        out.put_varint(value.size());
        append(head, 0);
        if (position_.partial >= head.size()) {
            append(value, head.size());
        }
        if (position_.partial < head.size() + value.size()) {
            break;
        }
        position_.partial = 0;
        position_.last_key.assign(cursor_->key());
        ++position_.pair_count;
        cursor_->next();
        skip_own();
    }
    NORNIC_TRY(cursor_->status());
    position_.digest = fnv1a(chunk.pairs, position_.digest);
    chunk.crc32c = crc32c(0, chunk.pairs);
    chunk.last = !cursor_->valid();
    chunk.pair_count = position_.pair_count;
    chunk.digest = position_.digest;
    return chunk;
}

// ---- Import ----

Result<std::optional<PairImport::Progress>> PairImport::progress_in(Kv& kv) {
    NORNIC_TRY(const std::optional<std::string> bytes, kv.get(kImportKey));
    if (!bytes) {
        return std::optional<Progress>{};
    }
    ByteReader in{*bytes};
    if (in.get_u8() != kProgressFormat) {
        return std::optional<Progress>{};
    }
    Progress progress;
    progress.info.id = std::string{in.get_string()};
    progress.info.index = LogIndex{in.get_varint()};
    progress.info.term = Term{in.get_varint()};
    progress.info.history = std::string{in.get_string()};
    progress.info.bytes_estimate = in.get_varint();
    progress.position.last_key = std::string{in.get_string()};
    progress.position.pair_count = in.get_varint();
    progress.position.digest = in.get_u64();
    progress.complete = in.get_u8() != 0;
    if (!in.ok() || !in.at_end()) {
        return std::optional<Progress>{};
    }
    return std::optional{std::move(progress)};
}

void PairImport::drop_partial() {
    partial_.clear();
    stream_digest_ = progress_.position.digest;
}

Result<> PairImport::add(const SnapshotChunk& chunk) {
    const auto batch = kv_->new_batch();
    Progress next = progress_;
    Result<> taken = take(chunk, *batch, next);
    if (taken && (next.position.pair_count != progress_.position.pair_count || next.complete)) {
        batch->put(kImportKey, encode_progress(next));
        const std::size_t bytes = batch->bytes();
        taken = kv_->write(*batch);
        if (taken) {
            unflushed_bytes_ += bytes;
            if (next.complete || unflushed_bytes_ >= kFlushBytes) {
                taken = kv_->flush();
                unflushed_bytes_ = 0;
            }
        }
    }
    if (!taken) {
        drop_partial();
        return taken;
    }
    progress_ = std::move(next);
    return success();
}

/// Puts the pairs that are whole now into the batch and what is left into partial_.
Result<> PairImport::take(const SnapshotChunk& chunk, KvBatch& batch, Progress& next) {
    if (next.complete) {
        return damaged(next.info, "it follows the last one");
    }
    if (crc32c(0, chunk.pairs) != chunk.crc32c) {
        return damaged(next.info, "its checksum is wrong");
    }
    // partial_ is in the digest already: only what this chunk adds to it counts.
    const std::size_t known = partial_.size();
    if (known > 0) {
        partial_ += chunk.pairs;
    }
    const std::string_view bytes = known > 0 ? partial_ : chunk.pairs;
    std::string_view last_key = next.position.last_key;
    std::size_t whole = 0;  // where the pairs that are whole end
    while (whole < bytes.size()) {
        ByteReader in{bytes.substr(whole)};
        const std::uint64_t key_bytes = in.get_varint();
        if (in.ok() && (key_bytes == 0 || key_bytes > kKeyBytesMax)) {
            return damaged(next.info, fmt::format("a key of {} bytes", key_bytes));
        }
        const std::string_view key = in.get_raw(key_bytes);
        const std::uint64_t value_bytes = in.get_varint();
        if (in.ok() && value_bytes > kValueBytesMax) {
            return damaged(next.info, fmt::format("a value of {} bytes", value_bytes));
        }
        const std::string_view value = in.get_raw(value_bytes);
        if (!in.ok()) {
            break;
        }
        if (key <= last_key) {
            return damaged(next.info, fmt::format("pair {} is not in order", next.position.pair_count + 1));
        }
        if (key == kImportKey) {
            return damaged(next.info, "a pair that no snapshot holds");
        }
        batch.put(key, value);
        last_key = key;
        ++next.position.pair_count;
        whole += in.position();
    }
    const std::string_view added = bytes.substr(known);
    std::uint64_t digest = stream_digest_;
    if (whole > 0) {
        digest = fnv1a(added.substr(0, whole - known), digest);
        next.position.digest = digest;
        digest = fnv1a(added.substr(whole - known), digest);
    } else {
        digest = fnv1a(added, digest);
    }
    if (chunk.pair_count != next.position.pair_count || chunk.digest != digest) {
        return damaged(next.info,
                       fmt::format("it ends at pair {} with digest {:016x}; {} and {:016x} were expected",
                                   next.position.pair_count,
                                   digest,
                                   chunk.pair_count,
                                   chunk.digest));
    }
    if (chunk.last && whole != bytes.size()) {
        return damaged(next.info, "the last one ends within a pair");
    }
    next.position.last_key.assign(last_key);
    next.complete = chunk.last;
    if (whole > 0 || known == 0) {
        partial_ = std::string{bytes.substr(whole)};
    }
    stream_digest_ = digest;
    return success();
}

}  // namespace nornic::engine
