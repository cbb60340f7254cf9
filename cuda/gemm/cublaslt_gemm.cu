// skinny_gemm of a prompt's rows by cuBLASLt (gemm/cublaslt.h): it wants row-major operands, and gives sums without our ends.
//
// Math    as skinny_gemm.cu; the products themselves are cuBLASLt's
// Needs   packed weights
// Shapes  unpacked [num, operand_cols(k)] of a packed weight's rows; rounded x [m, operand_cols(k)]; y, up [m, ...] sums in fp32
// Launch  unpack: a warp for each packed block of 8 rows x 32 columns, a lane for 16 bytes of it: it reads 512 bytes in one piece and
//         writes 64 in each of 8 rows. x is rounded by skinny_gemm.cu's round_rows. finish: a thread for each column
// Rows    unpack knows no rows of x; finish takes a row's own
// Bytes   unpack n k 4; finish m n 8, with the gate m n 12
// Memory  x rounded; a weight, or a block of its rows, unpacked; the sums of as many columns of up, and of w where they may not lie
//         in out yet; 32 MB for the library
#include <algorithm>
#include <utility>

#include "gemm/cublaslt_gemm.h"
#include "simt/runtime.h"

namespace espalier {
namespace {

/** The packed rows begin at packed.data. */
__global__ void __launch_bounds__(kGemmThreads)
    unpack_kernel(MatrixView packed, int64_t num, uint16_t* rows) {
  simt::wait_for_previous();
  simt::allow_next();
  const int64_t groups = num_groups(packed.cols);
  const int64_t block = int64_t{simt::block()} * kGemmWarps + simt::warp();
  const int64_t row = block / groups * kBlockRows + simt::lane() % kBlockRows;
  const int64_t col = block % groups * kBlockCols + simt::lane() / kBlockRows * kChunkCols;
  if (row >= num) return;
  *reinterpret_cast<Words*>(rows + row * groups * kBlockCols + col) =
      *reinterpret_cast<const Words*>(packed.data + packed_offset(row, col, packed.cols));
}

__global__ void __launch_bounds__(kGemmThreads)
    finish_kernel(GemmView view, int part, Products products) {
  simt::wait_for_previous();
  simt::allow_next();
  const int64_t col = int64_t{simt::block()} * kGemmThreads + simt::thread();
  if (col >= products.num) return;
  for (int64_t row = simt::block_y(); row < view.m; row += simt::num_blocks_y()) {
    const float up = products.up == nullptr ? 0.0f : products.up[row * products.num + col];
    finish(
        view, view.part[part], row, products.first + col, products.y[row * products.y_stride + col],
        up);
  }
}

simt::Launch shape_of(int64_t blocks, int64_t row_blocks, simt::Stream stream) {
  return {
      .grid = {static_cast<int>(blocks), static_cast<int>(row_blocks)},
      .threads = kGemmThreads,
      .stream = stream,
      .overlap = true};
}

}  // namespace

void launch_unpack(
    const MatrixView& packed, int64_t first, int64_t num, uint16_t* rows, simt::Stream stream) {
  MatrixView from = packed;
  from.data += first / kBlockRows * packed.block_stride;
  const int64_t blocks = (num + kBlockRows - 1) / kBlockRows * num_groups(packed.cols);
  SIMT_LAUNCH(
      unpack_kernel, shape_of((blocks + kGemmWarps - 1) / kGemmWarps, 1, stream), from, num, rows);
}

void launch_finish(const GemmView& view, int part, const Products& products, simt::Stream stream) {
  const int64_t blocks = (products.num + kGemmThreads - 1) / kGemmThreads;
  const int64_t rows = std::min<int64_t>(view.m, simt::kMostBlocks);
  SIMT_LAUNCH(finish_kernel, shape_of(blocks, rows, stream), view, part, products);
}

// ------------------------------------------------------------------------------------------------------- the op

namespace {

constexpr int64_t kBlockMultiple =
    64;  // rows of a weight: outputs of a block begin at a multiple of 256 bytes

bool at_multiple(const void* p, size_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

/** Rows of a weight that are unpacked at a time. */
int64_t block_rows(int64_t n, int64_t k, size_t unpacked_bytes) {
  const int64_t most = static_cast<int64_t>(unpacked_bytes) / (operand_cols(k) * 2);
  return std::min(n, std::max<int64_t>(most / kBlockMultiple, 1) * kBlockMultiple);
}

/** Whether the op's end is more than adding the residual. */
bool has_end(const SkinnyGemmArgs& args, const GemmPart& part) {
  return args.up.data != nullptr || part.bias.data != nullptr;
}

/** Whether sums may not lie in out before their end: the residual is still there. */
bool sums_apart(const SkinnyGemmArgs& args, const GemmPart& part) {
  return args.residual == part.out && args.residual != nullptr && has_end(args, part);
}

/** Where things lie in the workspace. */
struct Places {
  size_t library, x, w, y, up, end;
};

Places places_of(const SkinnyGemmArgs& args, size_t unpacked_bytes) {
  const int64_t k = args.part[0].w.k, row_bytes = operand_cols(k) * 2;
  int64_t weight = 0, y = 0, up = 0;
  for (int i = 0; i < args.num_parts; ++i) {
    const int64_t rows = block_rows(args.part[i].w.n, k, unpacked_bytes), sums = args.m * rows * 4;
    weight = std::max(weight, rows * row_bytes);
    if (sums_apart(args, args.part[i])) y = sums;
    if (args.up.data != nullptr) up = sums;
  }
  Places places{};
  size_t used = 0;
  const auto take = [&](int64_t bytes) {
    return std::exchange(used, used + (static_cast<size_t>(bytes) + 255) / 256 * 256);
  };
  places.library = take(CublasLt::kWorkspaceBytes);
  places.x = take(args.m * row_bytes);
  places.w = take(weight);
  places.y = take(y);
  places.up = take(up);
  places.end = used;
  return places;
}

/** The products of columns first .. of a part: w's, and up's where `of_up`. */
CublasLt::Product product_of(
    const SkinnyGemmArgs& args, const GemmPart& part, int64_t num, bool of_up) {
  const bool apart = of_up || sums_apart(args, part);
  return {part.w.type, num, operand_cols(part.w.k), apart ? num : part.w.n};
}

/** Calls body(part, first column, number of columns) until it says why not. */
template <class Body>
std::string for_each_block(const SkinnyGemmArgs& args, size_t unpacked_bytes, Body&& body) {
  std::string why;
  for (int i = 0; i < args.num_parts; ++i) {
    const int64_t n = args.part[i].w.n, rows = block_rows(n, args.part[i].w.k, unpacked_bytes);
    for (int64_t first = 0; first < n && why.empty(); first += rows)
      why = body(i, first, std::min(rows, n - first));
  }
  return why;
}

}  // namespace

bool CublasLtGemm::takes(const SkinnyGemmArgs& args) const {
  if (given_up_ || options_.folders.empty() || options_.rule.least_rows == 0) return false;
  if (!args.prompt || args.m < options_.rule.least_rows || args.part[0].w.k == 0) return false;
  bool all = (args.up.data == nullptr || args.up.packed) &&
             at_multiple(args.residual, CublasLt::kOutAlignment);
  for (int i = 0; i < args.num_parts; ++i) {
    const GemmPart& part = args.part[i];
    all &= part.w.packed && part.w.n > 0 && at_multiple(part.out, CublasLt::kOutAlignment);
  }
  return all;
}

void CublasLtGemm::give_up(const std::string& why) {
  given_up_ = true;
  library_.reset();
  note_cublaslt(device_, why);
}

bool CublasLtGemm::load() {
  if (library_ != nullptr) return true;
  std::string why;
  library_ = CublasLt::load(options_.folders, options_.rule.least_version, &why);
  if (library_ != nullptr) why = library_->open();
  if (!why.empty()) {
    give_up(why);
    return false;
  }
  note_cublaslt(device_, "");
  return true;
}

size_t CublasLtGemm::workspace_bytes(const SkinnyGemmArgs& args) {
  if (!takes(args) || !load()) return 0;
  const std::string why =
      for_each_block(args, options_.unpacked_bytes, [&](int i, int64_t, int64_t num) {
        const int64_t rows = options_.rule.algorithm_rows;
        std::string not_one = library_->prepare(product_of(args, args.part[i], num, false), rows);
        if (not_one.empty() && args.up.data != nullptr)
          not_one = library_->prepare(product_of(args, args.part[i], num, true), rows);
        return not_one;
      });
  if (why.empty()) return places_of(args, options_.unpacked_bytes).end;
  give_up(why);
  return 0;
}

bool CublasLtGemm::run(const SkinnyGemmArgs& args, void* workspace, simt::Stream stream) {
  if (!takes(args) || library_ == nullptr) return false;
  const std::string why = multiply(args, static_cast<char*>(workspace), stream);
  if (!why.empty()) give_up(why);
  return why.empty();
}

std::string CublasLtGemm::multiply(
    const SkinnyGemmArgs& args, char* workspace, simt::Stream stream) {
  const Places places = places_of(args, options_.unpacked_bytes);
  GemmView view = gemm_view(args);
  view.rounded = reinterpret_cast<uint16_t*>(workspace + places.x);
  auto* w = reinterpret_cast<uint16_t*>(workspace + places.w);
  auto* up = reinterpret_cast<float*>(workspace + places.up);
  launch_round_rows(view, args.part[0].w.type, stream);
  const auto product = [&](const MatrixView& packed, int64_t first, const CublasLt::Product& of,
                           const float* c, float* d) {
    launch_unpack(packed, first, of.n, w, stream);
    return library_->multiply(
        of, args.m, view.rounded, w, c, d, workspace + places.library, stream);
  };
  return for_each_block(args, options_.unpacked_bytes, [&](int i, int64_t first, int64_t num) {
    const GemmPart& part = args.part[i];
    const bool end = has_end(args, part), apart = sums_apart(args, part);
    float* y = apart ? reinterpret_cast<float*>(workspace + places.y) : part.out + first;
    const float* c = end || args.residual == nullptr ? nullptr : args.residual + first;
    const CublasLt::Product of = product_of(args, part, num, false);
    std::string why = product(view.part[i].w, first, of, c, y);
    if (why.empty() && view.up.data != nullptr)
      why = product(view.up, first, product_of(args, part, num, true), nullptr, up);
    if (!why.empty() && first > 0 && args.residual == part.out) throw simt::DeviceError(why);
    if (why.empty() && end)
      launch_finish(
          view, i, {first, num, y, of.ld, view.up.data == nullptr ? nullptr : up}, stream);
    return why;
  });
}

}  // namespace espalier
