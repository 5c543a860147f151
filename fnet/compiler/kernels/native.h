// The common part of this package's C++ sources: SIMD registers as types, threads, and PyTorch's
// tensors.

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

// Declarations of the part of PyTorch's stable C interface that is used here. Its own header
// (torch/csrc/inductor/aoti_torch/c/shim.h) is not included, because parsing it takes longer than
// compiling everything else. An error code of 0 means success.
extern "C" {
using AOTITorchError = int32_t;
using StableIValue = uint64_t;
using AtenTensorHandle = struct AtenTensorOpaque*;
using TorchLibraryHandle = class TorchLibraryOpaque*;

int32_t aoti_torch_device_type_cpu();
int32_t aoti_torch_dtype_float32();
int32_t aoti_torch_dtype_float64();
AOTITorchError aoti_torch_get_data_ptr(AtenTensorHandle, void**);
AOTITorchError aoti_torch_get_dtype(AtenTensorHandle, int32_t*);
AOTITorchError aoti_torch_get_sizes(AtenTensorHandle, int64_t**);
AOTITorchError aoti_torch_get_strides(AtenTensorHandle, int64_t**);
AOTITorchError aoti_torch_empty_strided(int64_t, const int64_t*, const int64_t*, int32_t, int32_t,
                                        int32_t, AtenTensorHandle*);
AOTITorchError aoti_torch_delete_tensor_object(AtenTensorHandle);
AOTITorchError aoti_torch_library_init_impl(const char*, const char*, const char*, uint32_t,
                                            TorchLibraryHandle*);
AOTITorchError aoti_torch_library_impl(TorchLibraryHandle, const char*,
                                       void (*)(StableIValue*, uint64_t, uint64_t));
}

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

// Splits `parts` among threads. Calls `each(thread, begin, end)` with the range of its parts.
template <class Each>
void in_threads(int64_t parts, int64_t threads, const Each& each) {
#pragma omp parallel for num_threads(threads)
  for (int64_t thread = 0; thread < threads; ++thread) {
    each(thread, parts * thread / threads, parts * (thread + 1) / threads);
  }
}

void check(AOTITorchError error) {
  if (error != 0) throw std::runtime_error("PyTorch refused a tensor");
}

// An owning handle of a CPU tensor: received from PyTorch as an argument, or to be returned to it.
class Tensor {
  AtenTensorHandle handle;

 public:
  explicit Tensor(StableIValue value) : handle(reinterpret_cast<AtenTensorHandle>(value)) {}
  Tensor(const Tensor&) = delete;
  ~Tensor() {
    if (handle) aoti_torch_delete_tensor_object(handle);
  }

  // Returns an uninitialized tensor with the dtype of `like`; contiguous if no strides are given.
  static Tensor empty(const Tensor& like, const std::vector<int64_t>& sizes,
                      const int64_t* strides = nullptr) {
    std::vector<int64_t> dense(sizes.size(), 1);
    for (size_t i = sizes.size(); --i > 0;) dense[i - 1] = dense[i] * sizes[i];
    AtenTensorHandle made;
    check(aoti_torch_empty_strided(sizes.size(), sizes.data(), strides ? strides : dense.data(),
                                   like.dtype(), aoti_torch_device_type_cpu(), 0, &made));
    return Tensor(reinterpret_cast<StableIValue>(made));
  }

  int32_t dtype() const {
    int32_t dtype;
    check(aoti_torch_get_dtype(handle, &dtype));
    return dtype;
  }
  const int64_t* sizes() const {
    int64_t* sizes;
    check(aoti_torch_get_sizes(handle, &sizes));
    return sizes;
  }
  const int64_t* strides() const {
    int64_t* strides;
    check(aoti_torch_get_strides(handle, &strides));
    return strides;
  }
  template <class Number>
  Number* data() const {
    void* data;
    check(aoti_torch_get_data_ptr(handle, &data));
    return static_cast<Number*>(data);
  }
  // Transfers the ownership to PyTorch.
  StableIValue release() { return reinterpret_cast<StableIValue>(std::exchange(handle, nullptr)); }
};

// A strided view of a tensor with four dimensions.
template <class Number>
struct Array {
  Number* data;
  int64_t strides[4];

  explicit Array(const Tensor& tensor) : data(tensor.data<Number>()) {
    std::copy_n(tensor.strides(), 4, strides);
  }
  Number* row(int64_t i, int64_t j, int64_t k) const {
    return data + i * strides[0] + j * strides[1] + k * strides[2];
  }
  void copy_row(int64_t i, int64_t j, int64_t k, int64_t size,
                std::remove_const_t<Number>* to) const {
    const Number* from = row(i, j, k);
    if (strides[3] == 1) {
      std::copy_n(from, size, to);
    } else {
      for (int64_t place = 0; place < size; ++place) to[place] = from[place * strides[3]];
    }
  }
};

// Dispatches on the dtype of the tensors: calls `each` with a float or a double.
template <class Each>
void with_number(std::initializer_list<const Tensor*> tensors, const Each& each) {
  const auto all = [&](int32_t dtype) {
    return std::all_of(tensors.begin(), tensors.end(),
                       [=](const Tensor* tensor) { return tensor->dtype() == dtype; });
  };
  if (all(aoti_torch_dtype_float32())) return each(float());
  if (all(aoti_torch_dtype_float64())) return each(double());
  throw std::runtime_error("numbers are all float32, or all float64");
}

// A kernel for PyTorch's dispatcher. The stack holds the arguments (tensors and integers); the
// kernel replaces them by the results.
struct Operation {
  const char* name;
  void (*function)(StableIValue*, uint64_t, uint64_t);
};

// Registers CPU kernels of operations of `fnet` with PyTorch; returns 0 on success.
inline int install(std::initializer_list<Operation> operations) {
  TorchLibraryHandle library;
  int error = aoti_torch_library_init_impl("fnet", "CPU", __FILE__, __LINE__, &library);
  for (const Operation& operation : operations) {
    if (!error) error = aoti_torch_library_impl(library, operation.name, operation.function);
  }
  return error;
}

}  // namespace
