#include "bolt/client.h"

#include "base/mutex.h"
#include "base/random.h"
#include "bolt/framing.h"
#include "bolt/messages.h"
#include "bolt/packstream.h"
#include "bolt/tls.h"
#include "bolt/websocket.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace nornic::bolt {

namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr std::size_t kMessageBytesMax = std::size_t{1} << 31;
constexpr std::size_t kHttpAnswerBytesMax = 16 * 1024;
constexpr std::size_t kHandshakeBytes = 20;
// How often somebody is asked whether an answer is still wanted.
constexpr Milliseconds kWantedInterval{50};
// How long reading itself waits before anybody is asked or a time-out looked at: most answers come within, with one system call.
constexpr timeval kReadPatience{0, 20'000};

std::string system_message(int error) {
    return std::strerror(error);
}

auto lost(std::string why) {
    return fail(ErrorCode::kIo, std::move(why));
}

/// timeout 0: for ever.
Result<> wait_for(int fd, short events, Milliseconds timeout, std::string_view what) {
    pollfd p{fd, events, 0};
    const int ms = timeout.count() <= 0
                       ? -1
                       : static_cast<int>(std::min<std::int64_t>(timeout.count(), 1 << 30));
    while (true) {
        const int n = ::poll(&p, 1, ms);
        if (n > 0) {
            return success();
        }
        if (n == 0) {
            return lost(fmt::format("timed out after {} ms waiting for {}", ms, what));
        }
        if (errno != EINTR) {
            return lost(system_message(errno));
        }
    }
}

Result<int> connect_socket(const ClientSettings& settings) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error =
        ::getaddrinfo(settings.host.c_str(), std::to_string(settings.port).c_str(), &hints, &found);
    if (error != 0) {
        return lost(fmt::format("cannot resolve '{}': {}", settings.host, ::gai_strerror(error)));
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner{found, ::freeaddrinfo};
    std::string why = "no address";
    for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
        const int fd =
            ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
        if (fd < 0) {
            why = system_message(errno);
            continue;
        }
        int state = ::connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
        if (state == EINPROGRESS) {
            const Result<> waited =
                wait_for(fd, POLLOUT, settings.connect_timeout, "the connection");
            if (!waited) {
                why = waited.error().message();
                ::close(fd);
                continue;
            }
            socklen_t size = sizeof state;
            ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &state, &size);
        }
        if (state == 0) {
            const int on = 1;
            ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            return fd;
        }
        why = system_message(state);
        ::close(fd);
    }
    return lost(fmt::format("cannot connect to {}:{}: {}", settings.host, settings.port, why));
}

std::string handshake_request(const ClientSettings& settings) {
    std::string out{"\x60\x60\xB0\x17", 4};
    if (settings.only_version) {
        out.append(2, '\0');
        out.push_back(static_cast<char>(settings.only_version->minor_number));
        out.push_back(static_cast<char>(settings.only_version->major_number));
        out.append(12, '\0');
    } else {
        if (settings.first_version) {
            out.append(2, '\0');
            out.push_back(static_cast<char>(settings.first_version->minor_number));
            out.push_back(static_cast<char>(settings.first_version->major_number));
        }
        // Manifest, then 5.8 to 5.0 and 4.4 to 4.2 for servers that know none.
        out.append("\x00\x00\x01\xFF\x00\x08\x08\x05\x00\x02\x04\x04\x00\x00\x00\x00", 16);
    }
    return out.substr(0, kHandshakeBytes);
}

void pack_options(Packer& out, const RunOptions& o) {
    const bool metadata = o.metadata.is_map() && !o.metadata.as_map().empty();
    out.map(std::size_t{0} + (o.database.empty() ? 0 : 1) + (o.read_only ? 1 : 0) +
            (o.bookmarks.empty() ? 0 : 1) + (o.timeout ? 1 : 0) + (metadata ? 1 : 0) +
            (o.impersonated_user.empty() ? 0 : 1));
    if (!o.database.empty()) {
        out.string("db");
        out.string(o.database);
    }
    if (o.read_only) {
        out.string("mode");
        out.string("r");
    }
    if (!o.bookmarks.empty()) {
        out.string("bookmarks");
        out.list(o.bookmarks.size());
        for (const std::string& bookmark : o.bookmarks) {
            out.string(bookmark);
        }
    }
    if (o.timeout) {
        out.string("tx_timeout");
        out.integer(o.timeout->count());
    }
    if (metadata) {
        out.string("tx_metadata");
        out.value(o.metadata);
    }
    if (!o.impersonated_user.empty()) {
        out.string("imp_user");
        out.string(o.impersonated_user);
    }
}

std::string text_at(const Map& map, std::string_view key) {
    const Value* v = map.find(key);
    return v != nullptr && v->is_string() ? std::string{v->as_string()} : std::string{};
}

/// It has one field, as RECORD and SUCCESS have.
bool is_message(std::string_view message, MessageTag tag) {
    return message.size() > 2 && message[0] == '\xB1' && message[1] == static_cast<char>(tag);
}

}  // namespace

struct Client::Impl {
    struct Answer {
        MessageTag tag = MessageTag::kIgnored;
        Map metadata;
        List record;
    };

    explicit Impl(ClientSettings s) : settings{std::move(s)} {}
    ~Impl() {
        if (fd >= 0) {
            ::close(fd);
        }
    }

    Result<> open();
    Result<> start_tls();
    Result<> start_websocket();
    Result<> shake_hands();
    Result<> hello();

    /// Encodes and writes. false: nothing was sent, since an interrupt's RESET already was.
    Result<bool> send_bytes(std::string_view plain, bool unless_interrupted = false);
    Result<> write_raw(std::string_view raw) REQUIRES(write_mutex);
    /// MSG_DONTWAIT: kIo if nothing has come.
    Result<> read_some(Milliseconds timeout, int flags = 0);
    bool has_arrived(std::size_t messages);
    Result<> wait_readable(Milliseconds timeout);
    /// Whether the server has closed the connection; takes what it said before.
    bool is_gone();
    Result<std::string> read_exactly(std::size_t n);
    Result<std::string> read_until_empty_line();
    Result<std::string_view> receive_message();
    Result<Answer> unpack(std::string_view message);
    Result<Answer> receive();
    /// RECORD or SUCCESS as it came; whatever else is an error, as of expect_success().
    Result<Piece> receive_piece(int answers_behind = 0);
    /// The answer to one request; FAILURE and IGNORED become errors after recovering.
    Result<Map> expect_success(int answers_behind = 0);
    Error server_error(const Map& metadata);
    /// What an answer that is neither RECORD nor SUCCESS says, once the session is usable again.
    Error refusal(const Answer& answer, int answers_behind = 0);
    Result<> recover(int answers_behind);
    Result<> drain_interrupts();
    Result<> pull();
    /// PULL or DISCARD of a result that has more; false: interrupt() ended it.
    Result<bool> ask_for_more(MessageTag tag, std::int64_t n);

    template <class Fill>
    void message(MessageTag tag, std::size_t fields, Fill fill) {
        MessageFramer framer{outgoing};
        framer.begin();
        Packer out{outgoing, dialect};
        out.structure(static_cast<std::uint8_t>(tag), fields);
        fill(out);
        framer.end();
    }
    void message(MessageTag tag) {
        message(tag, 0, [](Packer&) {});
    }
    auto broken(std::string why) {
        open_now = false;
        return lost(std::move(why));
    }
    Result<> flush() {
        const std::string bytes = std::move(outgoing);
        outgoing.clear();
        const Result<bool> sent = send_bytes(bytes);
        return sent ? Result<>{success()} : Result<>{broken(sent.error().message())};
    }
    void begin_request() {
        failure.reset();
        MutexLock lock{write_mutex};
        left = false;
    }
    void pack_auth(Packer& out, const std::string& user, const std::string& password) const;
    [[nodiscard]] std::size_t auth_size(const std::string& user) const;
    [[nodiscard]] std::string scheme_of(const std::string& user) const {
        return !settings.scheme.empty() ? settings.scheme : (user.empty() ? "none" : "basic");
    }

    ClientSettings settings;
    int fd = -1;
    bool open_now = false;
    Dialect dialect;
    std::string outgoing;
    std::string input;  // decrypted and unframed, before it is messages
    ChunkReader reader;
    MessageBatch batch;
    std::size_t next = 0;

    bool in_transaction = false;
    bool stream_open = false;
    std::int64_t fetch_size = 1000;
    Map summary;
    Map server_info;
    std::optional<ServerFailure> failure;
    bool arm_waiting = false;  // the request sent next is one that interrupt() may end

    // Writing, and everything that a concurrent interrupt() touches.
    Mutex write_mutex;
    std::unique_ptr<TlsChannel> tls GUARDED_BY(write_mutex);
    std::unique_ptr<WebSocketFrames> frames GUARDED_BY(write_mutex);
    bool waiting GUARDED_BY(write_mutex) = false;
    bool left GUARDED_BY(write_mutex) = false;  // something of the last request has
    int interrupts GUARDED_BY(write_mutex) = 0;  // RESETs sent by interrupt() and not answered yet
};

Result<> Client::Impl::write_raw(std::string_view raw) {
    while (!raw.empty()) {
        const ssize_t n = ::send(fd, raw.data(), raw.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            left = true;
            raw.remove_prefix(static_cast<std::size_t>(n));
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            NORNIC_TRY(wait_for(fd, POLLOUT, settings.receive_timeout, "the server to read"));
        } else if (n < 0 && errno != EINTR) {
            return lost("connection lost: " + system_message(errno));
        }
    }
    return success();
}

Result<bool> Client::Impl::send_bytes(std::string_view plain, bool unless_interrupted) {
    MutexLock lock{write_mutex};
    if (unless_interrupted && interrupts > 0) {
        return false;
    }
    std::string framed;
    if (frames != nullptr) {
        frames->wrap(plain, framed);
        plain = framed;
    }
    std::string encrypted;
    if (tls != nullptr) {
        tls->wrap(plain, encrypted);
        plain = encrypted;
    }
    NORNIC_TRY(write_raw(plain));
    // Only now is there something to interrupt: a RESET that overtook its request would be
    // answered in its place.
    waiting = waiting || arm_waiting;
    return true;
}

Result<> Client::Impl::wait_readable(Milliseconds timeout) {
    if (!settings.still_wanted) {
        return wait_for(fd, POLLIN, timeout, "the server");
    }
    const auto begin = std::chrono::steady_clock::now();
    while (true) {
        if (wait_for(fd, POLLIN, kWantedInterval, "the server")) {
            return success();
        }
        if (!settings.still_wanted()) {
            return lost("the answer is waited for no longer");
        }
        if (timeout.count() > 0 && std::chrono::steady_clock::now() - begin >= timeout) {
            return lost(fmt::format("timed out after {} ms waiting for the server", timeout.count()));
        }
    }
}

/// Waits for bytes and appends what they mean to `input`.
Result<> Client::Impl::read_some(Milliseconds timeout, int flags) {
    std::array<char, 16 * 1024> buffer;
    ssize_t n = 0;
    while (true) {
        n = ::recv(fd, buffer.data(), buffer.size(), flags);
        if (n > 0) {
            break;
        }
        if (n == 0) {
            return lost("the server closed the connection");
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (flags != 0) {
                return lost("nothing has come");
            }
            NORNIC_TRY(wait_readable(timeout));
        } else if (errno != EINTR) {
            return lost("connection lost: " + system_message(errno));
        }
    }
    std::string_view raw{buffer.data(), static_cast<std::size_t>(n)};
    MutexLock lock{write_mutex};
    std::string plain;
    std::string reply;
    if (tls != nullptr) {
        const Result<> fed = tls->feed(raw, plain, reply);
        if (!reply.empty()) {
            NORNIC_TRY(write_raw(reply));
        }
        NORNIC_TRY(fed);
        if (tls->ended() && plain.empty()) {
            return lost("the server closed the connection");
        }
        raw = plain;
    }
    if (frames == nullptr) {
        input.append(raw);
        return success();
    }
    reply.clear();
    const bool going_on = frames->feed(raw, input, reply);
    if (!reply.empty()) {
        std::string encrypted;
        if (tls != nullptr) {
            tls->wrap(reply, encrypted);
            reply.swap(encrypted);
        }
        NORNIC_TRY(write_raw(reply));
    }
    return going_on || !input.empty() ? Result<>{success()}
                                      : Result<>{lost("the server closed the connection")};
}

bool Client::Impl::is_gone() {
    while (true) {
        char byte = 0;
        const ssize_t n = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR) {
            return errno != EAGAIN && errno != EWOULDBLOCK;
        }
        if (n == 0 || (n > 0 && !read_some(settings.receive_timeout, MSG_DONTWAIT))) {
            return true;
        }
    }
}

Result<std::string> Client::Impl::read_exactly(std::size_t n) {
    while (input.size() < n) {
        NORNIC_TRY(read_some(settings.connect_timeout));
    }
    std::string out = input.substr(0, n);
    input.erase(0, n);
    return out;
}

Result<std::string> Client::Impl::read_until_empty_line() {
    while (true) {
        const std::size_t end = input.find("\r\n\r\n");
        if (end != std::string::npos) {
            return read_exactly(end + 4);
        }
        if (input.size() > kHttpAnswerBytesMax) {
            return lost("the server's answer to the WebSocket upgrade is too long");
        }
        NORNIC_TRY(read_some(settings.connect_timeout));
    }
}

Result<> Client::Impl::start_tls() {
    NORNIC_TRY(auto context,
               TlsContext::client({.verify = settings.tls_verify,
                                   .ca_file = settings.tls_ca_file,
                                   .certificate_file = settings.tls_cert_file,
                                   .key_file = settings.tls_key_file}));
    std::string first;
    {
        MutexLock lock{write_mutex};
        tls = std::make_unique<TlsChannel>(std::move(context), settings.host, first);
        NORNIC_TRY(write_raw(first));
    }
    while (true) {
        {
            MutexLock lock{write_mutex};
            if (tls->ready()) {
                return success();
            }
        }
        NORNIC_TRY(read_some(settings.connect_timeout));
    }
}

Result<> Client::Impl::start_websocket() {
    Random random = Random::from_os();
    std::string key(16, '\0');
    for (char& c : key) {
        c = static_cast<char>(random.below(256));
    }
    NORNIC_TRY(
        send_bytes(upgrade_request(fmt::format("{}:{}", settings.host, settings.port), key)));
    NORNIC_TRY(const std::string head, read_until_empty_line());
    if (!is_upgrade_answer(head, key)) {
        return fail(
            ErrorCode::kUnsupported,
            "the server does not take the WebSocket upgrade: " + head.substr(0, head.find('\r')));
    }
    MutexLock lock{write_mutex};
    frames = std::make_unique<WebSocketFrames>(WebSocketFrames::Side::kClient);
    return success();
}

Result<> Client::Impl::shake_hands() {
    NORNIC_TRY(send_bytes(handshake_request(settings)));
    NORNIC_TRY(const std::string answer, read_exactly(4));
    const auto at = [](const std::string& s, std::size_t i) {
        return static_cast<std::uint8_t>(s[i]);
    };
    if (answer == "HTTP") {
        return fail(ErrorCode::kUnsupported,
                    fmt::format("{}:{} speaks HTTP, not Bolt", settings.host, settings.port));
    }
    if (answer != std::string_view{"\x00\x00\x01\xFF", 4}) {
        dialect.version = {at(answer, 3), at(answer, 2)};
        if (dialect.version == Version{}) {
            return fail(ErrorCode::kUnsupported,
                        "the server has no Bolt version in common with this client");
        }
        return success();
    }
    // The manifest: a count, ranges of versions, capabilities.
    const auto varint = [&]() -> Result<std::uint64_t> {
        std::uint64_t v = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            NORNIC_TRY(const std::string byte, read_exactly(1));
            v |= static_cast<std::uint64_t>(at(byte, 0) & 0x7F) << shift;
            if ((at(byte, 0) & 0x80) == 0) {
                return v;
            }
        }
        return lost("the server's manifest is malformed");
    };
    NORNIC_TRY(const std::uint64_t count, varint());
    Version best{};
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(count, 64); ++i) {
        NORNIC_TRY(const std::string range, read_exactly(4));
        for (int minor = at(range, 2); minor >= std::max(0, at(range, 2) - at(range, 1)); --minor) {
            const Version v{at(range, 3), static_cast<std::uint8_t>(minor)};
            const bool spoken = v == Version{4, 4} || (v.major_number == 5 && minor <= 8);
            if (spoken && v > best) {
                best = v;
            }
        }
    }
    NORNIC_TRY(varint());
    dialect.version = best;
    std::string choice(5, '\0');
    choice[2] = static_cast<char>(best.minor_number);
    choice[3] = static_cast<char>(best.major_number);
    NORNIC_TRY(send_bytes(choice));
    if (best == Version{}) {
        return fail(ErrorCode::kUnsupported,
                    "the server has no Bolt version in common with this client");
    }
    return success();
}

std::size_t Client::Impl::auth_size(const std::string& user) const {
    return scheme_of(user) == "none" ? 1 : 3;
}

void Client::Impl::pack_auth(Packer& out,
                             const std::string& user,
                             const std::string& password) const {
    const std::string scheme = scheme_of(user);
    out.string("scheme");
    out.string(scheme);
    if (scheme != "none") {
        out.string("principal");
        out.string(user);
        out.string("credentials");
        out.string(password);
    }
}

Result<> Client::Impl::hello() {
    const bool agent = dialect.has_bolt_agent();
    const bool patch = dialect.version < Version{5, 0} && dialect.at_least(4, 3);
    const bool auth_here = !dialect.has_logon();
    message(MessageTag::kHello, 1, [&](Packer& out) {
        out.map(std::size_t{2} + (agent ? 1 : 0) + (patch ? 1 : 0) +
                (auth_here ? auth_size(settings.user) : 0));
        out.string("user_agent");
        out.string(settings.user_agent);
        out.string("routing");
        out.value(settings.routing);
        if (agent) {
            out.string("bolt_agent");
            out.map(1);
            out.string("product");
            out.string(settings.user_agent);
        }
        if (patch) {
            out.string("patch_bolt");
            out.list(1);
            out.string("utc");
        }
        if (auth_here) {
            pack_auth(out, settings.user, settings.password);
        }
    });
    if (!auth_here) {
        message(MessageTag::kLogon, 1, [&](Packer& out) {
            out.map(auth_size(settings.user));
            pack_auth(out, settings.user, settings.password);
        });
    }
    NORNIC_TRY(flush());
    for (int i = 0; i < (auth_here ? 1 : 2); ++i) {
        NORNIC_TRY(Answer answer, receive());
        if (answer.tag != MessageTag::kSuccess) {
            const Error error = server_error(answer.metadata);
            open_now = false;
            return fail(ErrorCode::kUnauthorized, error.message(), error.hint());
        }
        if (i == 0) {
            server_info = std::move(answer.metadata);
            const Value* patches = server_info.find("patch_bolt");
            dialect.utc_patch =
                patches != nullptr && patches->is_list() && !patches->as_list().empty();
        }
    }
    return success();
}

Result<> Client::Impl::open() {
    NORNIC_TRY(fd, connect_socket(settings));
    open_now = true;
    if (settings.tls) {
        NORNIC_TRY(start_tls());
    }
    if (settings.websocket) {
        NORNIC_TRY(start_websocket());
    }
    NORNIC_TRY(shake_hands());
    NORNIC_TRY(hello());
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kReadPatience, sizeof kReadPatience) != 0 ||
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK) != 0) {
        return broken(system_message(errno));
    }
    return success();
}

Result<std::string_view> Client::Impl::receive_message() {
    if (!open_now) {
        return lost("the connection is closed");
    }
    while (next >= batch.size()) {
        batch.clear();
        next = 0;
        if (input.empty()) {
            const Result<> read = read_some(settings.receive_timeout);
            if (!read) {
                return broken(read.error().message());
            }
        }
        if (!reader.feed(input, kMessageBytesMax, batch)) {
            return broken("the server sent a message that is too large");
        }
        input.clear();
    }
    return batch[next++];
}

Result<Client::Impl::Answer> Client::Impl::unpack(std::string_view message) {
    Unpacker in{message, dialect, Unpacker::Entities::kTaken};
    std::uint8_t tag = 0;
    std::size_t fields = 0;
    Answer answer;
    bool good = in.structure(tag, fields);
    answer.tag = static_cast<MessageTag>(tag);
    if (good && answer.tag == MessageTag::kRecord) {
        Value record;
        good = fields == 1 && in.value(record) && record.is_list();
        if (good) {
            answer.record = std::move(record).take_list();
        }
    } else if (good && fields > 0) {
        good = in.map(answer.metadata);
    }
    if (!good) {
        return broken("the server sent a message that cannot be read: " + in.message());
    }
    return answer;
}

Result<Client::Impl::Answer> Client::Impl::receive() {
    NORNIC_TRY(const std::string_view message, receive_message());
    return unpack(message);
}

bool Client::Impl::has_arrived(std::size_t messages) {
    const auto good = [&] {
        std::size_t i = next;
        while (i < batch.size() && (is_message(batch[i], MessageTag::kRecord) || is_message(batch[i], MessageTag::kSuccess))) {
            ++i;
        }
        return i - next;
    };
    // An error comes again, and is told, when somebody reads.
    if (good() < messages && open_now && read_some(settings.receive_timeout, MSG_DONTWAIT) &&
        reader.feed(input, kMessageBytesMax, batch)) {
        input.clear();
    }
    return good() >= messages;
}

Result<Client::Piece> Client::Impl::receive_piece(int answers_behind) {
    NORNIC_TRY(const std::string_view message, receive_message());
    if (is_message(message, MessageTag::kRecord)) {
        return Piece{true, message};
    }
    if (is_message(message, MessageTag::kSuccess)) {
        return Piece{false, message};
    }
    NORNIC_TRY(const Answer answer, unpack(message));
    return refusal(answer, answers_behind);
}

Error Client::Impl::server_error(const Map& metadata) {
    ServerFailure f;
    f.code = text_at(metadata, "neo4j_code");
    if (f.code.empty()) {
        f.code = text_at(metadata, "code");
    }
    f.message = text_at(metadata, "message");
    f.gql_status = text_at(metadata, "gql_status");
    f.description = text_at(metadata, "description");
    f.details = Value{metadata};
    const Error error{ErrorCode::kExecutionFailed, f.message, f.code};
    failure = std::move(f);
    return error;
}

/// After a FAILURE: reads the answers to what was pipelined behind, then makes the session usable.
Result<> Client::Impl::recover(int answers_behind) {
    in_transaction = false;
    stream_open = false;
    for (int i = 0; i < answers_behind; ++i) {
        NORNIC_TRY(receive());
    }
    bool send_reset = false;
    arm_waiting = false;
    {
        MutexLock lock{write_mutex};
        waiting = false;
        // An interrupt's RESET that is on its way does the same.
        send_reset = interrupts == 0;
        interrupts = 1;
    }
    if (send_reset) {
        message(MessageTag::kReset);
        NORNIC_TRY(flush());
    }
    return drain_interrupts();
}

/// Reads the answers of RESETs; what runs is gone then.
Result<> Client::Impl::drain_interrupts() {
    while (true) {
        {
            MutexLock lock{write_mutex};
            if (interrupts == 0) {
                return success();
            }
        }
        in_transaction = false;
        stream_open = false;
        NORNIC_TRY(const Answer answer, receive());
        if (answer.tag == MessageTag::kFailure) {
            return broken("the server refused RESET: " + text_at(answer.metadata, "message"));
        }
        if (answer.tag == MessageTag::kSuccess) {
            MutexLock lock{write_mutex};
            --interrupts;
        }
    }
}

Result<Map> Client::Impl::expect_success(int answers_behind) {
    Answer answer;
    do {
        NORNIC_TRY(answer, receive());
    } while (answer.tag == MessageTag::kRecord);
    if (answer.tag == MessageTag::kSuccess) {
        return std::move(answer.metadata);
    }
    return refusal(answer, answers_behind);
}

Error Client::Impl::refusal(const Answer& answer, int answers_behind) {
    Error error{ErrorCode::kTerminated, "the statement was interrupted"};
    failure.reset();
    if (answer.tag == MessageTag::kFailure) {
        error = server_error(answer.metadata);
    }
    // What the server said counts more than that it hung up behind it (a server that stops does
    // both).
    if (auto recovered = recover(answers_behind);
        !recovered && answer.tag != MessageTag::kFailure) {
        return recovered.error();
    }
    return error;
}

namespace {

/// Answers are awaited inside; only then may interrupt() act.
template <class Impl>
class Waiting {
public:
    /// sent: the request is already under way; else it is the one sent next.
    explicit Waiting(Impl& impl, bool sent = false) : impl_{impl} {
        impl_.arm_waiting = true;
        if (sent) {
            MutexLock lock{impl_.write_mutex};
            impl_.waiting = true;
        }
    }
    ~Waiting() {
        impl_.arm_waiting = false;
        MutexLock lock{impl_.write_mutex};
        impl_.waiting = false;
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

private:
    Impl& impl_;
};

}  // namespace

Client::Client(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}

Result<std::unique_ptr<Client>> Client::connect(const ClientSettings& settings) {
    auto impl = std::make_unique<Impl>(settings);
    NORNIC_TRY(impl->open());
    return std::unique_ptr<Client>{new Client{std::move(impl)}};
}

Client::~Client() {
    if (impl_->open_now) {
        impl_->message(MessageTag::kGoodbye);
        const Result<> ignored = impl_->flush();
        static_cast<void>(ignored.has_value());
    }
}

Result<std::vector<std::string>> Client::run(std::string query,
                                             Map parameters,
                                             const RunOptions& options) {
    Impl& c = *impl_;
    c.failure.reset();
    NORNIC_TRY(c.drain_interrupts());
    NORNIC_TRY(consume());
    const Waiting<Impl> waiting{c};
    c.fetch_size = options.fetch_size > 0 ? options.fetch_size : -1;
    c.summary = Map{};
    c.message(MessageTag::kRun, 3, [&](Packer& out) {
        out.string(query);
        out.map(parameters);
        pack_options(out, c.in_transaction ? RunOptions{} : options);
    });
    NORNIC_TRY(c.pull());
    NORNIC_TRY(const Map metadata, c.expect_success(1));
    c.stream_open = true;
    std::vector<std::string> fields;
    if (const Value* list = metadata.find("fields"); list != nullptr && list->is_list()) {
        for (const Value& field : list->as_list()) {
            fields.emplace_back(field.is_string() ? field.as_string() : std::string_view{});
        }
    }
    return fields;
}

Result<> Client::Impl::pull() {
    message(MessageTag::kPull, 1, [&](Packer& out) {
        out.map(1);
        out.string("n");
        out.integer(fetch_size);
    });
    return flush();
}

Result<bool> Client::Impl::ask_for_more(MessageTag tag, std::int64_t n) {
    message(tag, 1, [&](Packer& out) {
        out.map(1);
        out.string("n");
        out.integer(n);
    });
    const std::string bytes = std::move(outgoing);
    outgoing.clear();
    return send_bytes(bytes, true);
}

Result<std::optional<List>> Client::next() {
    Impl& c = *impl_;
    if (!c.stream_open) {
        return std::optional<List>{};
    }
    const Waiting<Impl> waiting{c, true};
    while (c.stream_open) {
        NORNIC_TRY(Impl::Answer answer, c.receive());
        if (answer.tag == MessageTag::kRecord) {
            return std::optional<List>{std::move(answer.record)};
        }
        if (answer.tag == MessageTag::kSuccess) {
            const Value* more = answer.metadata.find("has_more");
            if (more != nullptr && more->is_true()) {
                NORNIC_TRY(const bool asked, c.ask_for_more(MessageTag::kPull, c.fetch_size));
                if (asked) {
                    continue;
                }
                NORNIC_TRY(c.drain_interrupts());
                return fail(ErrorCode::kTerminated, "the statement was interrupted");
            }
            c.stream_open = false;
            c.summary = std::move(answer.metadata);
            break;
        }
        return c.refusal(answer);
    }
    return std::optional<List>{};
}

Result<> Client::consume() {
    Impl& c = *impl_;
    while (c.stream_open) {
        NORNIC_TRY(Impl::Answer answer, c.receive());
        if (answer.tag == MessageTag::kRecord) {
            continue;
        }
        if (answer.tag == MessageTag::kSuccess) {
            const Value* more = answer.metadata.find("has_more");
            if (more == nullptr || !more->is_true()) {
                c.stream_open = false;
                c.summary = std::move(answer.metadata);
                break;
            }
            NORNIC_TRY(const bool asked, c.ask_for_more(MessageTag::kDiscard, -1));
            if (!asked) {
                return c.drain_interrupts();
            }
            continue;
        }
        return c.refusal(answer);
    }
    return success();
}

const Map& Client::summary() const {
    return impl_->summary;
}

Result<> Client::begin(const RunOptions& options) {
    Impl& c = *impl_;
    c.failure.reset();
    NORNIC_TRY(c.drain_interrupts());
    NORNIC_TRY(consume());
    const Waiting<Impl> waiting{c};
    c.message(MessageTag::kBegin, 1, [&](Packer& out) { pack_options(out, options); });
    NORNIC_TRY(c.flush());
    NORNIC_TRY(c.expect_success());
    c.in_transaction = true;
    return success();
}

Result<std::string> Client::commit() {
    Impl& c = *impl_;
    c.begin_request();
    NORNIC_TRY(c.drain_interrupts());
    NORNIC_TRY(consume());
    if (!c.in_transaction) {
        return fail(ErrorCode::kTransactionNotFound, "there is no open transaction to commit");
    }
    if (c.is_gone()) {
        // Sent now it would seem to have left, and its outcome to be unknown.
        return c.broken("the server closed the connection");
    }
    const Waiting<Impl> waiting{c};
    c.message(MessageTag::kCommit);
    NORNIC_TRY(c.flush());
    NORNIC_TRY(const Map metadata, c.expect_success());
    c.in_transaction = false;
    return text_at(metadata, "bookmark");
}

Result<> Client::rollback() {
    Impl& c = *impl_;
    c.failure.reset();
    NORNIC_TRY(c.drain_interrupts());
    NORNIC_TRY(consume());
    if (!c.in_transaction) {
        return fail(ErrorCode::kTransactionNotFound, "there is no open transaction to roll back");
    }
    const Waiting<Impl> waiting{c};
    c.message(MessageTag::kRollback);
    NORNIC_TRY(c.flush());
    NORNIC_TRY(c.expect_success());
    c.in_transaction = false;
    return success();
}

bool Client::in_transaction() const {
    return impl_->in_transaction;
}

bool Client::has_left() const {
    MutexLock lock{impl_->write_mutex};
    return impl_->left;
}

Result<> Client::send(const std::string& query, const Map& parameters, const RunOptions& options) {
    Impl& c = *impl_;
    c.begin_request();
    NORNIC_TRY(c.drain_interrupts());
    c.fetch_size = options.fetch_size > 0 ? options.fetch_size : -1;
    c.message(MessageTag::kRun, 3, [&](Packer& out) {
        out.string(query);
        out.map(parameters);
        pack_options(out, c.in_transaction ? RunOptions{} : options);
    });
    return c.pull();
}

Result<std::string_view> Client::started() {
    Impl& c = *impl_;
    const Waiting<Impl> waiting{c, true};
    NORNIC_TRY(const Piece answer, c.receive_piece(1));
    return answer.is_record ? Result<std::string_view>{c.broken("the server answered RUN with a record")} : answer.message;
}

Result<> Client::ask(Want want, std::int64_t n, std::int64_t statement_id) {
    Impl& c = *impl_;
    c.failure.reset();
    c.message(want == Want::kRecords ? MessageTag::kPull : MessageTag::kDiscard, 1, [&](Packer& out) {
        out.map(2);
        out.string("n");
        out.integer(n);
        out.string("qid");
        out.integer(statement_id);
    });
    return c.flush();
}

Result<Client::Piece> Client::read() {
    const Waiting<Impl> waiting{*impl_, true};
    return impl_->receive_piece();
}

bool Client::has_arrived(std::size_t messages) {
    return impl_->has_arrived(messages);
}

int Client::descriptor() const {
    return impl_->fd;
}

bool Client::is_idle() {
    Impl& c = *impl_;
    if (!c.open_now || !c.drain_interrupts()) {
        return false;
    }
    // A server says nothing on its own but that it goes.
    char byte = 0;
    const ssize_t n = ::recv(c.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void Client::abandon() {
    impl_->open_now = false;
    ::shutdown(impl_->fd, SHUT_RDWR);
}

Result<Value> Client::route(const std::string& database) {
    Impl& c = *impl_;
    c.failure.reset();
    NORNIC_TRY(c.drain_interrupts());
    NORNIC_TRY(consume());
    const Waiting<Impl> waiting{c};
    c.message(MessageTag::kRoute, 3, [&](Packer& out) {
        out.value(c.settings.routing.is_map() ? c.settings.routing : Value{Map{}});
        out.list(0);
        if (c.dialect.at_least(4, 4)) {
            out.map(std::size_t{database.empty() ? 0U : 1U});
            if (!database.empty()) {
                out.string("db");
            }
        }
        if (!database.empty()) {
            out.string(database);
        } else if (!c.dialect.at_least(4, 4)) {
            out.null();
        }
    });
    NORNIC_TRY(c.flush());
    NORNIC_TRY(const Map metadata, c.expect_success());
    const Value* table = metadata.find("rt");
    return table == nullptr ? Value{} : *table;
}

Result<> Client::reset() {
    Impl& c = *impl_;
    c.failure.reset();
    int behind = c.stream_open ? 1 : 0;
    NORNIC_TRY(c.drain_interrupts());
    c.message(MessageTag::kReset);
    NORNIC_TRY(c.flush());
    c.in_transaction = false;
    // Answers of an open stream come first: records, then its end.
    while (true) {
        NORNIC_TRY(const Impl::Answer answer, c.receive());
        if (answer.tag == MessageTag::kRecord) {
            continue;
        }
        if (behind > 0 && c.stream_open) {
            --behind;
            c.stream_open = false;
            continue;
        }
        return success();
    }
}

Result<> Client::logon(const std::string& user, const std::string& password) {
    Impl& c = *impl_;
    c.failure.reset();
    if (!c.dialect.has_logon()) {
        return fail(ErrorCode::kUnsupported,
                    "Bolt " + c.dialect.version.to_text() + " has no LOGON");
    }
    NORNIC_TRY(c.drain_interrupts());
    NORNIC_TRY(consume());
    c.message(MessageTag::kLogoff);
    c.message(MessageTag::kLogon, 1, [&](Packer& out) {
        out.map(c.auth_size(user));
        c.pack_auth(out, user, password);
    });
    NORNIC_TRY(c.flush());
    for (int i = 0; i < 2; ++i) {
        NORNIC_TRY(const Impl::Answer answer, c.receive());
        if (answer.tag != MessageTag::kSuccess) {
            const Error error = c.server_error(answer.metadata);
            c.open_now = false;
            return fail(ErrorCode::kUnauthorized, error.message(), error.hint());
        }
    }
    return success();
}

void Client::interrupt() {
    Impl& c = *impl_;
    MutexLock lock{c.write_mutex};
    if (!c.waiting || c.interrupts > 0) {
        return;
    }
    c.interrupts = 1;
    std::string bytes{"\x00\x02\xB0\x0F\x00\x00", 6};
    if (c.frames != nullptr) {
        std::string framed;
        c.frames->wrap(bytes, framed);
        bytes.swap(framed);
    }
    if (c.tls != nullptr) {
        std::string encrypted;
        c.tls->wrap(bytes, encrypted);
        bytes.swap(encrypted);
    }
    const Result<> ignored = c.write_raw(bytes);
    static_cast<void>(ignored.has_value());
}

const std::optional<ServerFailure>& Client::last_failure() const {
    return impl_->failure;
}
const Dialect& Client::dialect() const {
    return impl_->dialect;
}
Version Client::version() const {
    return impl_->dialect.version;
}
const Map& Client::server_info() const {
    return impl_->server_info;
}
bool Client::is_open() const {
    return impl_->open_now;
}

Result<List> unpack_record(std::string_view message, const Dialect& dialect) {
    Unpacker in{message.substr(std::min<std::size_t>(message.size(), 2)), dialect, Unpacker::Entities::kTaken};
    Value record;
    if (!in.value(record) || !record.is_list()) {
        return lost("a record cannot be read: " + in.message());
    }
    return std::move(record).take_list();
}

Result<Map> unpack_metadata(std::string_view message, const Dialect& dialect) {
    Unpacker in{message.substr(std::min<std::size_t>(message.size(), 2)), dialect, Unpacker::Entities::kTaken};
    Map out;
    if (!in.map(out)) {
        return lost("an answer cannot be read: " + in.message());
    }
    return out;
}

}  // namespace nornic::bolt
