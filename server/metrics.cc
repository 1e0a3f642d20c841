// What Prometheus reads of an instance. Names: docs/metrics.md.
#include "bolt/server.h"
#include "http/server.h"
#include "server/instance.h"
#include "server/process_metrics.h"
#include "server/replication_metrics.h"
#include "server/scraped.h"

namespace nornic::server {
namespace {

double number(std::uint64_t value) {
    return static_cast<double>(value);
}

void show_engine(Scraped& out, const engine::EngineStats& stats) {
    out.gauge("nornicdb_cache_bytes", "Decoded pages in memory.", number(stats.cache_bytes));
    out.counter("nornicdb_cache_misses_total", "Pages read from the store.", number(stats.cache_misses));
    out.counter("nornicdb_checkpoints_total", "Checkpoints written since the start.", number(stats.checkpoints));
    out.gauge("nornicdb_checkpoint_index", "Log index of the last checkpoint.", number(stats.checkpoint_index.value));
}

void show_store(Scraped& out, const engine::EngineStats& engine) {
    const engine::KvStats& stats = engine.kv;
    out.gauge("nornicdb_store_bytes", "Bytes of the store on disk.", number(engine.kv_disk_bytes));
    out.gauge("nornicdb_store_live_bytes", "Those of its newest state; the rest is read still.", number(stats.sst_live_bytes));
    out.gauge("nornicdb_store_memory_bytes",
              "Bytes that the store holds in memory, beside the page cache.",
              number(engine.kv_memory_bytes));
    out.gauge("nornicdb_store_memtable_bytes", "Its memtables, those included that are read still.", number(stats.memtable_bytes));
    out.gauge("nornicdb_store_block_cache_bytes", "Its blocks in memory.", number(stats.block_cache_bytes));
    out.gauge("nornicdb_store_block_cache_max_bytes", "What they may take.", number(stats.block_cache_bytes_max));
    out.gauge("nornicdb_store_table_reader_bytes",
              "What its open files hold in memory beside the block cache.",
              number(stats.table_reader_bytes));
    out.gauge("nornicdb_store_level0_files", "Files that no compaction has sorted in yet.", number(stats.level0_files));
    out.gauge("nornicdb_store_compaction_pending_bytes",
              "What compactions have to rewrite before all levels have their size.",
              number(stats.compaction_pending_bytes));
    out.gauge("nornicdb_store_compactions_running", "Compactions that run now.", number(stats.compactions_running));
    out.gauge("nornicdb_store_flushes_running", "Flushes that run now.", number(stats.flushes_running));
    for (const auto& [kind, count] : {std::pair{"slowdown", stats.stall_slowdowns}, {"stop", stats.stall_stops}}) {
        out.counter("nornicdb_store_write_stalls_total",
                    "Writes to the store that were slowed down, or stopped until a flush or a compaction caught up.",
                    number(count),
                    {{"kind", kind}});
    }
    out.gauge("nornicdb_store_writes_stopped", "1 while the store takes no writes.", stats.writes_stopped ? 1 : 0);
    out.counter("nornicdb_store_background_errors_total",
                "Flushes and compactions that failed.",
                number(stats.background_errors));
}

void show_bolt(Scraped& out, const bolt::Metrics& bolt) {
    const auto counter = [&](const char* name, const char* help, const std::atomic<std::uint64_t>& value) {
        out.counter(name, help, number(value.load(std::memory_order_relaxed)));
    };
    out.gauge("nornicdb_bolt_connections_open", "Bolt connections open now.", number(bolt.connections_open()));
    out.gauge("nornicdb_bolt_connections_running",
              "Bolt connections with a request in work now.",
              number(bolt.connections_running.load(std::memory_order_relaxed)));
    counter("nornicdb_bolt_connections_total", "Bolt connections accepted since the start.", bolt.connections_opened);
    counter("nornicdb_bolt_connections_refused_total", "Bolt connections refused at the limit.", bolt.connections_refused);
    counter("nornicdb_bolt_messages_total", "Bolt messages received.", bolt.messages_received);
    counter("nornicdb_bolt_messages_failed_total", "Bolt messages answered with FAILURE.", bolt.messages_failed);
    counter("nornicdb_bolt_records_total", "Records sent over Bolt.", bolt.records_sent);
    counter("nornicdb_bolt_received_bytes_total", "Bytes received over Bolt.", bolt.bytes_received);
    counter("nornicdb_bolt_sent_bytes_total", "Bytes sent over Bolt.", bolt.bytes_sent);
    counter("nornicdb_bolt_login_failures_total", "Logins refused over Bolt.", bolt.authentication_failures);
}

void show_http(Scraped& out, const http::Metrics& http) {
    const double opened = number(http.connections_opened.load(std::memory_order_relaxed));
    out.gauge("nornicdb_http_connections_open",
              "HTTP connections open now.",
              opened - number(http.connections_closed.load(std::memory_order_relaxed)));
    out.counter("nornicdb_http_connections_total", "HTTP connections accepted since the start.", opened);
    out.counter("nornicdb_http_requests_total",
                "HTTP requests since the start.",
                number(http.requests.load(std::memory_order_relaxed)));
    out.counter("nornicdb_http_requests_failed_total",
                "HTTP requests answered with 4xx or 5xx.",
                number(http.failures.load(std::memory_order_relaxed)));
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

    add_process_metrics(metrics_, settings_);
    add_replication_metrics(metrics_, [this] { return member(); });
    show_when_scraped(metrics_, [this](Scraped& out) {
        const engine::EngineStats stats = engine_->stats();
        show_engine(out, stats);
        show_store(out, stats);
        const modes::ReplicaStats replica = replica_->stats();
        out.counter("nornicdb_commits_total", "Transactions committed since the start.", number(replica.commits));
        out.counter("nornicdb_commits_refused_total",
                    "Transactions that were refused, as there was no room, no leader or no disk, since the start.",
                    number(replica.refused));
        out.gauge("nornicdb_transactions_open", "Transactions open now.", number(transactions_.count()));
        out.gauge("nornicdb_threads", "Threads that run statements.", number(pool_.threads()));
        std::uint64_t hits = 0;
        std::uint64_t misses = 0;
        {
            const std::lock_guard lock{plans_mutex_};
            for (const auto& [database, plans] : plans_) {
                hits += plans->hits();
                misses += plans->misses();
            }
        }
        out.counter("nornicdb_plan_cache_hits_total", "Statements whose plan was known.", number(hits));
        out.counter("nornicdb_plan_cache_misses_total", "Statements that were planned.", number(misses));
        // At least zeros, from the first scrape on.
        static const bolt::Metrics no_bolt;
        static const http::Metrics no_http;
        const bolt::Server* const bolt = bolt_server();
        show_bolt(out, bolt != nullptr ? bolt->metrics() : no_bolt);
        const http::Server* const http = http_server_.load();
        show_http(out, http != nullptr ? http->metrics() : no_http);
    });
}

}  // namespace nornic::server
