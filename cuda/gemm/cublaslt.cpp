#include "gemm/cublaslt.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <mutex>

namespace espalier {
namespace {

/** Empty for a status of success. */
std::string text_of(const char* call, int status) {
  return status == lt::kSuccess ? "" : std::string(call) + ": status " + std::to_string(status);
}

std::mutex mutex;
std::map<int, std::string> why_without;  // by device, once something failed there

int type_of(Type type) { return type == Type::kBf16 ? lt::kBf16 : lt::kFp16; }

}  // namespace

CublasLtRule cublaslt_rule(int capability) {
  switch (capability) {
    case 90:
      return {2048, 2048, 120000};
    case 100:
      return {257, 512, 120800};
    case 103:
      return {257, 512, 120900};
    default:
      return {};
  }
}

std::vector<std::string> cublaslt_folders() {
  std::vector<std::string> folders;
  for (const char* name : {"CUDA_PATH", "CUDA_HOME"}) {
    const char* toolkit = std::getenv(name);
    if (toolkit != nullptr && *toolkit != '\0') folders.push_back(std::string(toolkit) + "/lib64");
  }
  folders.emplace_back();
  return folders;
}

bool cublaslt_switched_on() {
  const char* value = std::getenv("ESPALIER_CUBLASLT");
  return value == nullptr || std::strcmp(value, "0") != 0;
}

std::string cublaslt_version_text(size_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

void note_cublaslt(int device, const std::string& why) {
  std::lock_guard<std::mutex> lock(mutex);
  if (why.empty()) {
    why_without.erase(device);
  } else {
    why_without[device] = why;
  }
}

std::string cublaslt_state(int device, int capability, const std::vector<std::string>& folders) {
  const std::string own = "own kernels: ";
  if (!cublaslt_switched_on()) return own + "ESPALIER_CUBLASLT = 0";
  const CublasLtRule rule = cublaslt_rule(capability);
  if (rule.least_rows == 0)
    return own + "cuBLASLt is not expected to be faster on sm_" + std::to_string(capability);
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (const auto noted = why_without.find(device); noted != why_without.end())
      return own + noted->second;
  }
  std::string why;
  const auto library = CublasLt::load(folders, rule.least_version, &why);
  if (library == nullptr) return own + why;
  return "cuBLASLt " + cublaslt_version_text(library->version()) + " from " +
         std::to_string(rule.least_rows) + " rows of a pass on, own kernels below";
}

std::unique_ptr<CublasLt> CublasLt::load(
    const std::vector<std::string>& folders, size_t least_version, std::string* why) {
  for (const std::string& folder : folders) {
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
      // It stays loaded: it keeps state of the device that outlives whoever asks for it next.
      void* library =
          dlopen((folder.empty() ? name : folder + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) continue;
      std::unique_ptr<CublasLt> found(new CublasLt);
      *why = found->resolve(library, least_version);
      return why->empty() ? std::move(found) : nullptr;
    }
  }
  *why = "libcublasLt.so.13 and .12 not found";
  return nullptr;
}

std::string CublasLt::resolve(void* library, size_t least_version) {
  const char* lacks = nullptr;
  const auto take = [&](const char* name, auto* function) {
    void* symbol = dlsym(library, name);
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(symbol);
    if (symbol == nullptr && lacks == nullptr) lacks = name;
  };
  lt::Functions& f = functions_;
  take("cublasLtGetVersion", &f.get_version);
  take("cublasLtCreate", &f.create);
  take("cublasLtDestroy", &f.destroy);
  take("cublasLtMatmulDescCreate", &f.desc_create);
  take("cublasLtMatmulDescDestroy", &f.desc_destroy);
  take("cublasLtMatmulDescSetAttribute", &f.desc_set);
  take("cublasLtMatrixLayoutCreate", &f.layout_create);
  take("cublasLtMatrixLayoutDestroy", &f.layout_destroy);
  take("cublasLtMatrixLayoutSetAttribute", &f.layout_set);
  take("cublasLtMatmulPreferenceCreate", &f.preference_create);
  take("cublasLtMatmulPreferenceDestroy", &f.preference_destroy);
  take("cublasLtMatmulPreferenceSetAttribute", &f.preference_set);
  take("cublasLtMatmulAlgoGetHeuristic", &f.get_heuristic);
  take("cublasLtMatmul", &f.matmul);
  if (lacks != nullptr) return std::string("libcublasLt lacks ") + lacks;
  if (version() >= least_version) return "";
  return "cuBLASLt = " + cublaslt_version_text(version()) + ", expected " +
         cublaslt_version_text(least_version) + " or later";
}

CublasLt::~CublasLt() {
  for (const auto& [product, plan] : plans_) release(plan);
  if (desc_ != nullptr) functions_.desc_destroy(desc_);
  if (handle_ != nullptr) functions_.destroy(handle_);
}

std::string CublasLt::open() {
  const std::string why = text_of("cublasLtCreate", functions_.create(&handle_));
  if (!why.empty()) {
    handle_ = nullptr;
    return why;
  }
  int status = functions_.desc_create(&desc_, lt::kFp32Sums, lt::kFp32);
  if (status == lt::kSuccess) {
    status = functions_.desc_set(desc_, lt::kDescTransA, &lt::kTransposed, sizeof lt::kTransposed);
  }
  return text_of("cublasLtMatmulDesc", status);
}

std::string CublasLt::prepare(const Product& product, int64_t algorithm_rows) {
  if (plans_.count(product) != 0) return "";
  Plan plan;
  const std::string why = choose(product, algorithm_rows, &plan);
  if (why.empty()) {
    plans_.emplace(product, plan);
  } else {
    release(plan);
  }
  return why;
}

std::string CublasLt::choose(const Product& product, int64_t algorithm_rows, Plan* plan) {
  const auto k = static_cast<uint64_t>(product.k), n = static_cast<uint64_t>(product.n),
             m = static_cast<uint64_t>(algorithm_rows);
  const int type = type_of(product.type);
  // It counts by columns, so a row-major d is its d [n, m] = w^T x, where w is [k, n] and x [k, m].
  int status = functions_.layout_create(&plan->w, type, k, n, product.k);
  if (status == lt::kSuccess) status = functions_.layout_create(&plan->x, type, k, m, product.k);
  if (status == lt::kSuccess)
    status = functions_.layout_create(&plan->d, lt::kFp32, n, m, product.ld);
  if (status != lt::kSuccess) return text_of("cublasLtMatrixLayoutCreate", status);

  void* preference = nullptr;
  status = functions_.preference_create(&preference);
  const auto prefer = [&](int attribute, const auto& value) {
    if (status == lt::kSuccess)
      status = functions_.preference_set(preference, attribute, &value, sizeof value);
  };
  prefer(lt::kPrefWorkspace, static_cast<uint64_t>(kWorkspaceBytes));
  // No sums in pieces: whether and where they are cut would follow the number of rows.
  prefer(lt::kPrefReductions, lt::kNoReduction);
  prefer(lt::kPrefAlignC, kOutAlignment);
  prefer(lt::kPrefAlignD, kOutAlignment);
  if (status != lt::kSuccess) {
    if (preference != nullptr) functions_.preference_destroy(preference);
    return text_of("cublasLtMatmulPreference", status);
  }
  lt::Heuristic found{};
  int num = 0;
  status = functions_.get_heuristic(
      handle_, desc_, plan->w, plan->x, plan->d, plan->d, preference, 1, &found, &num);
  functions_.preference_destroy(preference);
  if (status == lt::kSuccess && num == 1) status = found.state;
  if (status != lt::kSuccess || num != 1) {
    return "cublasLtMatmulAlgoGetHeuristic: status " + std::to_string(status) + ", " +
           std::to_string(num) + " algorithms for n = " + std::to_string(product.n) +
           ", k = " + std::to_string(product.k);
  }
  plan->algorithm = found.algorithm;
  return "";
}

void CublasLt::release(const Plan& plan) const {
  for (void* layout : {plan.w, plan.x, plan.d}) {
    if (layout != nullptr) functions_.layout_destroy(layout);
  }
}

std::string CublasLt::multiply(
    const Product& product, int64_t m, const void* x, const void* w, const float* c, float* d,
    void* workspace, void* stream) {
  const Plan& plan = plans_.at(product);
  const auto cols = static_cast<uint64_t>(m);
  for (void* layout : {plan.x, plan.d}) {
    const int status = functions_.layout_set(layout, lt::kLayoutCols, &cols, sizeof cols);
    if (status != lt::kSuccess) return text_of("cublasLtMatrixLayoutSetAttribute", status);
  }
  const float one = 1.0f, beta = c == nullptr ? 0.0f : 1.0f;
  return text_of(
      "cublasLtMatmul",
      functions_.matmul(
          handle_, desc_, &one, w, plan.w, x, plan.x, &beta, c == nullptr ? d : c, plan.d, d,
          plan.d, &plan.algorithm, workspace, kWorkspaceBytes, stream));
}

}  // namespace espalier
