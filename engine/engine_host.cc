// EngineHost: the engine in use, held so that it can be replaced beneath those who use it. What was begun on the one
// before keeps that alive until it ends.
#include "base/check.h"
#include "base/random.h"
#include "engine/engine_impl.h"
#include "engine/kv_lease.h"
#include "engine/region/feed.h"
#include "engine/snapshot_pairs.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {

/// Left for the log and everything else on the disk that a snapshot arrives on.
constexpr std::uint64_t kReserveBytes = std::uint64_t{64} << 20;
/// How long begin() waits while one state takes the place of another.
constexpr Duration kReplacementWait = std::chrono::seconds{10};

Error replaced_error() {
    return Error{ErrorCode::kStopping, "This server's data is being replaced; run the transaction again"};
}

class HostImpl final : public EngineHost {
public:
    HostImpl(std::unique_ptr<KvHome> home, const Settings& settings, Clock& clock)
        : home_{std::move(home)},
          settings_{settings},
          clock_{clock},
          random_{settings.seed == 0 ? Random::from_os() : Random{settings.seed ^ 0x534E4150}} {}

    ~HostImpl() override { stop(); }

    Result<> open() {
        const MutexLock lock{replacing_mutex_};
        NORNIC_TRY(auto kv, home_->open());
        NORNIC_TRY(auto next, open_on(std::move(kv)));
        publish(std::move(next));
        return success();
    }

    // ---- Engine

    Result<> apply(const LogEntry& entry) override {
        EngineImpl& engine = in_use_.load(std::memory_order_acquire)->engine;  // nothing is replaced beside this
        const Result<> done = engine.apply(entry);
        applied_.store(engine.applied_index().value, std::memory_order_release);
        return done;
    }
    /// Asked many times for each commit and each read, so it does not go through present().
    [[nodiscard]] LogIndex applied_index() const override {
        return LogIndex{applied_.load(std::memory_order_acquire)};
    }
    [[nodiscard]] LogIndex durable_index() const override { return present()->engine.durable_index(); }
    void on_checkpoint(std::function<void(LogIndex)> callback) override {
        const MutexLock lock{replacing_mutex_};
        callback_ = std::move(callback);
        present()->engine.on_checkpoint(callback_);
    }
    Result<> checkpoint() override { return present()->engine.checkpoint(); }
    Result<std::unique_ptr<Transaction>> begin(const BeginOptions& options) override;
    [[nodiscard]] std::vector<DatabaseInfo> databases() const override { return present()->engine.databases(); }
    [[nodiscard]] std::optional<Value> catalog(std::string_view key) const override {
        return present()->engine.catalog(key);
    }
    [[nodiscard]] std::vector<std::pair<std::string, Value>> catalog_range(
        std::string_view prefix) const override {
        return present()->engine.catalog_range(prefix);
    }
    Result<> await_indexes(std::string_view database, std::string_view name, Deadline deadline) override {
        return present()->engine.await_indexes(database, name, deadline);
    }
    [[nodiscard]] EngineStats stats() const override { return present()->engine.stats(); }
    Result<std::uint64_t> digest() override { return present()->engine.digest(); }
    void stop() override;

    // ---- EngineHost

    [[nodiscard]] RegionData* regions() override { return &regions_; }
    [[nodiscard]] bool is_crowded() const override { return present()->engine.is_crowded(); }
    [[nodiscard]] Term applied_term() const override { return present()->engine.applied_term(); }
    [[nodiscard]] std::string history() const override { return present()->engine.history(); }
    [[nodiscard]] std::pair<LogIndex, std::string> membership() const override { return present()->engine.membership(); }
    [[nodiscard]] bool freshly_installed() const override { return present()->engine.freshly_installed(); }
    Result<> reload() override;
    Result<> renew_history() override;
    Result<std::unique_ptr<StateView>> view_state() override {
        const std::shared_ptr<Present> on = present();
        return on->engine.view_state(on);
    }
    Result<std::unique_ptr<SnapshotExport>> begin_export() override;
    Result<std::unique_ptr<SnapshotImport>> begin_import(const SnapshotInfo& info) override;
    Result<> discard_import() override;
    Result<> install(std::unique_ptr<SnapshotImport> import) override;
    [[nodiscard]] std::string token_name(DatabaseId database, TokenKind kind, std::uint32_t id) const override {
        return present()->engine.token_name(database, kind, id);
    }
    void on_replaced(std::function<void()> callback) override {
        const MutexLock lock{replacing_mutex_};
        replaced_ = std::move(callback);
    }

private:
    /// An engine, what it stands on and its part in that.
    struct Present {
        Present(std::shared_ptr<Kv> store, const Settings& settings, Clock& clock)
            : kv{std::move(store)},
              lease{std::make_shared<KvLease>(kv)},
              engine{lease, settings, clock, LogIndex{}, Term{}} {}
        const std::shared_ptr<Kv> kv;
        const std::shared_ptr<KvLease> lease;
        EngineImpl engine;
    };

    [[nodiscard]] std::shared_ptr<Present> present() const EXCLUDES(current_mutex_) {
        const MutexLock lock{current_mutex_};
        return current_;
    }
    Result<std::shared_ptr<Present>> open_on(std::shared_ptr<Kv> kv) {
        auto next = std::make_shared<Present>(std::move(kv), settings_, clock_);
        NORNIC_TRY(next->engine.open());
        return next;
    }
    void publish(std::shared_ptr<Present> next) REQUIRES(replacing_mutex_) EXCLUDES(current_mutex_);
    /// Ends what goes on in the present one; nothing is read from or written to its Kv any more.
    void retire() REQUIRES(replacing_mutex_);
    [[nodiscard]] Result<> check_running() const REQUIRES(replacing_mutex_) {
        return stopped_ ? Result<>{Error{ErrorCode::kStopping, "The server is stopping"}} : success();
    }

    const std::unique_ptr<KvHome> home_;
    const Settings settings_;
    Clock& clock_;

    Mutex replacing_mutex_;  // taken first: one replacement, or import that begins, at a time
    bool stopped_ GUARDED_BY(replacing_mutex_) = false;
    std::function<void(LogIndex)> callback_ GUARDED_BY(replacing_mutex_);
    std::function<void()> replaced_ GUARDED_BY(replacing_mutex_);
    std::weak_ptr<const void> import_ GUARDED_BY(replacing_mutex_);  // the one that is alive

    mutable Mutex current_mutex_;
    ConditionVariable published_;
    std::shared_ptr<Present> current_ GUARDED_BY(current_mutex_);
    std::uint64_t generation_ GUARDED_BY(current_mutex_) = 0;
    bool stopping_ GUARDED_BY(current_mutex_) = false;
    std::atomic<Present*> in_use_{nullptr};       // current_, for apply()
    std::atomic<std::uint64_t> applied_{0};  // of current_

    Mutex random_mutex_;
    Random random_ GUARDED_BY(random_mutex_);

    RegionFeed regions_{[this] {
        auto on = present();
        EngineImpl* const engine = &on->engine;
        return RegionFeed::On{engine, std::move(on)};
    }};
};

void HostImpl::publish(std::shared_ptr<Present> next) {
    next->engine.on_checkpoint(callback_);
    {
        const MutexLock lock{current_mutex_};
        in_use_.store(next.get(), std::memory_order_release);
        applied_.store(next->engine.applied_index().value, std::memory_order_release);
        current_.swap(next);
        ++generation_;
    }
    published_.notify_all();
    // What was in use is let go of here, outside the lock: its destructor may take long.
}

void HostImpl::retire() {
    const std::shared_ptr<Present> old = present();
    old->engine.retire(replaced_error());
    old->lease->end();
    if (replaced_) {
        replaced_();
    }
}

Result<std::unique_ptr<Transaction>> HostImpl::begin(const BeginOptions& options) {
    const auto begin_on = [&](std::shared_ptr<Present> on) {
        EngineImpl& engine = on->engine;
        return engine.begin(options, std::move(on));
    };
    std::shared_ptr<Present> on;
    std::uint64_t tried = 0;
    {
        const MutexLock lock{current_mutex_};
        on = current_;
        tried = generation_;
    }
    auto begun = begin_on(std::move(on));
    if (begun || begun.error().code() != ErrorCode::kStopping || !settings_.background) {
        return begun;
    }
    // Another one may be about to take its place.
    const auto until = std::chrono::steady_clock::now() + kReplacementWait;
    {
        MutexLock lock{current_mutex_};
        while (!stopping_ && generation_ == tried && std::chrono::steady_clock::now() < until) {
            published_.wait_until(lock, until);
        }
        on = current_;
    }
    return begin_on(std::move(on));
}

void HostImpl::stop() {
    {
        const MutexLock lock{current_mutex_};
        stopping_ = true;
    }
    published_.notify_all();
    const MutexLock lock{replacing_mutex_};
    stopped_ = true;
    if (in_use_.load() != nullptr) {
        present()->engine.stop();
    }
}

Result<> HostImpl::reload() {
    const MutexLock lock{replacing_mutex_};
    NORNIC_TRY(check_running());
    const std::shared_ptr<Kv> kv = present()->kv;
    NORNIC_TRY(kv->flush());
    retire();
    NORNIC_TRY(auto next, open_on(kv));
    publish(std::move(next));
    return success();
}

Result<> HostImpl::renew_history() {
    std::string uuid;
    {
        const MutexLock lock{random_mutex_};
        uuid = make_uuid(random_);
    }
    NORNIC_TRY(present()->engine.renew_history(std::move(uuid)));
    return reload();
}

Result<std::unique_ptr<SnapshotExport>> HostImpl::begin_export() {
    const std::shared_ptr<Present> from = present();
    SnapshotInfo info;
    std::unique_ptr<KvCursor> cursor;
    NORNIC_TRY(from->engine.checkpoint([&](LogIndex index, Term term) {
        info.index = index;
        info.term = term;
        cursor = from->kv->new_scan();
    }));
    info.history = from->engine.history();
    info.bytes_estimate = from->kv->disk_bytes();
    if (info.bytes_estimate == 0) {
        info.bytes_estimate = from->kv->memory_bytes();
    }
    {
        const MutexLock lock{random_mutex_};
        // With a fixed seed a restart draws the same numbers again, for other pairs.
        const auto now = static_cast<std::uint64_t>(clock_.wall_ns());
        info.id = fmt::format("{:016x}{:016x}", now, random_.next());
    }
    return std::unique_ptr<SnapshotExport>{
        std::make_unique<PairExport>(std::move(info), from->kv, std::move(cursor))};
}

Result<std::unique_ptr<SnapshotImport>> HostImpl::begin_import(const SnapshotInfo& info) {
    const MutexLock lock{replacing_mutex_};
    NORNIC_TRY(check_running());
    if (!import_.expired()) {
        return fail(ErrorCode::kBusy, "another snapshot is being received");
    }
    NORNIC_TRY(std::shared_ptr<Kv> kv, home_->open_incoming());
    NORNIC_TRY(auto progress, PairImport::progress_in(*kv));
    if (!progress || progress->info.id != info.id || progress->info.index != info.index ||
        progress->info.term != info.term || progress->info.history != info.history) {
        kv.reset();
        NORNIC_TRY(home_->discard_incoming());
        NORNIC_TRY(kv, home_->open_incoming());
        progress = PairImport::Progress{.info = info, .position = {}, .complete = false};
    }
    if (!progress->complete) {
        const std::uint64_t held = kv->disk_bytes();
        const std::uint64_t wanted =
            kReserveBytes + std::min(info.bytes_estimate - std::min(held, info.bytes_estimate), UINT64_MAX / 2);
        if (const std::uint64_t free = home_->free_bytes(); free < wanted) {
            return fail(ErrorCode::kDiskFull,
                        fmt::format("a snapshot of about {} bytes does not fit: {} bytes are free, {} are "
                                    "wanted with what is left to others",
                                    info.bytes_estimate,
                                    free,
                                    wanted));
        }
    }
    const auto alive = std::make_shared<const int>(0);
    import_ = alive;
    return std::unique_ptr<SnapshotImport>{
        std::make_unique<PairImport>(std::move(kv), std::move(*progress), alive)};
}

Result<> HostImpl::discard_import() {
    const MutexLock lock{replacing_mutex_};
    if (!import_.expired()) {
        return fail(ErrorCode::kBusy, "the snapshot is still being received");
    }
    return home_->discard_incoming();
}

Result<> HostImpl::install(std::unique_ptr<SnapshotImport> import) {
    const MutexLock lock{replacing_mutex_};
    NORNIC_TRY(check_running());
    const auto* const pairs = dynamic_cast<const PairImport*>(import.get());
    NORNIC_CHECK(pairs != nullptr, "an import of another engine");
    const SnapshotInfo info = pairs->info();
    if (!pairs->complete()) {
        return fail(ErrorCode::kInvalidArgument, fmt::format("snapshot {} is not complete", info.id));
    }
    const std::shared_ptr<Kv> kv = pairs->kv();
    NORNIC_TRY(kv->flush());
    // The new one is whole before the old one is touched: everything that can fail is behind us then.
    auto opened = open_on(kv);
    if (!opened) {
        return fail(opened.error().code(),
                    fmt::format("snapshot {} cannot be used: {}", info.id, opened.error().message()));
    }
    std::shared_ptr<Present> next = std::move(opened).value();
    if (next->engine.applied_index() != info.index || next->engine.applied_term() != info.term ||
        next->engine.history() != info.history) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("snapshot {} holds the state at entry {} of term {} of history {}; {}, {} and {} "
                                "were announced",
                                info.id,
                                next->engine.applied_index().value,
                                next->engine.applied_term().value,
                                next->engine.history(),
                                info.index.value,
                                info.term.value,
                                info.history));
    }
    NORNIC_TRY(home_->install_incoming());
    retire();
    publish(std::move(next));
    return success();
}

}  // namespace

Result<std::unique_ptr<EngineHost>> open_engine_host(std::unique_ptr<KvHome> home,
                                                     const Settings& settings,
                                                     Clock& clock) {
    auto host = std::make_unique<HostImpl>(std::move(home), settings, clock);
    NORNIC_TRY(host->open());
    return std::unique_ptr<EngineHost>{std::move(host)};
}

}  // namespace nornic::engine
