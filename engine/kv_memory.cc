#include "base/bytes.h"
#include "base/check.h"
#include "base/mutex.h"
#include "engine/kv.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <vector>

namespace nornic::engine {
namespace {

using Map = std::map<std::string, std::string, std::less<>>;

class MemoryBatch final : public KvBatch {
public:
    struct Operation {
        enum class Kind { kPut, kErase, kEraseRange } kind;
        std::string key;
        std::string value;  // Of the put, or the end of the range.
    };

    void put(std::string_view key, std::string_view value) override {
        add(Operation::Kind::kPut, key, value);
    }
    void erase(std::string_view key) override { add(Operation::Kind::kErase, key, {}); }
    void erase_range(std::string_view begin, std::string_view end) override {
        if (begin < end) {
            add(Operation::Kind::kEraseRange, begin, end);
        }
    }
    std::size_t bytes() const override { return bytes_; }
    [[nodiscard]] const std::vector<Operation>& operations() const { return operations_; }

private:
    void add(Operation::Kind kind, std::string_view key, std::string_view value) {
        operations_.push_back({kind, std::string{key}, std::string{value}});
        bytes_ += key.size() + value.size() + sizeof(Operation);
    }
    std::vector<Operation> operations_;
    std::size_t bytes_ = 0;
};

class MemoryCursor final : public KvCursor {
public:
    explicit MemoryCursor(std::shared_ptr<const Map> map)
        : map_{std::move(map)}, at_{map_->end()} {}

    void seek(std::string_view key) override { at_ = map_->lower_bound(key); }
    void seek_back(std::string_view key) override {
        at_ = map_->upper_bound(key);
        at_ = at_ == map_->begin() ? map_->end() : std::prev(at_);
    }
    void next() override {
        if (valid()) {
            ++at_;
        }
    }
    void previous() override {
        if (valid()) {
            at_ = at_ == map_->begin() ? map_->end() : std::prev(at_);
        }
    }
    bool valid() const override { return at_ != map_->end(); }
    std::string_view key() const override { return at_->first; }
    std::string_view value() const override { return at_->second; }
    Result<> status() const override { return success(); }

private:
    std::shared_ptr<const Map> map_;
    Map::const_iterator at_;
};

class MemoryKv final : public Kv {
public:
    std::unique_ptr<KvBatch> new_batch() override { return std::make_unique<MemoryBatch>(); }

    Result<> write(KvBatch& batch) override {
        const auto* const operations = dynamic_cast<const MemoryBatch*>(&batch);
        NORNIC_CHECK(operations != nullptr, "a batch of another store");
        const MutexLock lock{mutex_};
        Map& map = own_map();
        for (const MemoryBatch::Operation& operation : operations->operations()) {
            switch (operation.kind) {
                case MemoryBatch::Operation::Kind::kPut:
                    remember(operation.key);
                    map.insert_or_assign(operation.key, operation.value);
                    break;
                case MemoryBatch::Operation::Kind::kErase:
                    remember(operation.key);
                    map.erase(operation.key);
                    break;
                case MemoryBatch::Operation::Kind::kEraseRange: {
                    const auto begin = map.lower_bound(operation.key);
                    const auto end = map.lower_bound(operation.value);
                    for (auto at = begin; at != end; ++at) {
                        remember(at->first);
                    }
                    map.erase(begin, end);
                    break;
                }
            }
        }
        return success();
    }

    Result<> flush() override {
        const MutexLock lock{mutex_};
        unflushed_.clear();
        return success();
    }

    Result<std::optional<std::string>> get(std::string_view key) override {
        const MutexLock lock{mutex_};
        const auto found = map_->find(key);
        return found == map_->end() ? std::nullopt : std::optional{found->second};
    }

    std::unique_ptr<KvCursor> new_cursor() override {
        const MutexLock lock{mutex_};
        return std::make_unique<MemoryCursor>(map_);
    }

    /// One file of length-prefixed keys and values: enough to look at, and to compare.
    Result<> checkpoint(const std::string& directory) override {
        const std::shared_ptr<const Map> map = [this] {
            const MutexLock lock{mutex_};
            return map_;
        }();
        std::error_code error;
        if (!std::filesystem::create_directory(directory, error)) {
            return fail(error ? ErrorCode::kIo : ErrorCode::kAlreadyExists,
                        "cannot create the checkpoint directory " + directory + ": " +
                            (error ? error.message() : "it exists"));
        }
        std::string bytes;
        ByteWriter writer{bytes};
        for (const auto& [key, value] : *map) {
            writer.put_string(key);
            writer.put_string(value);
        }
        std::ofstream out{directory + "/memory.kv", std::ios::binary};
        out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        out.close();
        if (!out) {
            return fail(ErrorCode::kIo, "cannot write the checkpoint in " + directory);
        }
        return success();
    }

    std::size_t memory_bytes() const override {
        const MutexLock lock{mutex_};
        std::size_t bytes = 0;
        for (const auto& [key, value] : *map_) {
            bytes += key.size() + value.size();
        }
        return bytes;
    }
    std::size_t disk_bytes() const override { return 0; }

    void crash() {
        const MutexLock lock{mutex_};
        Map& map = own_map();
        for (auto& [key, value] : unflushed_) {
            if (value) {
                map.insert_or_assign(key, std::move(*value));
            } else {
                map.erase(key);
            }
        }
        unflushed_.clear();
    }

private:
    /// The map to change: a copy if a cursor still walks the present one.
    Map& own_map() REQUIRES(mutex_) {
        if (map_.use_count() > 1) {
            map_ = std::make_shared<Map>(*map_);
        }
        return *map_;
    }
    /// Keeps what stood at `key` at the last flush.
    void remember(const std::string& key) REQUIRES(mutex_) {
        const auto [at, added] = unflushed_.try_emplace(key);
        if (added) {
            if (const auto found = map_->find(key); found != map_->end()) {
                at->second = found->second;
            }
        }
    }

    mutable Mutex mutex_;
    std::shared_ptr<Map> map_ GUARDED_BY(mutex_) = std::make_shared<Map>();
    // What a crash brings back: the flushed value of every key changed since, nullopt if absent.
    std::map<std::string, std::optional<std::string>> unflushed_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Kv> make_memory_kv() {
    return std::make_unique<MemoryKv>();
}

void crash_memory_kv(Kv& kv) {
    auto* const memory = dynamic_cast<MemoryKv*>(&kv);
    NORNIC_CHECK(memory != nullptr, "crash_memory_kv() needs a store of make_memory_kv()");
    memory->crash();
}

}  // namespace nornic::engine
