// Runs a fuzz target over files instead of under libFuzzer: every file named, and every file of
// every folder named. Also over the empty input and a few generic ones, so that a target without
// seeds is still called.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::vector<char>& input) {
    std::vector<std::uint8_t> bytes(input.size());
    std::ranges::transform(
        input, bytes.begin(), [](char c) { return static_cast<std::uint8_t>(c); });
    // data() of an empty vector may be null, as it may be for libFuzzer's own first input.
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

void run_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    run(std::vector<char>(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()));
}

}  // namespace

int main(int argc, char** argv) {
    std::size_t count = 0;
    for (const std::size_t length : {0U, 1U, 2U, 17U, 300U, 70000U}) {
        for (const char byte : {'\0', '\x7f', '(', '\xff'}) {
            run(std::vector<char>(length, byte));
            ++count;
        }
    }
    for (int i = 1; i < argc; ++i) {
        const std::filesystem::path path = argv[i];
        if (std::filesystem::is_directory(path)) {
            std::vector<std::filesystem::path> files;
            for (const auto& entry : std::filesystem::directory_iterator(path)) {
                if (entry.is_regular_file()) {
                    files.push_back(entry.path());
                }
            }
            std::ranges::sort(files);
            for (const auto& file : files) {
                run_file(file);
                ++count;
            }
        } else if (std::filesystem::is_regular_file(path)) {
            run_file(path);
            ++count;
        }
    }
    std::printf("%zu inputs\n", count);
    return 0;
}
