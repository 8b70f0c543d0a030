#ifndef LUMEN_POOL_H
#define LUMEN_POOL_H

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lumen {

// Threads that take jobs from one queue.
class Pool {
public:
    ~Pool() { stop(); }

    void start(int workers);
    void stop();
    void add(std::function<void()> job);
    void waitUntilIdle();

private:
    void work();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> jobs_;
    std::vector<std::thread> threads_;
    int busy_ = 0;
    bool stopping_ = false;
};

}  // namespace lumen

#endif
