#include "base/check.h"
#include "base/mutex.h"
#include "engine/kv_lease.h"
#include "engine/snapshot.h"

namespace nornic::engine {
namespace {

class MemoryKvHome final : public KvHome {
public:
    Result<std::unique_ptr<Kv>> open() override {
        const MutexLock lock{mutex_};
        return std::unique_ptr<Kv>{std::make_unique<KvLease>(current_)};
    }
    Result<std::unique_ptr<Kv>> open_incoming() override {
        const MutexLock lock{mutex_};
        NORNIC_TRY(check_closed());
        if (!incoming_) {
            incoming_ = make_memory_kv();
        }
        const auto token = std::make_shared<const int>(0);
        incoming_open_ = token;
        return std::unique_ptr<Kv>{std::make_unique<KvLease>(incoming_, token)};
    }
    Result<> discard_incoming() override {
        const MutexLock lock{mutex_};
        NORNIC_TRY(check_closed());
        incoming_.reset();
        return success();
    }
    Result<> install_incoming() override {
        const MutexLock lock{mutex_};
        NORNIC_CHECK(incoming_ != nullptr, "nothing is incoming");
        current_ = std::move(incoming_);
        incoming_.reset();
        incoming_open_.reset();
        return success();
    }

    void crash() {
        const MutexLock lock{mutex_};
        crash_memory_kv(*current_);
        if (incoming_) {
            crash_memory_kv(*incoming_);
        }
        incoming_open_.reset();
    }

private:
    Result<> check_closed() const REQUIRES(mutex_) {
        if (!incoming_open_.expired()) {
            return fail(ErrorCode::kBusy, "the store that is arriving is open");
        }
        return success();
    }

    Mutex mutex_;
    std::shared_ptr<Kv> current_ GUARDED_BY(mutex_) = make_memory_kv();
    std::shared_ptr<Kv> incoming_ GUARDED_BY(mutex_);
    std::weak_ptr<const void> incoming_open_ GUARDED_BY(mutex_);
};

class LentKvHome final : public KvHome {
public:
    explicit LentKvHome(KvHome& home) : home_{home} {}
    Result<std::unique_ptr<Kv>> open() override { return home_.open(); }
    Result<std::unique_ptr<Kv>> open_incoming() override { return home_.open_incoming(); }
    Result<> discard_incoming() override { return home_.discard_incoming(); }
    Result<> install_incoming() override { return home_.install_incoming(); }
    [[nodiscard]] std::uint64_t free_bytes() const override { return home_.free_bytes(); }

private:
    KvHome& home_;
};

}  // namespace

std::unique_ptr<KvHome> make_memory_kv_home() {
    return std::make_unique<MemoryKvHome>();
}

void crash_memory_kv_home(KvHome& home) {
    auto* const memory = dynamic_cast<MemoryKvHome*>(&home);
    NORNIC_CHECK(memory != nullptr, "crash_memory_kv_home() needs a home of make_memory_kv_home()");
    memory->crash();
}

std::unique_ptr<KvHome> lend_kv_home(KvHome& home) {
    return std::make_unique<LentKvHome>(home);
}

}  // namespace nornic::engine
