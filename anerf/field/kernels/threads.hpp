// Work shared among threads. Which thread takes an item never decides a result: an item writes what no other
// item writes, and sums are taken item by item afterwards, so one thread and many give the same bits.
#pragma once
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace anerf {

// Calls body(item, worker) once for each item below n_items, worker < threads, in order of demand.
// Threads live for one call: starting one takes some 10 us, a pool would have to survive forks.
template <class Body>
void parallel_for(int threads, long n_items, const Body& body) {
  std::atomic<long> next{0};
  const auto work = [&](int worker) {
    for (long item; (item = next.fetch_add(1, std::memory_order_relaxed)) < n_items;) body(item, worker);
  };
  std::vector<std::thread> helpers;
  for (int worker = 1; worker < threads && worker < n_items; worker++) {
    try {
      helpers.emplace_back(work, worker);
    } catch (const std::exception&) {
      break;  // the machine has no more threads or memory to give: those that run share the items
    }
  }
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

// Calls body(i) once for each i below n; a thread takes `at_once` neighbours at a time.
template <class Body>
void for_each(int threads, long n, long at_once, const Body& body) {
  parallel_for(threads, (n + at_once - 1) / at_once, [&](long item, int) {
    const long end = (item + 1) * at_once < n ? (item + 1) * at_once : n;
    for (long i = item * at_once; i < end; i++) body(i);
  });
}

}  // namespace anerf
