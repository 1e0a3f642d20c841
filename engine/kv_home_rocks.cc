// Stores are directories with numbers, and one small file names the one in use: what is replaced can be read until
// its last reader is gone, nothing that is open is ever renamed, and the exchange is one rename of that file.
#include "base/check.h"
#include "base/mutex.h"
#include "engine/kv_rocks.h"
#include "observability/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

namespace nornic::engine {
namespace {

constexpr std::string_view kFirstName = "store";
constexpr std::string_view kPrefix = "store-";
constexpr std::string_view kCurrentFile = "store.current";
constexpr std::string_view kCurrentFileNew = "store.current.new";
constexpr std::size_t kNameBytesMax = 64;

std::string store_name(std::uint64_t number) {
    return number == 0 ? std::string{kFirstName} : fmt::format("{}{}", kPrefix, number);
}

std::optional<std::uint64_t> store_number(std::string_view name) {
    if (name == kFirstName) {
        return 0;
    }
    if (!name.starts_with(kPrefix)) {
        return std::nullopt;
    }
    std::uint64_t number = 0;
    const auto [end, error] =
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
    if (error != std::errc{} || end != name.data() + name.size() || store_name(number) != name) {
        return std::nullopt;
    }
    return number;
}

/// What the home and the stores that it opened know together; the stores may live longer.
class Stores {
public:
    explicit Stores(std::string directory) : directory_{std::move(directory)} {}
    [[nodiscard]] std::string path(std::uint64_t number) const {
        return fmt::format("{}/{}", directory_, store_name(number));
    }
    [[nodiscard]] std::uint64_t current() const {
        const MutexLock lock{mutex_};
        return current_;
    }
    void set_current(std::uint64_t number) {
        const MutexLock lock{mutex_};
        current_ = number;
    }
    [[nodiscard]] bool is_open(std::uint64_t number) const {
        const MutexLock lock{mutex_};
        return open_.contains(number);
    }
    void opened(std::uint64_t number) {
        const MutexLock lock{mutex_};
        open_.insert(number);
    }
    void closed(std::uint64_t number) {
        {
            const MutexLock lock{mutex_};
            open_.erase(number);
            if (number >= current_) {
                return;
            }
        }
        remove(number);
    }
    /// What is left of it goes at the next start.
    void remove(std::uint64_t number) const {
        std::error_code error;
        std::filesystem::remove_all(path(number), error);
        if (error) {
            log::warn("A store that was replaced, {}, could not be removed: {}", path(number), error.message());
        }
    }

private:
    const std::string directory_;
    mutable Mutex mutex_;
    std::uint64_t current_ GUARDED_BY(mutex_) = 0;
    std::set<std::uint64_t> open_ GUARDED_BY(mutex_);
};

class RocksKvHome final : public KvHome {
public:
    RocksKvHome(std::string directory, RocksKvSettings settings, FileSystem& files, rocksdb::Env* env)
        : directory_{std::move(directory)},
          settings_{std::move(settings)},
          files_{files},
          env_{env},
          stores_{std::make_shared<Stores>(directory_)} {}

    Result<std::unique_ptr<Kv>> open() override {
        if (!settled_) {
            NORNIC_TRY(settle());
            settled_ = true;
        }
        NORNIC_TRY(auto kv, open_number(stores_->current(), false));
        // It may be new, and its name must be durable before a checkpoint in it lets the log forget anything.
        NORNIC_TRY(files_.sync_directory(directory_));
        return kv;
    }

    Result<std::unique_ptr<Kv>> open_incoming() override {
        NORNIC_TRY(check_incoming_closed());
        return open_number(incoming(), true);
    }

    Result<> discard_incoming() override {
        NORNIC_TRY(check_incoming_closed());
        stores_->remove(incoming());
        return success();
    }

    Result<> install_incoming() override {
        const std::uint64_t before = stores_->current();
        const std::uint64_t next = incoming();
        // Its own name must be durable before anything names it.
        NORNIC_TRY(files_.sync_directory(directory_));
        if (Result<> named = name_current(next); !named) {
            // The rename may have taken place. Either state is whole after a crash, but this process goes on with the
            // old one, so the next start should find that.
            (void)name_current(before);
            return named;
        }
        stores_->set_current(next);
        if (!stores_->is_open(before)) {
            stores_->remove(before);
        }
        return success();
    }

    [[nodiscard]] std::uint64_t free_bytes() const override {
        const auto free = files_.free_bytes(directory_);
        return free ? free.value() : UINT64_MAX;
    }

private:
    [[nodiscard]] std::uint64_t incoming() const { return stores_->current() + 1; }
    Result<> check_incoming_closed() const {
        if (stores_->is_open(incoming())) {
            return fail(ErrorCode::kBusy,
                        fmt::format("the store that is arriving, {}, is open", stores_->path(incoming())));
        }
        return success();
    }

    Result<std::unique_ptr<Kv>> open_number(std::uint64_t number, bool steadily) {
        RocksKvSettings settings = settings_;
        settings.directory = stores_->path(number);
        auto kv = open_rocks_kv_on(
            settings, env_, [stores = stores_, number] { stores->closed(number); }, steadily);
        if (kv) {
            stores_->opened(number);
        }
        return kv;
    }

    /// Finds the one in use and removes what a crash left of others.
    Result<> settle() {
        NORNIC_TRY(files_.make_directories(directory_));
        NORNIC_TRY(const std::vector<std::string> names, files_.list(directory_));
        const auto has = [&](std::string_view name) {
            return std::find(names.begin(), names.end(), name) != names.end();
        };
        std::uint64_t current = 0;
        if (has(kCurrentFile)) {
            NORNIC_TRY(current, read_current());
            if (!has(store_name(current))) {
                return fail(ErrorCode::kCorruption,
                            fmt::format("{}/{} names '{}', which does not exist",
                                        directory_,
                                        kCurrentFile,
                                        store_name(current)));
            }
        }
        stores_->set_current(current);
        for (const std::string& name : names) {
            const auto number = store_number(name);
            if (number && *number != current && *number != current + 1) {
                stores_->remove(*number);
            }
        }
        if (has(kCurrentFileNew)) {
            NORNIC_TRY(files_.remove(fmt::format("{}/{}", directory_, kCurrentFileNew)));
        }
        return success();
    }

    Result<std::uint64_t> read_current() {
        const std::string path = fmt::format("{}/{}", directory_, kCurrentFile);
        NORNIC_TRY(const auto file, files_.open(path, OpenMode::kExisting));
        std::string text(kNameBytesMax, '\0');
        NORNIC_TRY(const std::size_t got, file->read(0, text));
        text.resize(got);
        const auto number = text.ends_with('\n')
                                ? store_number(std::string_view{text}.substr(0, text.size() - 1))
                                : std::nullopt;
        if (!number) {
            return fail(ErrorCode::kCorruption,
                        fmt::format("{} does not hold the name of a store and the end of a line", path));
        }
        return *number;
    }

    Result<> name_current(std::uint64_t number) {
        const std::string fresh = fmt::format("{}/{}", directory_, kCurrentFileNew);
        NORNIC_TRY(const std::vector<std::string> names, files_.list(directory_));
        if (std::find(names.begin(), names.end(), kCurrentFileNew) != names.end()) {
            NORNIC_TRY(files_.remove(fresh));
        }
        {
            NORNIC_TRY(const auto file, files_.open(fresh, OpenMode::kCreate));
            NORNIC_TRY(file->write(0, store_name(number) + "\n"));
            NORNIC_TRY(file->sync_data());
        }
        NORNIC_TRY(files_.rename(fresh, fmt::format("{}/{}", directory_, kCurrentFile)));
        return files_.sync_directory(directory_);
    }

    const std::string directory_;
    const RocksKvSettings settings_;
    FileSystem& files_;
    rocksdb::Env* const env_;
    const std::shared_ptr<Stores> stores_;
    bool settled_ = false;
};

}  // namespace

std::unique_ptr<KvHome> make_rocks_kv_home_on(const std::string& directory,
                                              const RocksKvSettings& settings,
                                              FileSystem& files,
                                              rocksdb::Env* env) {
    return std::make_unique<RocksKvHome>(directory, settings, files, env);
}

std::unique_ptr<KvHome> make_rocks_kv_home(const std::string& directory, const RocksKvSettings& settings) {
    return make_rocks_kv_home_on(directory, settings, posix_file_system(), nullptr);
}

}  // namespace nornic::engine
