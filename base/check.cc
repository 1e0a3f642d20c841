#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace nornic::detail {

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
    std::fprintf(
        stderr, "CHECK failed: %s (%s) at %s:%d\n", condition, message.c_str(), file, line);
    std::fflush(stderr);
    std::abort();
}

}  // namespace nornic::detail
