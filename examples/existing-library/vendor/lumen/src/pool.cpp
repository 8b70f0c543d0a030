#include "pool.h"

namespace lumen {

void Pool::start(int workers) {
    stopping_ = false;
    for (int i = 0; i < workers; i++) threads_.emplace_back([this] { work(); });
}

void Pool::stop() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread &thread : threads_) thread.join();
    threads_.clear();
}

void Pool::add(std::function<void()> job) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        jobs_.push_back(std::move(job));
    }
    changed_.notify_all();
}

void Pool::waitUntilIdle() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return jobs_.empty() && busy_ == 0; });
}

void Pool::work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        std::function<void()> job = std::move(jobs_.front());
        jobs_.pop_front();
        busy_++;
        lock.unlock();
        job();
        lock.lock();
        busy_--;
        changed_.notify_all();
    }
}

}  // namespace lumen
