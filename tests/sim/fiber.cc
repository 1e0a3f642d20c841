#include "tests/sim/fiber.h"

#include "base/check.h"

#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#define NORNIC_SIM_ASAN 1
#endif
#endif

namespace nornic::sim {
namespace {

#ifdef NORNIC_SIM_ASAN
constexpr std::size_t kStackBytes = std::size_t{2} << 20;
#else
constexpr std::size_t kStackBytes = std::size_t{512} << 10;
#endif

}  // namespace

class Fiber {
public:
    Fiber() {
        stack = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        NORNIC_CHECK(stack != MAP_FAILED, "no memory for a stack of {} bytes", kStackBytes);
        ::getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = kStackBytes;
        const auto self = reinterpret_cast<std::uintptr_t>(this);
        ::makecontext(&context,
                      reinterpret_cast<void (*)()>(&Fiber::start),
                      2,
                      static_cast<unsigned>(self >> 32),
                      static_cast<unsigned>(self));
    }
    ~Fiber() { ::munmap(stack, kStackBytes); }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    /// From the scheduler's stack to this one.
    void switch_in() {
#ifdef NORNIC_SIM_ASAN
        void* fake = nullptr;
        __sanitizer_start_switch_fiber(&fake, stack, kStackBytes);
        ::swapcontext(&caller, &context);
        __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
        ::swapcontext(&caller, &context);
#endif
    }
    void switch_out() {
#ifdef NORNIC_SIM_ASAN
        void* fake = nullptr;
        __sanitizer_start_switch_fiber(&fake, caller_stack, caller_stack_bytes);
        ::swapcontext(&context, &caller);
        __sanitizer_finish_switch_fiber(fake, &caller_stack, &caller_stack_bytes);
#else
        ::swapcontext(&context, &caller);
#endif
    }

    std::function<void()> work;
    bool finished = false;

private:
    static void start(unsigned high, unsigned low) {
        auto* self = reinterpret_cast<Fiber*>(static_cast<std::uintptr_t>(high) << 32 | low);
#ifdef NORNIC_SIM_ASAN
        __sanitizer_finish_switch_fiber(nullptr, &self->caller_stack, &self->caller_stack_bytes);
#endif
        for (;;) {
            self->work();
            self->work = nullptr;
            self->finished = true;
            self->switch_out();
        }
    }

    void* stack = nullptr;
    ucontext_t context{};
    ucontext_t caller{};
    [[maybe_unused]] const void* caller_stack = nullptr;
    [[maybe_unused]] std::size_t caller_stack_bytes = 0;
};

Fibers::Fibers() = default;
Fibers::~Fibers() = default;

void Fibers::enter(Fiber* fiber) {
    NORNIC_CHECK(current_ == nullptr, "a fiber runs already");
    current_ = fiber;
    fiber->switch_in();
    current_ = nullptr;
    if (fiber->finished) {
        idle_.push_back(fiber);
    }
}

void Fibers::run(std::function<void()> work) {
    if (idle_.empty()) {
        all_.push_back(std::make_unique<Fiber>());
        idle_.push_back(all_.back().get());
    }
    Fiber* const fiber = idle_.back();
    idle_.pop_back();
    fiber->work = std::move(work);
    fiber->finished = false;
    enter(fiber);
}

void Fibers::suspend() {
    NORNIC_CHECK(current_ != nullptr, "no fiber runs");
    current_->switch_out();
}

void Fibers::resume(Fiber* fiber) {
    enter(fiber);
}

}  // namespace nornic::sim
