#include "engine/log/simulated_disk.h"

#include "base/check.h"
#include "engine/log/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace nornic::engine {

class SimulatedFile final : public File {
public:
    SimulatedFile(SimulatedDisk& disk,
                  std::shared_ptr<SimulatedDisk::Inode> inode,
                  std::string path,
                  std::uint64_t generation)
        : disk_{disk}, inode_{std::move(inode)}, path_{std::move(path)}, generation_{generation} {}

    Result<std::size_t> read(std::uint64_t offset, std::span<char> into) override {
        const MutexLock lock{disk_.mutex_};
        NORNIC_TRY(alive());
        if (offset >= inode_->bytes.size()) {
            return std::size_t{0};
        }
        const std::size_t count = std::min<std::size_t>(into.size(), inode_->bytes.size() - offset);
        std::memcpy(into.data(), inode_->bytes.data() + offset, count);
        return count;
    }

    Result<> write(std::uint64_t offset, std::string_view bytes) override {
        MutexLock lock{disk_.mutex_};
        NORNIC_TRY(alive());
        ++disk_.writes_;
        ++disk_.held_writes_;
        while (disk_.hold_writes_ && generation_ == disk_.generation_) {
            disk_.released_.wait(lock);
        }
        --disk_.held_writes_;
        NORNIC_TRY(alive());
        std::string_view written = bytes;
        if (disk_.writes_fail_after_) {
            written = bytes.substr(0,
                                   static_cast<std::size_t>(std::min<std::uint64_t>(
                                       bytes.size(), *disk_.writes_fail_after_)));
            *disk_.writes_fail_after_ -= written.size();
        }
        disk_.put(*inode_, offset, written);
        if (written.size() < bytes.size()) {
            if (disk_.fail_only_next_write_) {
                disk_.writes_fail_after_.reset();
            }
            return fail(disk_.write_error_, fmt::format("cannot write {}: a fault", path_));
        }
        return success();
    }

    Result<> sync_data() override {
        MutexLock lock{disk_.mutex_};
        ++disk_.syncs_;
        ++disk_.held_;
        while (disk_.hold_syncs_ && generation_ == disk_.generation_) {
            disk_.released_.wait(lock);
        }
        --disk_.held_;
        NORNIC_TRY(alive());
        if (disk_.fail_syncs_) {
            // The kernel calls such pages clean: no later sync will write them.
            inode_->given_up.merge(inode_->old_sectors);
            inode_->old_sectors.clear();
            return fail(ErrorCode::kIo, fmt::format("cannot sync {}: a fault", path_));
        }
        inode_->old_sectors.clear();
        inode_->durable_size = inode_->bytes.size();
        return success();
    }

    Result<std::uint64_t> size() override {
        const MutexLock lock{disk_.mutex_};
        NORNIC_TRY(alive());
        return std::uint64_t{inode_->bytes.size()};
    }

private:
    Result<> alive() const REQUIRES(disk_.mutex_) {
        if (generation_ != disk_.generation_) {
            return fail(ErrorCode::kIo, fmt::format("cannot use {}: its process crashed", path_));
        }
        return success();
    }
    SimulatedDisk& disk_;
    std::shared_ptr<SimulatedDisk::Inode> inode_;
    std::string path_;
    std::uint64_t generation_;
};

class SimulatedLock final : public DirectoryLock {
public:
    SimulatedLock(SimulatedDisk& disk, std::string directory, std::uint64_t generation)
        : disk_{disk}, directory_{std::move(directory)}, generation_{generation} {}
    ~SimulatedLock() override {
        const MutexLock lock{disk_.mutex_};
        if (generation_ == disk_.generation_) {
            disk_.locks_.erase(directory_);
        }
    }

private:
    SimulatedDisk& disk_;
    std::string directory_;
    std::uint64_t generation_;
};

SimulatedDisk::SimulatedDisk(std::uint64_t seed) : random_{seed} {}
SimulatedDisk::~SimulatedDisk() = default;

void SimulatedDisk::put(Inode& inode, std::uint64_t offset, std::string_view bytes) {
    if (bytes.empty()) {
        return;
    }
    const std::uint64_t end = offset + bytes.size();
    for (std::uint64_t at = offset / kSectorBytes * kSectorBytes; at < end; at += kSectorBytes) {
        if (auto given_up = inode.given_up.extract(at)) {
            inode.old_sectors.insert(std::move(given_up));
        }
        const auto [sector, fresh] = inode.old_sectors.try_emplace(at);
        if (fresh && at < inode.bytes.size()) {
            sector->second = inode.bytes.substr(at, kSectorBytes);
        }
    }
    if (inode.bytes.size() < end) {
        inode.bytes.resize(end, '\0');
    }
    std::memcpy(inode.bytes.data() + offset, bytes.data(), bytes.size());
}

Result<std::unique_ptr<File>> SimulatedDisk::open(const std::string& path, OpenMode mode) {
    const MutexLock lock{mutex_};
    auto found = names_.find(path);
    if (mode == OpenMode::kExisting && found == names_.end()) {
        return fail(ErrorCode::kNotFound, fmt::format("cannot open {}: no such file", path));
    }
    if (mode == OpenMode::kCreate) {
        if (found != names_.end()) {
            return fail(ErrorCode::kIo, fmt::format("cannot open {}: file exists", path));
        }
        auto inode = std::make_shared<Inode>();
        name_changes_.push_back([path, inode](Names& names) { names[path] = inode; });
        found = names_.emplace(path, std::move(inode)).first;
    }
    return std::unique_ptr<File>{
        std::make_unique<SimulatedFile>(*this, found->second, path, generation_)};
}

Result<> SimulatedDisk::rename(const std::string& from, const std::string& to) {
    const MutexLock lock{mutex_};
    if (fail_names_) {
        return fail(ErrorCode::kIo, fmt::format("cannot rename {}: a fault", from));
    }
    const auto found = names_.find(from);
    if (found == names_.end()) {
        return fail(ErrorCode::kNotFound, fmt::format("cannot rename {}: no such file", from));
    }
    const auto change = [from, to, inode = found->second](Names& names) {
        names.erase(from);
        names[to] = inode;
    };
    change(names_);
    name_changes_.emplace_back(change);
    return success();
}

Result<> SimulatedDisk::remove(const std::string& path) {
    const MutexLock lock{mutex_};
    if (fail_names_) {
        return fail(ErrorCode::kIo, fmt::format("cannot remove {}: a fault", path));
    }
    if (names_.erase(path) == 0) {
        return fail(ErrorCode::kNotFound, fmt::format("cannot remove {}: no such file", path));
    }
    name_changes_.emplace_back([path](Names& names) { names.erase(path); });
    return success();
}

Result<> SimulatedDisk::make_directories(const std::string& /*directory*/) {
    return success();
}

Result<std::vector<std::string>> SimulatedDisk::list(const std::string& directory) {
    const MutexLock lock{mutex_};
    const std::string prefix = directory + "/";
    std::vector<std::string> names;
    for (const auto& [path, inode] : names_) {
        if (path.starts_with(prefix) && path.find('/', prefix.size()) == std::string::npos) {
            names.push_back(path.substr(prefix.size()));
        }
    }
    return names;
}

Result<> SimulatedDisk::sync_directory(const std::string& directory) {
    const MutexLock lock{mutex_};
    if (fail_names_ || fail_syncs_) {
        return fail(ErrorCode::kIo,
                    fmt::format("cannot sync the directory {}: a fault", directory));
    }
    // As in a journaled file system, syncing one directory makes all earlier names durable.
    for (const std::function<void(Names&)>& change : name_changes_) {
        change(durable_names_);
    }
    name_changes_.clear();
    return success();
}

Result<std::uint64_t> SimulatedDisk::free_bytes(const std::string& /*directory*/) {
    const MutexLock lock{mutex_};
    return std::uint64_t{free_bytes_};
}

Result<std::unique_ptr<DirectoryLock>> SimulatedDisk::lock(const std::string& directory) {
    const MutexLock lock{mutex_};
    if (!locks_.insert(directory).second) {
        return fail(ErrorCode::kBusy, fmt::format("the directory {} is in use", directory));
    }
    return std::unique_ptr<DirectoryLock>{
        std::make_unique<SimulatedLock>(*this, directory, generation_)};
}

void SimulatedDisk::crash(Lost lost) {
    {
        const MutexLock lock{mutex_};
        ++generation_;
        locks_.clear();
        if (lost != Lost::kNothing) {
            const std::size_t kept =
                lost == Lost::kEverything ? 0 : random_.below(name_changes_.size() + 1);
            for (std::size_t i = 0; i < kept; ++i) {
                name_changes_[i](durable_names_);
            }
            names_ = durable_names_;
            name_changes_.clear();
            for (const auto& [path, inode] : names_) {
                // The size and the sectors are lost independently of each other.
                const bool keeps_size = lost == Lost::kSomeSectors && random_.one_in(2);
                const auto lose = [&inode](std::uint64_t at, std::string back) {
                    const std::size_t size =
                        std::min<std::size_t>(kSectorBytes, inode->bytes.size() - at);
                    back.resize(size, '\0');
                    inode->bytes.replace(at, size, back);
                };
                for (const auto& [at, old] : inode->old_sectors) {
                    if (lost == Lost::kEverything || random_.one_in(2)) {
                        lose(at, old);
                    }
                }
                for (const auto& [at, old] : inode->given_up) {
                    lose(at, old);
                }
                inode->old_sectors.clear();
                inode->given_up.clear();
                if (!keeps_size && inode->bytes.size() > inode->durable_size) {
                    inode->bytes.resize(inode->durable_size);
                }
                inode->durable_size = inode->bytes.size();
            }
        }
        hold_syncs_ = hold_writes_ = false;
    }
    released_.notify_all();
    heal();
}

void SimulatedDisk::fail_writes_after(std::uint64_t bytes, ErrorCode code) {
    const MutexLock lock{mutex_};
    writes_fail_after_ = bytes;
    write_error_ = code;
}

void SimulatedDisk::fail_only_next_write(bool only) {
    const MutexLock lock{mutex_};
    fail_only_next_write_ = only;
}

bool SimulatedDisk::sync_is_held() const {
    const MutexLock lock{mutex_};
    return held_ > 0;
}

bool SimulatedDisk::write_is_held() const {
    const MutexLock lock{mutex_};
    return held_writes_ > 0;
}

void SimulatedDisk::fail_syncs(bool fail) {
    const MutexLock lock{mutex_};
    fail_syncs_ = fail;
}

void SimulatedDisk::fail_names(bool fail) {
    const MutexLock lock{mutex_};
    fail_names_ = fail;
}

void SimulatedDisk::hold_syncs(bool hold) {
    {
        const MutexLock lock{mutex_};
        hold_syncs_ = hold;
    }
    released_.notify_all();
}

void SimulatedDisk::hold_writes(bool hold) {
    {
        const MutexLock lock{mutex_};
        hold_writes_ = hold;
    }
    released_.notify_all();
}

void SimulatedDisk::heal() {
    {
        const MutexLock lock{mutex_};
        writes_fail_after_.reset();
        fail_only_next_write_ = fail_syncs_ = fail_names_ = hold_syncs_ = hold_writes_ = false;
    }
    released_.notify_all();
}

void SimulatedDisk::set_free_bytes(std::uint64_t bytes) {
    const MutexLock lock{mutex_};
    free_bytes_ = bytes;
}

std::string SimulatedDisk::contents(const std::string& path) {
    const MutexLock lock{mutex_};
    const auto found = names_.find(path);
    NORNIC_CHECK(found != names_.end(), "no file {}", path);
    return found->second->bytes;
}

void SimulatedDisk::overwrite(const std::string& path,
                              std::uint64_t offset,
                              std::string_view bytes) {
    const MutexLock lock{mutex_};
    const auto found = names_.find(path);
    NORNIC_CHECK(found != names_.end(), "no file {}", path);
    found->second->bytes.replace(offset, bytes.size(), bytes);
}

void SimulatedDisk::truncate(const std::string& path, std::uint64_t size) {
    const MutexLock lock{mutex_};
    const auto found = names_.find(path);
    NORNIC_CHECK(found != names_.end(), "no file {}", path);
    Inode& inode = *found->second;
    inode.bytes.resize(size);
    inode.durable_size = std::min(inode.durable_size, size);
    inode.old_sectors.erase(inode.old_sectors.lower_bound(size), inode.old_sectors.end());
    inode.given_up.erase(inode.given_up.lower_bound(size), inode.given_up.end());
}

std::uint64_t SimulatedDisk::syncs() const {
    const MutexLock lock{mutex_};
    return syncs_;
}

std::uint64_t SimulatedDisk::writes() const {
    const MutexLock lock{mutex_};
    return writes_;
}

std::unique_ptr<SimulatedDisk> SimulatedDisk::copy(std::uint64_t seed) const {
    auto out = std::make_unique<SimulatedDisk>(seed);
    const MutexLock lock{mutex_};
    NORNIC_CHECK(name_changes_.empty(), "a copy needs synced names");
    const MutexLock out_lock{out->mutex_};
    for (const auto& [path, inode] : names_) {
        out->names_[path] = out->durable_names_[path] = std::make_shared<Inode>(*inode);
    }
    return out;
}

}  // namespace nornic::engine
