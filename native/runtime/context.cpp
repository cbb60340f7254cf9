// Devices, contexts and buffers.
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "cpu/cpu_backend.h"
#include "runtime/loaded_backend.h"
#include "runtime/objects.h"

using namespace espalier;

namespace {

constexpr int kMaxThreads = 1024;

void copy_text(char* to, size_t size, const std::string& text) {
  std::snprintf(to, size, "%s", text.c_str());
}

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "CPU";
}

int default_threads() { return std::max(1u, std::thread::hardware_concurrency()); }

/** A buffer's description after its checks, without memory. */
std::unique_ptr<espalier_buffer> describe(
    espalier_context* ctx, int32_t type, int32_t rank, const int64_t* shape,
    espalier_buffer** buffer) {
  need(ctx, "ctx");
  need(shape, "shape");
  need(buffer, "buffer");
  if (type < ESPALIER_FP32 || type > ESPALIER_U64) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "type = %d, expected ESPALIER_FP32 (0) to ESPALIER_U64 (4)",
        type);
  }
  if (rank < 1 || rank > 4) fail(ESPALIER_INVALID_ARGUMENT, "rank = %d, expected 1 to 4", rank);
  auto made = std::make_unique<espalier_buffer>();
  made->device = ctx->device;
  made->type = static_cast<Type>(type);
  int64_t bytes = type_bytes(made->type);
  for (int32_t i = 0; i < rank; ++i) {
    if (shape[i] < 0 || __builtin_mul_overflow(bytes, std::max<int64_t>(shape[i], 1), &bytes)) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "shape[%d] = %lld, expected >= 0 and less than 2^63 bytes in all", i,
          static_cast<long long>(shape[i]));
    }
    made->shape.push_back(shape[i]);
  }
  return made;
}

void check_copy(const espalier_buffer* buffer, const void* data, int64_t bytes) {
  need(buffer, "buffer");
  if (bytes != buffer->bytes()) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "bytes = %lld, expected %lld, the size of the %s buffer",
        static_cast<long long>(bytes), static_cast<long long>(buffer->bytes()),
        type_name(buffer->type));
  }
  if (bytes > 0) need(data, "data");
}

/** Where a row of an fp32 matrix begins. */
float* row_of(const espalier_buffer* buffer, int64_t row, const float* data, int64_t num_elements) {
  need(buffer, "buffer");
  need(data, "data");
  if (buffer->type != Type::kFp32 || buffer->shape.size() != 2) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "buffer has type %s and rank %zu, expected fp32 and 2",
        type_name(buffer->type), buffer->shape.size());
  }
  if (row < 0 || row >= buffer->shape[0]) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "row = %lld, expected 0 to %lld", static_cast<long long>(row),
        static_cast<long long>(buffer->shape[0] - 1));
  }
  if (num_elements != buffer->shape[1]) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "num_elements = %lld, expected %lld, the buffer's last axis",
        static_cast<long long>(num_elements), static_cast<long long>(buffer->shape[1]));
  }
  return static_cast<float*>(buffer->data) + row * num_elements;
}

}  // namespace

espalier_status espalier_backend_load(const char* path) {
  return guarded("espalier_backend_load", [&] {
    need(path, "path");
    load_cuda_library(path);
  });
}

int32_t espalier_device_count(void) { return 1 + cuda_entries(); }

espalier_status espalier_device_describe(int32_t entry, espalier_device_info* info) {
  return guarded("espalier_device_describe", [&] {
    need(info, "info");
    if (info->size != sizeof *info) {
      fail(ESPALIER_INVALID_ARGUMENT, "info.size = %u, expected %zu", info->size, sizeof *info);
    }
    if (entry < 0 || entry >= espalier_device_count()) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "entry = %d, expected 0 to %d", entry,
          espalier_device_count() - 1);
    }
    *info = {};
    info->size = sizeof *info;
    info->kind = entry == 0 ? ESPALIER_CPU : ESPALIER_CUDA;
    if (info->kind == ESPALIER_CUDA) {
      info->idx = entry - 1;
      return describe_cuda(info->idx, info);
    }
    info->available = 1;
    info->num_threads = default_threads();
    info->memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    copy_text(info->name, sizeof info->name, processor_name());
    copy_text(info->instructions, sizeof info->instructions, cpu_instructions());
  });
}

espalier_status espalier_context_create(
    int32_t kind, int32_t idx, int32_t num_threads, espalier_context** ctx) {
  return guarded("espalier_context_create", [&] {
    need(ctx, "ctx");
    if (kind != ESPALIER_CPU && kind != ESPALIER_CUDA) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "kind = %d, expected ESPALIER_CPU (0) or ESPALIER_CUDA (1)",
          kind);
    }
    if (kind == ESPALIER_CPU && idx != 0)
      fail(ESPALIER_INVALID_ARGUMENT, "idx = %d, expected 0: there is one CPU device", idx);
    if (num_threads < 0 || num_threads > kMaxThreads) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "num_threads = %d, expected 0 to %d", num_threads,
          kMaxThreads);
    }
    auto made = std::make_unique<espalier_context>();
    made->device = std::make_shared<Device>();
    made->device->backend =
        kind == ESPALIER_CUDA ? make_loaded_backend(idx) : make_cpu_backend(num_threads);
    *ctx = made.release();
  });
}

void espalier_context_destroy(espalier_context* ctx) { delete ctx; }

espalier_status espalier_synchronize(espalier_context* ctx) {
  return guarded("espalier_synchronize", [&] {
    need(ctx, "ctx");
    Claim claim(*ctx->device);
    ctx->device->backend->synchronize();
    check(*ctx->device->backend);
  });
}

espalier_status espalier_buffer_create(
    espalier_context* ctx, int32_t type, int32_t rank, const int64_t* shape,
    espalier_buffer** buffer) {
  return guarded("espalier_buffer_create", [&] {
    auto made = describe(ctx, type, rank, shape, buffer);
    made->data = allocate(*ctx->device, static_cast<size_t>(std::max<int64_t>(made->bytes(), 1)));
    made->owned = true;
    *buffer = made.release();
  });
}

espalier_status espalier_buffer_wrap(
    espalier_context* ctx, void* data, int32_t type, int32_t rank, const int64_t* shape,
    espalier_buffer** buffer) {
  return guarded("espalier_buffer_wrap", [&] {
    auto made = describe(ctx, type, rank, shape, buffer);
    if (made->bytes() > 0) need(data, "data");
    if (reinterpret_cast<uintptr_t>(data) % type_bytes(made->type) != 0) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "data = %p, expected alignment to %lld bytes, the size of a %s element", data,
          static_cast<long long>(type_bytes(made->type)), type_name(made->type));
    }
    made->data = data;
    *buffer = made.release();
  });
}

void espalier_buffer_destroy(espalier_buffer* buffer) {
  if (buffer == nullptr) return;
  if (buffer->owned) buffer->device->backend->release(buffer->data);
  delete buffer;
}

espalier_status espalier_buffer_write(espalier_buffer* buffer, const void* data, int64_t bytes) {
  return guarded("espalier_buffer_write", [&] {
    check_copy(buffer, data, bytes);
    Claim claim(*buffer->device);
    buffer->device->backend->upload(buffer->data, data, static_cast<size_t>(bytes));
    check(*buffer->device->backend);
  });
}

espalier_status espalier_buffer_read(const espalier_buffer* buffer, void* data, int64_t bytes) {
  return guarded("espalier_buffer_read", [&] {
    check_copy(buffer, data, bytes);
    Claim claim(*buffer->device);
    buffer->device->backend->download(data, buffer->data, static_cast<size_t>(bytes));
    check(*buffer->device->backend);
  });
}

espalier_status espalier_buffer_write_row(
    espalier_buffer* buffer, int64_t row, const float* data, int64_t num_elements) {
  return guarded("espalier_buffer_write_row", [&] {
    float* to = row_of(buffer, row, data, num_elements);
    Claim claim(*buffer->device);
    buffer->device->backend->upload(to, data, static_cast<size_t>(num_elements) * sizeof(float));
    check(*buffer->device->backend);
  });
}

espalier_status espalier_buffer_read_row(
    const espalier_buffer* buffer, int64_t row, float* data, int64_t num_elements) {
  return guarded("espalier_buffer_read_row", [&] {
    const float* from = row_of(buffer, row, data, num_elements);
    Claim claim(*buffer->device);
    buffer->device->backend->download(
        data, from, static_cast<size_t>(num_elements) * sizeof(float));
    check(*buffer->device->backend);
  });
}
