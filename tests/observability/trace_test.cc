#include "observability/trace.h"

#include "observability/log_limiter.h"
#include "observability/otlp.h"

#include <gtest/gtest.h>

#include <thread>

namespace nornic {
namespace {

class FakeClock final : public Clock {
public:
    Deadline now() const override { return Deadline{Duration{ns_.load()}}; }
    std::int64_t wall_ns() const override { return 1'000'000'000'000 + ns_.load(); }
    void pass(Duration d) { ns_ += d.count(); }

private:
    std::atomic<std::int64_t> ns_{1'000'000'000};
};

constexpr std::string_view kExample = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContext, IsReadAndWrittenAsTheStandardHasIt) {
    const auto context = TraceContext::parse(kExample);
    ASSERT_TRUE(context);
    EXPECT_TRUE(*context);
    EXPECT_EQ(context->traceparent(), kExample);
    EXPECT_EQ(context->trace_id_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
    const auto unsampled = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    ASSERT_TRUE(unsampled);
    EXPECT_FALSE(*unsampled);
    EXPECT_TRUE(unsampled->is_valid());
    // A later version may say more behind it, and other flags.
    EXPECT_TRUE(TraceContext::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-what"));
}

TEST(TraceContext, WhatIsNotOneIsRefused) {
    for (const std::string_view text : {"",
                                        "00-1-2-01",
                                        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
                                        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                                        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                                        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                                        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                                        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01"}) {
        EXPECT_FALSE(TraceContext::parse(text)) << text;
    }
}

TEST(Tracer, AChildBelongsToItsParentAndSoDoesAClientsRoot) {
    FakeClock clock;
    Tracer tracer{{}, clock};
    const auto client = TraceContext::parse(kExample);
    {
        Span root = tracer.root("RUN", SpanKind::kServer, client);
        ASSERT_TRUE(root);
        Span child = tracer.child("plan", root.context());
        clock.pass(std::chrono::milliseconds{5});
        child.end();
        clock.pass(std::chrono::milliseconds{1});
        root.set("rows", std::int64_t{3});
        root.set_failed("no");
        tracer.add_past("sync", root.context(), std::chrono::milliseconds{2});
    }
    const auto spans = tracer.take(Duration::zero());
    ASSERT_EQ(spans.size(), 3U);
    const SpanRecord& plan = spans[0];
    const SpanRecord& sync = spans[1];
    const SpanRecord& run = spans[2];
    EXPECT_EQ(run.context.trace_id, client->trace_id);
    EXPECT_EQ(run.parent_id, client->span_id);
    EXPECT_NE(run.context.span_id, client->span_id);
    EXPECT_EQ(plan.parent_id, run.context.span_id);
    EXPECT_EQ(plan.end_ns - plan.start_ns, 5'000'000);
    EXPECT_EQ(run.end_ns - run.start_ns, 6'000'000);
    EXPECT_EQ(sync.end_ns, run.end_ns);
    EXPECT_EQ(sync.end_ns - sync.start_ns, 2'000'000);
    EXPECT_TRUE(run.failed);
    EXPECT_EQ(run.failure, "no");
}

TEST(Tracer, WhatTheClientDidNotSampleIsNotTracedWhateverTheRatioIs) {
    FakeClock clock;
    Tracer all{{}, clock};
    TracerSettings nothing;
    nothing.sample_ratio = 0;
    Tracer none{nothing, clock};
    auto client = TraceContext::parse(kExample);
    EXPECT_TRUE(none.root("RUN", SpanKind::kServer, client));
    EXPECT_FALSE(none.root("RUN", SpanKind::kServer, std::nullopt));
    client->is_sampled = false;
    EXPECT_FALSE(all.root("RUN", SpanKind::kServer, client));
    EXPECT_FALSE(all.child("plan", *client));
    EXPECT_FALSE(child_span(nullptr, "plan", *client));
    EXPECT_TRUE(Tracer::not_sampled().is_valid());
    EXPECT_FALSE(Tracer::not_sampled());
}

TEST(Tracer, ARatioIsKeptNearly) {
    FakeClock clock;
    TracerSettings some;
    some.sample_ratio = 0.25;
    some.waiting_max = 100'000;
    Tracer tracer{some, clock};
    int sampled = 0;
    for (int i = 0; i < 10'000; ++i) {
        sampled += tracer.root("RUN", SpanKind::kServer, std::nullopt) ? 1 : 0;
    }
    EXPECT_NEAR(sampled, 2500, 300);
}

TEST(Tracer, WhatHasNoRoomIsDroppedAndCountedAndNothingIsBegunUntilThereIs) {
    FakeClock clock;
    TracerSettings small;
    small.waiting_max = 10;
    small.batch = 4;
    Tracer tracer{small, clock};
    for (int i = 0; i < 12; ++i) {
        tracer.root("RUN", SpanKind::kServer, std::nullopt);
    }
    EXPECT_EQ(tracer.stats().waiting, 10U);
    EXPECT_EQ(tracer.stats().dropped, 2U);
    EXPECT_FALSE(tracer.root("RUN", SpanKind::kServer, std::nullopt));
    EXPECT_EQ(tracer.stats().dropped, 3U);
    EXPECT_EQ(tracer.take(Duration::zero()).size(), 4U);
    EXPECT_TRUE(tracer.root("RUN", SpanKind::kServer, std::nullopt));
    EXPECT_EQ(tracer.stats().waiting, 7U);
}

TEST(Tracer, WhoWaitsForABatchIsWokenByOneAndByTheEnd) {
    TracerSettings small;
    small.batch = 2;
    Tracer tracer{small, system_clock()};
    std::thread maker{[&] {
        tracer.root("one", SpanKind::kServer, std::nullopt);
        tracer.root("two", SpanKind::kServer, std::nullopt);
    }};
    EXPECT_EQ(tracer.take(std::chrono::minutes{5}).size(), 2U);
    maker.join();
    std::thread closer{[&] { tracer.close(); }};
    EXPECT_TRUE(tracer.take(std::chrono::minutes{5}).empty());
    closer.join();
}

TEST(Span, OneThatWasMovedEndsOnce) {
    FakeClock clock;
    Tracer tracer{{}, clock};
    Span first = tracer.root("first", SpanKind::kServer, std::nullopt);
    Span second = std::move(first);
    EXPECT_TRUE(second);
    second = tracer.root("third", SpanKind::kServer, std::nullopt);
    second.end();
    second.end();
    const auto spans = tracer.take(Duration::zero());
    ASSERT_EQ(spans.size(), 2U);
    EXPECT_EQ(spans[0].name, "first");
    EXPECT_EQ(spans[1].name, "third");
}

TEST(Otlp, ARequestHasTheFieldsOfTheProtocol) {
    SpanRecord span;
    span.context = *TraceContext::parse(kExample);
    span.name = "RUN";
    span.kind = SpanKind::kServer;
    span.start_ns = 1;
    span.end_ns = 2;
    span.attributes.emplace_back("text", std::string{"a\xff"});
    const std::string body = otlp::trace_request({{"service.name", "graph"}}, "1.0", {&span, 1});
    // Lengths and tags by hand: ResourceSpans { resource { attribute }, ScopeSpans { scope, span } }.
    const std::string trace_id("\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36");
    const std::string span_id("\x00\xf0\x67\xaa\x0b\xa9\x02\xb7", 8);
    const std::string attribute = std::string("\x4a\x0c\x0a\x04text\x12\x04\x0a\x02", 12) + "a?";
    const std::string inner = "\x0a\x10" + trace_id + "\x12\x08" + span_id + "\x2a\x03RUN\x30\x02" +
                              std::string("\x39\x01\0\0\0\0\0\0\0\x41\x02\0\0\0\0\0\0\0", 18) + attribute +
                              std::string("\x85\x01\x01\0\0\0", 6);
    const std::string scope = std::string("\x0a\x0f\x0a\x08nornicdb\x12\x03") + "1.0" + "\x12" + static_cast<char>(inner.size()) + inner;
    const std::string resource("\x0a\x19\x0a\x17\x0a\x0cservice.name\x12\x07\x0a\x05graph");
    EXPECT_NE(body.find(inner), std::string::npos);
    EXPECT_NE(body.find(scope), std::string::npos);
    EXPECT_NE(body.find(resource), std::string::npos);
}

TEST(Otlp, WhatACollectorRejectsIsRead) {
    EXPECT_EQ(otlp::read_trace_response("")->spans, 0U);
    const auto rejected = otlp::read_trace_response("\x0a\x06\x08\x03\x12\x02no");
    ASSERT_TRUE(rejected);
    EXPECT_EQ(rejected->spans, 3U);
    EXPECT_EQ(rejected->why, "no");
    EXPECT_FALSE(otlp::read_trace_response("\x0a\x7f"));
}

TEST(LogLimiter, SaysHowMuchItHeldBack) {
    FakeClock clock;
    LogLimiter limiter{clock, std::chrono::seconds{1}, 2};
    EXPECT_EQ(limiter.allow("a"), 0U);
    EXPECT_EQ(limiter.allow("a"), 0U);
    EXPECT_FALSE(limiter.allow("a"));
    EXPECT_FALSE(limiter.allow("a"));
    EXPECT_EQ(limiter.allow("b"), 0U);
    clock.pass(std::chrono::seconds{1});
    EXPECT_EQ(limiter.allow("a"), 2U);
    EXPECT_EQ(limiter.allow("a"), 0U);
    limiter.forget("a");
    EXPECT_EQ(limiter.allow("a"), 0U);
    EXPECT_EQ(and_more(0), "");
    EXPECT_EQ(and_more(7), " (and 7 more like it)");
}

}  // namespace
}  // namespace nornic
