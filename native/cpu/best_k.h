// The k best of a stream of (value, index) pairs: larger values first, ties to the lower index.
#ifndef ESPALIER_CPU_BEST_K_H
#define ESPALIER_CPU_BEST_K_H

#include <cstdint>
#include <limits>
#include <vector>

namespace espalier {

/**
 * Keeps its memory between uses. Indices must be offered in ascending order; values must not be
 * NaN.
 */
class BestK {
 public:
  void clear(int32_t k) {
    value_.resize(k);
    idx_.resize(k);
    size_ = 0;
  }

  int32_t size() const { return size_; }
  int32_t idx(int32_t i) const { return idx_[i]; }

  /** Whether the value would be kept. */
  bool wants(float value) const {
    return size_ < static_cast<int32_t>(value_.size()) || value > value_[size_ - 1];
  }

  void offer(float value, int32_t idx) {
    if (!wants(value)) return;
    if (size_ < static_cast<int32_t>(value_.size())) ++size_;
    int32_t i = size_ - 1;
    for (; i > 0 && value > value_[i - 1]; --i) {
      value_[i] = value_[i - 1];
      idx_[i] = idx_[i - 1];
    }
    value_[i] = value;
    idx_[i] = idx;
  }

 private:
  std::vector<float> value_;
  std::vector<int32_t> idx_;
  int32_t size_ = 0;
};

/** Offers the indices of all numbers of a row; NaN is left out. */
inline void offer_row(const float* x, int32_t len, BestK* best) {
  constexpr int kStep = 16;
  int32_t i = 0;
  for (; i + kStep <= len; i += kStep) {
    int wanted = 0;
    for (int j = 0; j < kStep; ++j) wanted |= best->wants(x[i + j]) ? 1 : 0;
    if (wanted == 0) continue;
    for (int j = 0; j < kStep; ++j) {
      if (x[i + j] == x[i + j]) best->offer(x[i + j], i + j);
    }
  }
  for (; i < len; ++i) {
    if (x[i] == x[i]) best->offer(x[i], i);
  }
}

}  // namespace espalier

#endif
