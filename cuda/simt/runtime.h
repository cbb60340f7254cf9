// The host's side of a device: memory, copies, streams and graphs. The CUDA runtime under nvcc, the emulator under g++.
//
// A stream runs its work in order and beside the host, which meets it in wait. Every failure is an exception.
#ifndef ESPALIER_SIMT_RUNTIME_H
#define ESPALIER_SIMT_RUNTIME_H

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "simt/launch.h"

namespace simt {

/** What the device or its driver refused, or reported of work before. */
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class OutOfMemory : public DeviceError {
 public:
  explicit OutOfMemory(size_t bytes)
      : DeviceError(
            "memory = " + std::to_string(bytes) +
            " bytes, expected no more than the device has free") {}
};

struct DeviceProperties {
  std::string name;
  int64_t memory_bytes;
  int major, minor;  // compute capability
  int num_sms;
};

int num_devices();
DeviceProperties properties_of(int device);
/** The device of the calling thread's next calls. */
void use_device(int device);

Stream create_stream();
void destroy_stream(Stream stream) noexcept;
/** Waits for the stream's work and throws what failed in it. */
void wait(Stream stream);

/** Memory of the device, aligned to 256 bytes; its content is undefined. */
void* allocate(size_t bytes);
/** The same for kernels that only read it: copies fill it. */
void* allocate_readonly(size_t bytes);
/** Waits for all work of the device, then frees. */
void release(void* memory) noexcept;
/** Memory of the host that copies reach without a detour. */
void* allocate_pinned(size_t bytes);
void release_pinned(void* memory) noexcept;

void fill_zero(void* to, size_t bytes, Stream stream);
/** Between pinned memory of the host and the device: it must stay as it is until the stream was waited for. */
void copy(void* to, const void* from, size_t bytes, Stream stream);
/** Between two places of the device. The only copy that may be captured. */
void copy_on_device(void* to, const void* from, size_t bytes, Stream stream);

/** Work that was captured from a stream instead of running, to be launched again and again with the same arguments. */
class Graph {
 public:
  Graph() = default;
  explicit Graph(void* handle) : handle_(handle) {}
  Graph(Graph&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Graph();

  void launch(Stream stream) const;
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  void* handle_ = nullptr;
};

/** From here to end_capture the stream runs nothing and remembers everything. */
void begin_capture(Stream stream);
Graph end_capture(Stream stream);

// ---------------------------------------------------------------------------------------------------- under nvcc

#ifdef __CUDACC__

inline void require(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  throw DeviceError(std::string(call) + ": " + cudaGetErrorString(error));
}

inline int num_devices() {
  int num = 0;
  require(cudaGetDeviceCount(&num), "cudaGetDeviceCount");
  return num;
}

inline DeviceProperties properties_of(int device) {
  cudaDeviceProp p;
  require(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties");
  return {p.name, static_cast<int64_t>(p.totalGlobalMem), p.major, p.minor, p.multiProcessorCount};
}

inline void use_device(int device) { require(cudaSetDevice(device), "cudaSetDevice"); }

inline Stream create_stream() {
  Stream stream = nullptr;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return stream;
}

inline void destroy_stream(Stream stream) noexcept { cudaStreamDestroy(stream); }

inline void wait(Stream stream) { require(cudaStreamSynchronize(stream), "cudaStreamSynchronize"); }

inline void* allocate(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaErrorMemoryAllocation) throw OutOfMemory(bytes);
  require(error, "cudaMalloc");
  return memory;
}

inline void* allocate_readonly(size_t bytes) { return allocate(bytes); }

inline void release(void* memory) noexcept { cudaFree(memory); }

inline void* allocate_pinned(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMallocHost(&memory, bytes);
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  require(error, "cudaMallocHost");
  return memory;
}

inline void release_pinned(void* memory) noexcept { cudaFreeHost(memory); }

inline void fill_zero(void* to, size_t bytes, Stream stream) {
  require(cudaMemsetAsync(to, 0, bytes, stream), "cudaMemsetAsync");
}

inline void copy(void* to, const void* from, size_t bytes, Stream stream) {
  require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "cudaMemcpyAsync");
}

inline void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "cudaMemcpyAsync");
}

inline void begin_capture(Stream stream) {
  require(
      cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
}

inline Graph end_capture(Stream stream) {
  cudaGraph_t graph = nullptr;
  require(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t exec = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  require(error, "cudaGraphInstantiate");
  return Graph(exec);
}

inline Graph::~Graph() {
  if (handle_ != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(handle_));
}

inline void Graph::launch(Stream stream) const {
  require(cudaGraphLaunch(static_cast<cudaGraphExec_t>(handle_), stream), "cudaGraphLaunch");
}

// --------------------------------------------------------------------------------------------------- under g++

#else

inline int num_devices() { return 1; }
inline DeviceProperties properties_of(int) { return {"emulated", int64_t{1} << 40, 9, 0, 4}; }
inline void use_device(int) {}
inline Stream create_stream() { return emulated::create_stream(); }
inline void destroy_stream(Stream stream) noexcept { emulated::destroy_stream(stream); }
inline void wait(Stream stream) { emulated::wait(stream); }

inline void* allocate(size_t bytes, bool read_only) {
  try {
    return emulated::allocate(bytes, read_only);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(bytes);
  }
}
inline void* allocate(size_t bytes) { return allocate(bytes, false); }
inline void* allocate_readonly(size_t bytes) { return allocate(bytes, true); }

inline void release(void* memory) noexcept { emulated::release(memory); }
inline void* allocate_pinned(size_t bytes) { return ::operator new(bytes); }
inline void release_pinned(void* memory) noexcept { ::operator delete(memory); }

inline void fill_zero(void* to, size_t bytes, Stream stream) {
  emulated::fill_zero(to, bytes, stream);
}
inline void copy(void* to, const void* from, size_t bytes, Stream stream) {
  emulated::copy(to, from, bytes, stream);
}
inline void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  emulated::copy_on_device(to, from, bytes, stream);
}

inline void begin_capture(Stream stream) { emulated::begin_capture(stream); }
inline Graph end_capture(Stream stream) { return Graph(emulated::end_capture(stream)); }
inline Graph::~Graph() {
  if (handle_ != nullptr) emulated::destroy_graph(handle_);
}
inline void Graph::launch(Stream stream) const { emulated::launch_graph(handle_, stream); }

#endif

}  // namespace simt

#endif
