// The host's side: device memory, and streams that put off their work until somebody waits for it.
//
// A copy reads the host's memory when it runs, so memory that is reused too early shows, and so does a result that is
// read without waiting.
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "machine.h"
#include "simt/runtime.h"

using Work = std::vector<std::function<void()>>;

namespace {

struct CapturedGraph {
  Work work;
  int waiting = 0;         // launches in streams
  bool destroyed = false;  // while launches waited
};

}  // namespace

struct CUstream_st {
  Work pending;
  std::unique_ptr<CapturedGraph> captured;  // while capturing
  std::thread::id capturing;                // the thread of the host that does
};

namespace simt::emulated {
namespace {

std::set<CUstream_st*>& streams() {
  static std::set<CUstream_st*> all;
  return all;
}

/** Fails what a device would refuse, or what would break the capture, while the calling thread captures. */
void need_no_capture(const char* call) {
  for (const CUstream_st* stream : streams()) {
    if (stream->captured != nullptr && stream->capturing == std::this_thread::get_id())
      throw DeviceError(std::string(call) + " while a stream captures");
  }
}

void enqueue(CUstream_st* stream, std::function<void()> work) {
  const Turn held(turn);
  if (stream == nullptr) throw DeviceError("work without a stream");
  (stream->captured != nullptr ? stream->captured->work : stream->pending)
      .push_back(std::move(work));
}

void run_pending(CUstream_st* stream) {
  const Work work = std::exchange(stream->pending, {});
  for (const auto& each : work) each();
}

/** Throws unless the bytes lie in one buffer of the device. */
void need_on_device(const void* p, size_t bytes, const char* call) {
  const Region* region = region_of(p);
  const bool inside = alive(region) && !is_shared(region) &&
                      static_cast<const char*>(p) - static_cast<char*>(data_of(region)) +
                              static_cast<int64_t>(bytes) <=
                          static_cast<int64_t>(bytes_of(region)) &&
                      p >= data_of(region);
  if (!inside)
    throw DeviceError(
        std::string(call) + ": " + std::to_string(bytes) + " bytes outside of a buffer");
}

void need_on_host(const void* p, const char* call) {
  if (region_of(p) != nullptr)
    throw DeviceError(std::string(call) + ": both sides are the device's");
}

}  // namespace

void launch(const LaunchCall& call, CUstream_st* stream) {
  if (stream == nullptr) return run_launch(call);
  const auto* bytes = static_cast<const char*>(call.params);
  enqueue(stream, [call, params = std::vector<char>(bytes, bytes + call.params_bytes)] {
    // The emulator lets kernels read their parameters where they lie now.
    LaunchCall now = call;
    now.params = params.data();
    run_launch(now);
  });
}

void run_in_stream(CUstream_st* stream, std::function<void()> work) {
  enqueue(stream, std::move(work));
}

void* allocate(size_t bytes, bool read_only) {
  const Turn held(turn);
  need_no_capture("allocate");
  ++machine.counts.allocations;
  const std::string name = (read_only ? "weight " : "device memory ") +
                           std::to_string(machine.counts.allocations) + " of " +
                           std::to_string(bytes) + " bytes";
  return data_of(create_global(name.c_str(), bytes, 2, true, read_only));
}

void release(void* memory) {
  if (memory == nullptr) return;
  const Turn held(turn);
  need_no_capture("release");
  ++machine.counts.releases;
  for (CUstream_st* stream : streams()) {
    try {
      run_pending(stream);
    } catch (const std::exception&) {  // as on a device, the next wait would tell
      stream->pending.insert(
          stream->pending.begin(), [e = std::current_exception()] { std::rethrow_exception(e); });
    }
  }
  destroy_global(region_of(memory));
}

CUstream_st* create_stream() {
  const Turn held(turn);
  auto* stream = new CUstream_st;
  streams().insert(stream);
  return stream;
}

void destroy_stream(CUstream_st* stream) {
  const Turn held(turn);
  streams().erase(stream);
  delete stream;
}

void wait(CUstream_st* stream) {
  const Turn held(turn);
  need_no_capture("wait");
  ++machine.counts.waits;
  run_pending(stream);
}

void fill_zero(void* to, size_t bytes, CUstream_st* stream) {
  const Turn held(turn);
  need_on_device(to, bytes, "fill_zero");
  enqueue(stream, [=] { std::memset(to, 0, bytes); });
}

void copy(void* to, const void* from, size_t bytes, CUstream_st* stream) {
  const Turn held(turn);
  need_no_capture("copy");
  ++machine.counts.copies;
  if (bytes == 0) return;
  const bool up = region_of(to) != nullptr;
  need_on_device(up ? to : from, bytes, "copy");
  need_on_host(up ? from : to, "copy");
  enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

void copy_on_device(void* to, const void* from, size_t bytes, CUstream_st* stream) {
  const Turn held(turn);
  if (bytes == 0) return;
  need_on_device(to, bytes, "copy_on_device");
  need_on_device(from, bytes, "copy_on_device");
  enqueue(stream, [=] { std::memmove(to, from, bytes); });
}

void begin_capture(CUstream_st* stream) {
  const Turn held(turn);
  need_no_capture("begin_capture");
  stream->captured = std::make_unique<CapturedGraph>();
  stream->capturing = std::this_thread::get_id();
}

void* end_capture(CUstream_st* stream) {
  const Turn held(turn);
  if (stream->captured == nullptr) throw DeviceError("end_capture without begin_capture");
  ++machine.counts.captures;
  return stream->captured.release();
}

void launch_graph(const void* handle, CUstream_st* stream) {
  const Turn held(turn);
  need_no_capture("launch_graph");
  ++machine.counts.graph_launches;
  auto* graph = static_cast<CapturedGraph*>(const_cast<void*>(handle));
  ++graph->waiting;
  enqueue(stream, [graph] {
    --graph->waiting;
    if (graph->destroyed) throw DeviceError("launch_graph: the graph was destroyed before it ran");
    for (const auto& each : graph->work) each();
  });
}

void destroy_graph(void* handle) {
  const Turn held(turn);
  auto* graph = static_cast<CapturedGraph*>(handle);
  if (graph->waiting == 0) {
    delete graph;
  } else {
    graph->destroyed = true;  // whoever waits for the launch is told
  }
}

}  // namespace simt::emulated
