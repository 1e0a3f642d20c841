// What Prometheus reads of an instance. Names: docs/metrics.md.
#include "bolt/server.h"
#include "server/instance.h"
#include "server/replication_metrics.h"

#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

namespace nornic::server {
namespace {

double resident_bytes() {
    std::ifstream file{"/proc/self/statm"};
    long total = 0;
    long resident = 0;
    file >> total >> resident;
    return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

void Instance::add_metrics() {
    counters_.statements =
        &metrics_.counter("nornicdb_statements_total", "Statements that were started.");
    counters_.failures = &metrics_.counter("nornicdb_statement_failures_total",
                                           "Statements that ended with an error.");
    counters_.reruns =
        &metrics_.counter("nornicdb_statement_reruns_total",
                          "Autocommit statements run again because another transaction won.");
    counters_.seconds =
        &metrics_.histogram("nornicdb_statement_seconds",
                            "From RUN to the last record.",
                            {0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60});

    add_replication_metrics(metrics_, [this] { return member(); });
    auto& commits =
        metrics_.gauge("nornicdb_commits_total", "Transactions committed since the start.");
    auto& syncs = metrics_.gauge("nornicdb_log_syncs_total",
                                 "Syncs of the log since the start; commits share them.");
    auto& sync_seconds =
        metrics_.gauge("nornicdb_log_sync_seconds_total", "Time spent in syncs of the log.");
    auto& sync_max =
        metrics_.gauge("nornicdb_log_sync_seconds_max", "Longest sync of the log since the start.");
    auto& log_bytes = metrics_.gauge("nornicdb_log_bytes", "Bytes of the log on disk.");
    auto& disk_full =
        metrics_.gauge("nornicdb_disk_full", "1 while writes are refused for lack of disk space.");
    auto& cache_bytes = metrics_.gauge("nornicdb_cache_bytes", "Decoded pages in memory.");
    auto& cache_misses =
        metrics_.gauge("nornicdb_cache_misses_total", "Pages read from the store.");
    auto& checkpoints =
        metrics_.gauge("nornicdb_checkpoints_total", "Checkpoints written since the start.");
    auto& checkpoint_index =
        metrics_.gauge("nornicdb_checkpoint_index", "Log index of the last checkpoint.");
    auto& store_bytes = metrics_.gauge("nornicdb_store_bytes", "Bytes of the store on disk.");
    auto& open = metrics_.gauge("nornicdb_transactions_open", "Transactions open now.");
    auto& threads = metrics_.gauge("nornicdb_threads", "Threads that run statements.");
    auto& resident =
        metrics_.gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
    auto& cpu = metrics_.gauge("process_cpu_seconds_total",
                               "Total user and system CPU time spent in seconds.");
    auto& bolt_open =
        metrics_.gauge("nornicdb_bolt_connections_open", "Bolt connections open now.");
    auto& bolt_total = metrics_.gauge("nornicdb_bolt_connections_total",
                                      "Bolt connections accepted since the start.");
    auto& bolt_refused = metrics_.gauge("nornicdb_bolt_connections_refused_total",
                                        "Bolt connections refused at the limit.");
    auto& bolt_messages = metrics_.gauge("nornicdb_bolt_messages_total", "Bolt messages received.");
    auto& bolt_in =
        metrics_.gauge("nornicdb_bolt_received_bytes_total", "Bytes received over Bolt.");
    auto& bolt_out = metrics_.gauge("nornicdb_bolt_sent_bytes_total", "Bytes sent over Bolt.");
    auto& logins_failed =
        metrics_.gauge("nornicdb_bolt_login_failures_total", "Logins refused over Bolt.");

    metrics_.on_scrape([this,
                        &commits,
                        &syncs,
                        &sync_seconds,
                        &sync_max,
                        &log_bytes,
                        &disk_full,
                        &cache_bytes,
                        &cache_misses,
                        &checkpoints,
                        &checkpoint_index,
                        &store_bytes,
                        &open,
                        &threads,
                        &resident,
                        &cpu,
                        &bolt_open,
                        &bolt_total,
                        &bolt_refused,
                        &bolt_messages,
                        &bolt_in,
                        &bolt_out,
                        &logins_failed] {
        const modes::ReplicaStats stats = replica_->stats();
        const engine::EngineStats engine_stats = engine_->stats();
        commits.set(static_cast<double>(stats.commits));
        syncs.set(static_cast<double>(stats.sync_count));
        sync_seconds.set(static_cast<double>(stats.sync_ns_total) / 1e9);
        sync_max.set(static_cast<double>(stats.sync_ns_max) / 1e9);
        log_bytes.set(static_cast<double>(stats.log_bytes));
        disk_full.set(stats.disk_full ? 1 : 0);
        cache_bytes.set(static_cast<double>(engine_stats.cache_bytes));
        cache_misses.set(static_cast<double>(engine_stats.cache_misses));
        checkpoints.set(static_cast<double>(engine_stats.checkpoints));
        checkpoint_index.set(static_cast<double>(engine_stats.checkpoint_index.value));
        store_bytes.set(static_cast<double>(engine_stats.kv_disk_bytes));
        open.set(static_cast<double>(transactions_.count()));
        threads.set(static_cast<double>(pool_.threads()));
        resident.set(resident_bytes());
        cpu.set(cpu_seconds());
        if (const bolt::Server* const listener = bolt_server(); listener != nullptr) {
            const bolt::Metrics& bolt = listener->metrics();
            bolt_open.set(static_cast<double>(bolt.connections_open()));
            bolt_total.set(static_cast<double>(bolt.connections_opened.load()));
            bolt_refused.set(static_cast<double>(bolt.connections_refused.load()));
            bolt_messages.set(static_cast<double>(bolt.messages_received.load()));
            bolt_in.set(static_cast<double>(bolt.bytes_received.load()));
            bolt_out.set(static_cast<double>(bolt.bytes_sent.load()));
            logins_failed.set(static_cast<double>(bolt.authentication_failures.load()));
        }
    });
}

}  // namespace nornic::server
