// How a failure travels: inside the library as an exception, at the ABI as a status code and this thread's text.
#ifndef ESPALIER_RUNTIME_STATUS_H
#define ESPALIER_RUNTIME_STATUS_H

#include <new>
#include <stdexcept>
#include <string>

#include "espalier.h"

namespace espalier {

/** A failure with its status. The text follows `<what> = <got>, expected <rule>[; <what to do>]`. */
class Error : public std::runtime_error {
 public:
  Error(espalier_status status, const std::string& text)
      : std::runtime_error(text), status_(status) {}
  espalier_status status() const { return status_; }

 private:
  espalier_status status_;
};

/** printf into an Error. */
[[noreturn]] void fail(espalier_status status, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

/** Keeps the text for espalier_last_error, prefixed with the name of the call. */
espalier_status report(const char* call, espalier_status status, const char* text) noexcept;

/** Runs the body of an ABI function: nothing is thrown across. */
template <class Body>
espalier_status guarded(const char* call, Body&& body) noexcept {
  try {
    body();
    return ESPALIER_OK;
  } catch (const Error& e) {
    return report(call, e.status(), e.what());
  } catch (const std::bad_alloc&) {
    return report(call, ESPALIER_OUT_OF_MEMORY, "out of host memory");
  } catch (const std::exception& e) {
    return report(call, ESPALIER_INTERNAL, e.what());
  } catch (...) {
    return report(call, ESPALIER_INTERNAL, "unknown failure");
  }
}

}  // namespace espalier

#endif
