// A kernel must not care which thread runs first: its test runs under each of these orders.
#ifndef ESPALIER_TESTS_SIMT_ORDERS_H
#define ESPALIER_TESTS_SIMT_ORDERS_H

#include "check.h"
#include "emulator.h"

namespace simt::emulated {

struct NamedOrder {
  Order order;
  const char* name;
};

inline constexpr NamedOrder kOrders[] = {
    {Order::kForward, "forward"}, {Order::kReverse, "reverse"}, {Order::kShuffled, "shuffled"}};

/** Calls body(name of the order) under each order; the shuffled one differs in every run, by the seed of check.h. */
template <class Body>
void for_each_order(Body&& body) {
  for (const NamedOrder& each : kOrders) {
    set_order(each.order, check::seed());
    body(each.name);
#ifdef ESPALIER_ON_HARDWARE
    // There the orders are names alone: tests/gpu/run --quick wants one.
    if (std::getenv("ESPALIER_TEST_QUICK") != nullptr) break;
#endif
  }
}

}  // namespace simt::emulated

#endif
