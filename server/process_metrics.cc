#include "server/process_metrics.h"

#include "observability/log.h"
#include "server/scraped.h"
#include "server/version.h"

#include <fmt/chrono.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <vector>

namespace nornic::server {
namespace {

constexpr std::time_t kCertificateSoon = 14 * 24 * 60 * 60;

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// The fields of /proc/self/stat from the third on; the second, the name, may hold spaces.
std::vector<std::string> process_fields() {
    std::ifstream file{"/proc/self/stat"};
    std::string text;
    std::getline(file, text);
    std::vector<std::string> out;
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) {
        return out;
    }
    std::size_t at = name_end + 2;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        out.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return out;
}

/// When the machine was started, in seconds since 1970.
double boot_seconds() {
    std::ifstream file{"/proc/stat"};
    std::string word;
    while (file >> word) {
        if (word == "btime") {
            double seconds = 0;
            file >> seconds;
            return seconds;
        }
        std::getline(file, word);
    }
    return 0;
}

double open_files() {
    std::error_code error;
    double count = 0;
    for (std::filesystem::directory_iterator at{"/proc/self/fd", error}, end; !error && at != end; at.increment(error)) {
        ++count;
    }
    return count - 1;  // that of this reading
}

double open_files_max() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    return static_cast<double>(limit.rlim_cur);
}

void show_process(Scraped& out) {
    out.counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", cpu_seconds());
    // Numbers as in proc(5), where the third field is the first here.
    constexpr std::size_t kThreads = 20 - 3;
    constexpr std::size_t kStartTime = 22 - 3;
    constexpr std::size_t kVirtualBytes = 23 - 3;
    constexpr std::size_t kResidentPages = 24 - 3;
    const std::vector<std::string> fields = process_fields();
    if (fields.size() > kResidentPages) {
        const auto field = [&](std::size_t i) { return std::strtod(fields[i].c_str(), nullptr); };
        out.gauge("process_threads", "Number of OS threads in the process.", field(kThreads));
        out.gauge("process_start_time_seconds",
                  "Start time of the process since unix epoch in seconds.",
                  boot_seconds() + field(kStartTime) / static_cast<double>(sysconf(_SC_CLK_TCK)));
        out.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", field(kVirtualBytes));
        out.gauge("process_resident_memory_bytes",
                  "Resident memory size in bytes.",
                  field(kResidentPages) * static_cast<double>(sysconf(_SC_PAGESIZE)));
    }
    out.gauge("process_open_fds", "Number of open file descriptors.", open_files());
    out.gauge("process_max_fds", "Maximum number of open file descriptors.", open_files_max());
}

void show_disk(Scraped& out, const std::string& directory) {
    struct statvfs disk {};
    if (statvfs(directory.c_str(), &disk) != 0) {
        return;
    }
    const double block = static_cast<double>(disk.f_frsize);
    out.gauge("nornicdb_disk_free_bytes",
              "Free bytes of the disk that the data directory is on, as this user may take them.",
              static_cast<double>(disk.f_bavail) * block);
    out.gauge("nornicdb_disk_size_bytes",
              "Size of the disk that the data directory is on.",
              static_cast<double>(disk.f_blocks) * block);
}

/// When the first certificate of a PEM file ends, in seconds since 1970.
std::optional<double> certificate_end(const std::string& path) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> file{BIO_new_file(path.c_str(), "r"), BIO_free};
    const std::unique_ptr<X509, decltype(&X509_free)> certificate{
        file ? PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr) : nullptr, X509_free};
    ERR_clear_error();
    std::tm end{};
    if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &end) != 1) {
        return std::nullopt;
    }
    return static_cast<double>(timegm(&end));
}

/// An operator who looks at the log because clients cannot connect finds it there.
void warn_of_certificate(const char* listener, const std::string& file, double end) {
    const std::time_t ends = static_cast<std::time_t>(end);
    const std::time_t now = std::time(nullptr);
    if (ends < now) {
        log::error("The certificate '{}' of {} expired on {:%Y-%m-%d}: clients refuse it. Renew it and restart this server.", file, listener, fmt::gmtime(ends));
    } else if (ends < now + kCertificateSoon) {
        log::warn("The certificate '{}' of {} expires on {:%Y-%m-%d}. Renew it and restart this server.", file, listener, fmt::gmtime(ends));
    }
}

}  // namespace

void add_process_metrics(Metrics& metrics, const env::Settings& settings) {
    metrics.gauge("nornicdb_build_info", "1, with the version that runs.", {{"version", std::string{kVersion}}}).set(1);
    // Both listeners read their certificates at the start alone, so what the files say later is not what they show.
    const auto add_certificate = [&](const char* listener, const env::TlsSettings& tls) {
        const auto end = tls.enabled ? certificate_end(tls.certificate_file) : std::nullopt;
        if (end) {
            warn_of_certificate(listener, tls.certificate_file, *end);
            metrics
                .gauge("nornicdb_tls_certificate_expiry_timestamp_seconds",
                       "When the certificate that clients are shown ends.",
                       {{"listener", listener}})
                .set(*end);
        }
    };
    add_certificate("bolt", settings.bolt_tls);
    add_certificate("http", settings.http_tls);
    show_when_scraped(metrics, [directory = settings.data_directory](Scraped& out) {
        show_process(out);
        show_disk(out, directory);
    });
}

}  // namespace nornic::server
