// Registers of the processor as types: what the C++ of this package begins with.

#include <algorithm>
#include <cstdint>

namespace {

#ifdef __AVX512F__
constexpr int register_bytes = 64;
#else
constexpr int register_bytes = 32;
#endif

template <class Number>
struct Register {
  typedef Number type
      __attribute__((vector_size(register_bytes), aligned(sizeof(Number)), may_alias));
  static constexpr int lanes = register_bytes / sizeof(Number);
};

template <class Number>
using Lanes = typename Register<Number>::type;

template <class Number>
Lanes<Number> load(const Number* x) {
  return *reinterpret_cast<const Lanes<Number>*>(x);
}

template <class Number>
void store(Number* x, Lanes<Number> value) {
  *reinterpret_cast<Lanes<Number>*>(x) = value;
}

}  // namespace
