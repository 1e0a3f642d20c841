#include "transport/proof.h"

#include "base/bytes.h"
#include "base/check.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>

namespace nornic::transport {

std::string membership_proof(std::string_view secret, Side by, const ProofInput& input) {
    std::string text;
    ByteWriter out{text};
    // Lengths in front, so that no two inputs give the same text.
    for (const std::string_view part : {std::string_view{"nornicdb cluster v1"},
                                        by == Side::kDialer ? std::string_view{"D"} : std::string_view{"A"},
                                        input.dialer_nonce,
                                        input.acceptor_nonce,
                                        input.dialer_id,
                                        input.acceptor_id,
                                        input.cluster_id}) {
        out.put_be32(static_cast<std::uint32_t>(part.size()));
        out.put_raw(part);
    }
    std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
    unsigned int size = 0;
    const auto* const made = HMAC(EVP_sha256(),
                                  secret.data(),
                                  static_cast<int>(secret.size()),
                                  reinterpret_cast<const unsigned char*>(text.data()),
                                  text.size(),
                                  mac.data(),
                                  &size);
    NORNIC_CHECK(made != nullptr && size == 32, "HMAC-SHA256 gave {} bytes", size);
    return {reinterpret_cast<const char*>(mac.data()), size};
}

bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_nonce() {
    std::string nonce(kNonceBytes, '\0');
    const int done = RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), static_cast<int>(nonce.size()));
    NORNIC_CHECK(done == 1, "the random generator of the system gives nothing");
    return nonce;
}

}  // namespace nornic::transport
