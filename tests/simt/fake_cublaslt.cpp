#include "fake_cublaslt.h"

#include <cstring>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED FakeCublasLt fake_cublaslt;
FakeCublasLt fake_cublaslt;

namespace {

constexpr int kNotInitialized = 1, kInvalid = 7, kNotSupported = 15;
constexpr int kFp32 = 0, kFp16 = 2, kBf16 = 14, kSumsInFp32 = 68;

enum class Kind : int { kHandle = 0x51, kDesc, kLayout, kPreference };

struct Object {
  Kind kind;
};

struct Handle : Object {};

struct Desc : Object {
  bool transposed[2] = {};
};

struct Layout : Object {
  int type;
  uint64_t rows, cols;
  int64_t ld;
};

struct Preference : Object {
  uint64_t workspace = 0;
  uint32_t reductions = 7;
  uint32_t align[4] = {256, 256, 256, 256};  // A, B, C, D
};

struct Algorithm {
  uint64_t n, k;
  int64_t ld;
  uint64_t type, workspace, align, magic, unused;
};

constexpr uint64_t kMagic = 0xe5a11e12;

struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

template <class T>
T* as(void* object, Kind kind) {
  auto* any = static_cast<Object*>(object);
  return any != nullptr && any->kind == kind ? static_cast<T*>(any) : nullptr;
}

template <class T>
int make(void** out, T object) {
  if (out == nullptr) return kInvalid;
  ++fake_cublaslt.objects;
  *out = new T(object);
  return 0;
}

template <class T>
int destroy(void* object, Kind kind) {
  T* mine = as<T>(object, kind);
  if (mine == nullptr) return kInvalid;
  --fake_cublaslt.objects;
  mine->kind = {};
  delete mine;
  return 0;
}

/** Takes a value of exactly T's size. */
template <class T>
int take(const void* value, size_t bytes, T* to) {
  if (value == nullptr || bytes != sizeof(T)) return kInvalid;
  std::memcpy(to, value, bytes);
  return 0;
}

bool half(const Layout& m) { return m.type == kBf16 || m.type == kFp16; }

/** Whether d = a b is one of ours: a transposed, operands of one 16-bit type, c as d. */
bool fits(const Desc* desc, const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
  if (!desc || !a || !b || !c || !d) return false;
  if (!half(*a) || b->type != a->type || c->type != kFp32 || d->type != kFp32) return false;
  const uint64_t n = desc->transposed[0] ? a->cols : a->rows,
                 k = desc->transposed[0] ? a->rows : a->cols,
                 m = desc->transposed[1] ? b->rows : b->cols,
                 k_of_b = desc->transposed[1] ? b->cols : b->rows;
  return k == k_of_b && k > 0 && d->rows == n && d->cols == m && c->rows == n && c->cols == m &&
         c->ld == d->ld;
}

bool aligned(const void* p, uint64_t bytes) {
  return p != nullptr && reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

float value_of(uint16_t bits, int type) {
  if (type == kBf16) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &wide, 4);
    return x;
  }
  _Float16 x;
  std::memcpy(&x, &bits, 2);
  return static_cast<float>(x);
}

/** op(m) as rows of k: its column by column memory, one row of the result behind the other. */
std::vector<float> values(const void* data, const Layout& m, bool rows_are_columns) {
  const auto* bits = static_cast<const uint16_t*>(data);
  std::vector<float> all;
  const uint64_t outer = rows_are_columns ? m.cols : m.rows,
                 inner = rows_are_columns ? m.rows : m.cols;
  for (uint64_t i = 0; i < outer; ++i) {
    for (uint64_t j = 0; j < inner; ++j) {
      const uint64_t row = rows_are_columns ? j : i, col = rows_are_columns ? i : j;
      all.push_back(value_of(bits[row + col * static_cast<uint64_t>(m.ld)], m.type));
    }
  }
  return all;
}

struct Call {
  Desc desc;
  Layout a, b, d;
  float alpha, beta;
  const void *of_a, *of_b;
  const float* of_c;
  float* of_d;
  void* workspace;
  size_t workspace_bytes;

  void run() const {
    std::memset(workspace, 0xff, workspace_bytes);  // NaN to whoever keeps something there
    const std::vector<float> w = values(of_a, a, desc.transposed[0]),
                             x = values(of_b, b, !desc.transposed[1]);
    const uint64_t k = w.size() / d.rows;
    for (uint64_t col = 0; col < d.cols; ++col) {
      for (uint64_t row = 0; row < d.rows; ++row) {
        float sum = 0;
        for (uint64_t i = 0; i < k; ++i) sum += w[row * k + i] * x[col * k + i];
        const uint64_t at = row + col * static_cast<uint64_t>(d.ld);
        of_d[at] = alpha * sum + (beta != 0 ? beta * of_c[at] : 0.0f);
      }
    }
  }
};

}  // namespace

EXPORTED size_t cublasLtGetVersion() { return fake_cublaslt.version; }

EXPORTED int cublasLtCreate(void** handle) {
  if (fake_cublaslt.create_status != 0) return fake_cublaslt.create_status;
  ++fake_cublaslt.handles;
  return make(handle, Handle{{Kind::kHandle}});
}

EXPORTED int cublasLtDestroy(void* handle) {
  const int status = destroy<Handle>(handle, Kind::kHandle);
  if (status == 0) --fake_cublaslt.handles;
  return status;
}

EXPORTED int cublasLtMatmulDescCreate(void** desc, int compute_type, int scale_type) {
  if (compute_type != kSumsInFp32 || scale_type != kFp32) return kNotSupported;
  return make(desc, Desc{{Kind::kDesc}});
}

EXPORTED int cublasLtMatmulDescDestroy(void* desc) { return destroy<Desc>(desc, Kind::kDesc); }

EXPORTED int cublasLtMatmulDescSetAttribute(
    void* object, int attribute, const void* value, size_t bytes) {
  Desc* desc = as<Desc>(object, Kind::kDesc);
  if (desc == nullptr || (attribute != 3 && attribute != 4)) return kInvalid;
  int32_t op = -1;
  const int status = take(value, bytes, &op);
  if (status != 0 || (op != 0 && op != 1)) return kInvalid;
  desc->transposed[attribute - 3] = op == 1;
  return 0;
}

EXPORTED int cublasLtMatrixLayoutCreate(
    void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  if (type != kFp32 && type != kFp16 && type != kBf16) return kNotSupported;
  if (rows == 0 || cols == 0 || ld < static_cast<int64_t>(rows)) return kInvalid;
  return make(layout, Layout{{Kind::kLayout}, type, rows, cols, ld});
}

EXPORTED int cublasLtMatrixLayoutDestroy(void* layout) {
  return destroy<Layout>(layout, Kind::kLayout);
}

EXPORTED int cublasLtMatrixLayoutSetAttribute(
    void* object, int attribute, const void* value, size_t bytes) {
  Layout* layout = as<Layout>(object, Kind::kLayout);
  if (layout == nullptr || attribute != 3) return kInvalid;
  return take(value, bytes, &layout->cols);
}

EXPORTED int cublasLtMatmulPreferenceCreate(void** preference) {
  return make(preference, Preference{{Kind::kPreference}});
}

EXPORTED int cublasLtMatmulPreferenceDestroy(void* preference) {
  return destroy<Preference>(preference, Kind::kPreference);
}

EXPORTED int cublasLtMatmulPreferenceSetAttribute(
    void* object, int attribute, const void* value, size_t bytes) {
  Preference* p = as<Preference>(object, Kind::kPreference);
  if (p == nullptr) return kInvalid;
  if (attribute == 1) return take(value, bytes, &p->workspace);
  if (attribute == 3) return take(value, bytes, &p->reductions);
  if (attribute >= 5 && attribute <= 8) return take(value, bytes, &p->align[attribute - 5]);
  return kInvalid;
}

EXPORTED int cublasLtMatmulAlgoGetHeuristic(
    void* of, void* of_desc, void* of_a, void* of_b, void* of_c, void* of_d, void* preference,
    int wanted, Heuristic* results, int* num) {
  if (as<Handle>(of, Kind::kHandle) == nullptr) return kNotInitialized;
  const Desc* desc = as<Desc>(of_desc, Kind::kDesc);
  const Layout *a = as<Layout>(of_a, Kind::kLayout), *b = as<Layout>(of_b, Kind::kLayout),
               *c = as<Layout>(of_c, Kind::kLayout), *d = as<Layout>(of_d, Kind::kLayout);
  const Preference* p = as<Preference>(preference, Kind::kPreference);
  if (p == nullptr || wanted < 1 || results == nullptr || num == nullptr) return kInvalid;
  if (!fits(desc, a, b, c, d)) return kInvalid;
  // Sums in pieces would follow the number of rows.
  if (p->reductions != 0 || p->workspace == 0) return kInvalid;
  if (fake_cublaslt.heuristic_status != 0) return fake_cublaslt.heuristic_status;
  ++fake_cublaslt.heuristics;
  fake_cublaslt.algorithm_rows = static_cast<int64_t>(d->cols);
  *results = {};
  results->algorithm = {d->rows,      a->rows,     d->ld,  static_cast<uint64_t>(a->type),
                        p->workspace, p->align[3], kMagic, 0};
  results->workspace_bytes = p->workspace;
  *num = 1;
  return 0;
}

EXPORTED int cublasLtMatmul(
    void* of, void* of_desc, const void* alpha, const void* a, void* layout_a, const void* b,
    void* layout_b, const void* beta, const void* c, void* layout_c, void* d, void* layout_d,
    const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream) {
  if (as<Handle>(of, Kind::kHandle) == nullptr) return kNotInitialized;
  const Desc* desc = as<Desc>(of_desc, Kind::kDesc);
  const Layout *of_a = as<Layout>(layout_a, Kind::kLayout),
               *of_b = as<Layout>(layout_b, Kind::kLayout),
               *of_c = as<Layout>(layout_c, Kind::kLayout),
               *of_d = as<Layout>(layout_d, Kind::kLayout);
  if (!fits(desc, of_a, of_b, of_c, of_d)) return kInvalid;
  if (alpha == nullptr || beta == nullptr || algorithm == nullptr) return kInvalid;
  // An algorithm is for one shape, whatever its number of rows.
  if (algorithm->magic != kMagic || algorithm->n != of_d->rows || algorithm->k != of_a->rows ||
      algorithm->ld != of_d->ld || algorithm->type != static_cast<uint64_t>(of_a->type) ||
      algorithm->workspace > workspace_bytes) {
    return kInvalid;
  }
  if (!aligned(a, 256) || !aligned(b, 256) || !aligned(workspace, 256)) return kInvalid;
  if (!aligned(c, algorithm->align) || !aligned(d, algorithm->align)) return kInvalid;
  Call call{
      *desc,
      *of_a,
      *of_b,
      *of_d,
      0,
      0,
      a,
      b,
      static_cast<const float*>(c),
      static_cast<float*>(d),
      workspace,
      workspace_bytes};
  std::memcpy(&call.alpha, alpha, 4);
  std::memcpy(&call.beta, beta, 4);
  if (fake_cublaslt.matmuls++ == fake_cublaslt.refused_matmul) return kNotSupported;
  if (fake_cublaslt.enqueue == nullptr) {
    call.run();
    return 0;
  }
  if (stream == nullptr) return kInvalid;
  fake_cublaslt.enqueue(stream, [call] { call.run(); });
  return 0;
}
