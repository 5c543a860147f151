// The direct convolutions of direct.py, and their gradients: sums of products of windows and
// images, without im2col.
//
// The SIMD lanes of a register are neighbouring results, or pixels, of one row of an image. The
// images are distributed among the threads.

namespace {

struct Images {
  int64_t channels, height, width;

  int64_t area() const { return height * width; }
};

struct Sizes {
  int64_t images;
  Images x, y;
  int64_t high, wide;  // Height and width of a window.
  int64_t above, before;  // Rows and columns of zeros around x.
  int64_t threads;

  int64_t window() const { return x.channels * high * wide; }
};

int64_t pieces(int64_t size, int64_t piece) { return (size + piece - 1) / piece; }

// Memory filled with zeros, aligned to cache lines.
template <class Number>
class Scratch {
  struct alignas(64) Line {
    Number numbers[64 / sizeof(Number)];
  };
  std::vector<Line> lines;

 public:
  explicit Scratch(int64_t size) : lines(pieces(size * sizeof(Number), sizeof(Line))) {}
  Number* data() { return lines.data()->numbers; }
};

// A copy of an image with zeros around it, and more zeros at the right, for `results` per row.
template <class Number>
struct Frame {
  const Sizes& s;
  int64_t height, width;
  Scratch<Number> scratch;

  Frame(const Sizes& s, int64_t results)
      : s(s),
        height(s.x.height + 2 * s.above),
        width(results + s.wide - 1),
        scratch(s.x.channels * height * width) {}

  const Number* fill(const Array<const Number>& x, int64_t image) {
    Number* row = scratch.data() + s.above * width + s.before;
    for (int64_t channel = 0; channel < s.x.channels; ++channel, row += 2 * s.above * width) {
      for (int64_t i = 0; i < s.x.height; ++i, row += width) {
        x.copy_row(image, channel, i, s.x.width, row);
      }
    }
    return scratch.data();
  }
};

// Channels of y whose results are computed together.
constexpr int together = 6;

// Accumulators: one or two registers of results for each of `together` channels.
template <class Number>
struct Results {
  Lanes<Number> of_channel[together][2] = {};

  // Adds windows [channels of x, high, wide, together] times the pixels at `first` and `second`.
  template <int wide, int registers>
  void add(const Frame<Number>& frame, const Number* windows, const Number* first,
           const Number* second) {
    const int64_t to_next = (frame.height - frame.s.high) * frame.width;
    for (int64_t channel = 0; channel < frame.s.x.channels; ++channel) {
      for (int64_t i = 0; i < frame.s.high; ++i, first += frame.width, second += frame.width) {
#pragma GCC unroll 5
        for (int j = 0; j < wide; ++j, windows += together) {
          const Lanes<Number> pixels[2] = {load(first + j), load(second + j)};
#pragma GCC unroll 6
          for (int k = 0; k < together; ++k) {
            const Number weight = windows[k];
#pragma GCC unroll 2
            for (int i = 0; i < registers; ++i) of_channel[k][i] += weight * pixels[i];
          }
        }
      }
      first += to_next, second += to_next;
    }
  }
};

// Computes a row of results of `count` channels; `x` points to the row's first window in the frame.
template <int wide, class Number>
void convolve_row(const Frame<Number>& frame, const Number* windows, const Number* bias,
                  int64_t count, const Number* x, Number* y) {
  constexpr int lanes = Register<Number>::lanes;
  const Images& of_y = frame.s.y;
  const int64_t last = std::max<int64_t>(of_y.width - lanes, 0);
  for (int64_t column = 0; column < of_y.width; column += 2 * lanes) {
    // The last registers overlap the previous ones: some results are computed twice.
    const int64_t first = std::min(column, last), second = std::min(column + lanes, last);
    Results<Number> results;
    if (first < second) {
      results.template add<wide, 2>(frame, windows, x + first, x + second);
    } else {
      results.template add<wide, 1>(frame, windows, x + first, x + first);
    }
#pragma GCC unroll 6
    for (int k = 0; k < together; ++k) {
      if (k == count) break;
      Number* line = y + k * of_y.area();
      const Number added = bias ? bias[k] : 0;
      if (of_y.width < lanes) {
        Number longer[lanes];
        store(longer, results.of_channel[k][0] + added);
        std::copy_n(longer, of_y.width, line);
        continue;
      }
      store(line + first, results.of_channel[k][0] + added);
      if (first < second) store(line + second, results.of_channel[k][1] + added);
    }
  }
}

// Computes y, contiguous, from x and weight: [channels of y, channels of x, high, wide].
template <int wide, class Number>
void convolve(const Sizes& s, const Array<const Number>& x, const Array<const Number>& weight,
              const Number* bias, Number* y) {
  Scratch<Number> scratch(pieces(s.y.channels, together) * together * s.window());
  Number* windows = scratch.data();
  for (int64_t k = 0; k < s.y.channels; ++k) {
    Number* place = windows + k / together * together * s.window() + k % together;
    for (int64_t channel = 0; channel < s.x.channels; ++channel) {
      for (int64_t i = 0; i < s.high; ++i) {
        const Number* row = weight.row(k, channel, i);
        for (int j = 0; j < wide; ++j, place += together) *place = row[j * weight.strides[3]];
      }
    }
  }
  in_threads(s.images, s.threads, [&](int64_t, int64_t begin, int64_t end) {
    Frame<Number> frame(s, std::max<int64_t>(s.y.width, Register<Number>::lanes));
    for (int64_t image = begin; image < end; ++image) {
      const Number* pixels = frame.fill(x, image);
      for (int64_t k = 0; k < s.y.channels; k += together) {
        Number* results = y + (image * s.y.channels + k) * s.y.area();
        const int64_t count = std::min<int64_t>(together, s.y.channels - k);
        for (int64_t row = 0; row < s.y.height; ++row) {
          convolve_row<wide>(frame, windows + k * s.window(), bias ? bias + k : nullptr, count,
                             pixels + row * frame.width, results + row * s.y.width);
        }
      }
    }
  });
}

template <class Number>
Number sum(Lanes<Number> numbers) {
  Number total = 0;
  for (int i = 0; i < Register<Number>::lanes; ++i) total += numbers[i];
  return total;
}

// A thread's gradients of the windows and of the bias.
template <int wide, class Number>
class Gradients {
  static constexpr int lanes = Register<Number>::lanes;
  // Channels of y per block: each has one register of sums for each pixel in a row of a window.
  static constexpr int channels = 10 / wide;

  const Sizes& s;
  const int64_t width = pieces(s.y.width, lanes) * lanes;  // Of a row of y, padded with zeros.
  const int64_t area = s.y.height * width, blocks = pieces(s.y.channels, channels);
  Frame<Number> frame{s, width};
  Scratch<Number> scratch_y{blocks * channels * area};
  Scratch<Number> products{blocks * channels * s.window() * lanes}, sums{s.y.channels * lanes};

  void fill(const Array<const Number>& y, int64_t image) {
    Number* row = scratch_y.data();
    for (int64_t k = 0; k < s.y.channels; ++k) {
      Lanes<Number> total = load(sums.data() + k * lanes);
      for (int64_t i = 0; i < s.y.height; ++i) {
        y.copy_row(image, k, i, s.y.width, row);
        for (int64_t column = 0; column < width; column += lanes, row += lanes) total += load(row);
      }
      store(sums.data() + k * lanes, total);
    }
  }

  // Accumulates the products [channels, wide] of one row of the windows.
  void add_row(const Number* x, const Number* y, Number* place) {
    Lanes<Number> total[channels][wide] = {};
    for (int64_t row = 0; row < s.y.height; ++row, x += frame.width) {
      for (int64_t column = 0; column < width; column += lanes, y += lanes) {
        Lanes<Number> pixels[wide];
#pragma GCC unroll 5
        for (int j = 0; j < wide; ++j) pixels[j] = load(x + column + j);
#pragma GCC unroll 3
        for (int k = 0; k < channels; ++k) {
          const Lanes<Number> factor = load(y + k * area);
#pragma GCC unroll 5
          for (int j = 0; j < wide; ++j) total[k][j] += factor * pixels[j];
        }
      }
    }
#pragma GCC unroll 3
    for (int k = 0; k < channels; ++k) {
#pragma GCC unroll 5
      for (int j = 0; j < wide; ++j, place += lanes) store(place, load(place) + total[k][j]);
    }
  }

 public:
  explicit Gradients(const Sizes& s) : s(s) {}

  void add(const Array<const Number>& x, const Array<const Number>& y, int64_t image) {
    const Number* pixels = frame.fill(x, image);
    fill(y, image);
    Number* place = products.data();
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t channel = 0; channel < s.x.channels; ++channel) {
        for (int64_t i = 0; i < s.high; ++i, place += channels * wide * lanes) {
          add_row(pixels + (channel * frame.height + i) * frame.width,
                  scratch_y.data() + block * channels * area, place);
        }
      }
    }
  }

  // Writes the gradients of the windows, then those of the bias.
  void write(Number* to) {
    for (int64_t k = 0; k < s.y.channels; ++k) {
      const int64_t rows = s.x.channels * s.high;
      const Number* row = products.data() + k / channels * channels * s.window() * lanes;
      row += k % channels * wide * lanes;
      for (int64_t i = 0; i < rows; ++i, row += channels * wide * lanes) {
        for (int j = 0; j < wide; ++j) *to++ = sum<Number>(load(row + j * lanes));
      }
    }
    for (int64_t k = 0; k < s.y.channels; ++k) *to++ = sum<Number>(load(sums.data() + k * lanes));
  }
};

// Computes the gradients of the windows, [channels of y, channels of x, high, wide], and of the
// bias.
template <int wide, class Number>
void differentiate(const Sizes& s, const Array<const Number>& x, const Array<const Number>& y,
                   const Array<Number>& of_weight, Number* of_bias) {
  const int64_t size = s.y.channels * (s.window() + 1);
  Scratch<Number> scratch(s.threads * size);
  in_threads(s.images, s.threads, [&](int64_t thread, int64_t begin, int64_t end) {
    Gradients<wide, Number> gradients(s);
    for (int64_t image = begin; image < end; ++image) gradients.add(x, y, image);
    gradients.write(scratch.data() + thread * size);
  });
  const Number* next = scratch.data();
  const auto total = [&] {
    Number sum = 0;
    for (int64_t thread = 0; thread < s.threads; ++thread) sum += next[thread * size];
    ++next;
    return sum;
  };
  for (int64_t k = 0; k < s.y.channels; ++k) {
    for (int64_t channel = 0; channel < s.x.channels; ++channel) {
      for (int64_t i = 0; i < s.high; ++i) {
        Number* row = of_weight.row(k, channel, i);
        for (int j = 0; j < wide; ++j) row[j * of_weight.strides[3]] = total();
      }
    }
  }
  for (int64_t k = 0; k < s.y.channels; ++k) of_bias[k] = total();
}

// Dispatches on the width of a window, a constant for unrolling loops, and on the dtype.
template <class Each>
void with_types(std::initializer_list<const Tensor*> tensors, int64_t wide, const Each& each) {
  with_number(tensors, [&](auto number) {
    if (wide == 3) return each(std::integral_constant<int, 3>(), number);
    if (wide == 5) return each(std::integral_constant<int, 5>(), number);
    throw std::runtime_error("windows are 3 or 5 pixels wide");
  });
}

// (x, weight, bias, above, before, threads) -> y
void forward(StableIValue* stack, uint64_t, uint64_t) {
  const Tensor x(stack[0]), weight(stack[1]), bias(stack[2]);
  const int64_t *of_x = x.sizes(), *of_weight = weight.sizes();
  Sizes s{of_x[0], {of_x[1], of_x[2], of_x[3]}, {of_weight[0]}};
  s.high = of_weight[2], s.wide = of_weight[3];
  s.above = stack[3], s.before = stack[4], s.threads = stack[5];
  s.y.height = s.x.height + 2 * s.above - s.high + 1;
  s.y.width = s.x.width + 2 * s.before - s.wide + 1;
  Tensor y = Tensor::empty(x, {s.images, s.y.channels, s.y.height, s.y.width});
  with_types({&x, &weight, &bias}, s.wide, [&](auto wide, auto number) {
    using Number = decltype(number);
    convolve<wide()>(s, Array<const Number>(x), Array<const Number>(weight),
                     bias.data<const Number>(), y.data<Number>());
  });
  stack[0] = y.release();
}

// (grad, weight, above, before, threads) -> grad_x: the convolution of grad with the windows rotated
// by 180 degrees, with input and output channels exchanged.
void input_gradient(StableIValue* stack, uint64_t, uint64_t) {
  const Tensor grad(stack[0]), weight(stack[1]);
  const int64_t *of_grad = grad.sizes(), *of_weight = weight.sizes();
  Sizes s{of_grad[0], {of_grad[1], of_grad[2], of_grad[3]}, {of_weight[1]}};
  s.high = of_weight[2], s.wide = of_weight[3];
  s.above = s.high - 1 - int64_t(stack[2]), s.before = s.wide - 1 - int64_t(stack[3]);
  s.threads = stack[4];
  s.y.height = s.x.height + 2 * s.above - s.high + 1;
  s.y.width = s.x.width + 2 * s.before - s.wide + 1;
  Tensor grad_x = Tensor::empty(grad, {s.images, s.y.channels, s.y.height, s.y.width});
  with_types({&grad, &weight}, s.wide, [&](auto wide, auto number) {
    using Number = decltype(number);
    Array<const Number> turned(weight);
    turned.data += (s.high - 1) * turned.strides[2] + (s.wide - 1) * turned.strides[3];
    std::swap(turned.strides[0], turned.strides[1]);
    for (int i : {2, 3}) turned.strides[i] *= -1;
    convolve<wide(), Number>(s, Array<const Number>(grad), turned, nullptr, grad_x.data<Number>());
  });
  stack[0] = grad_x.release();
}

// (grad, x, weight, above, before, threads) -> (grad_weight with the weight's strides, grad_bias)
void weight_gradient(StableIValue* stack, uint64_t, uint64_t) {
  const Tensor grad(stack[0]), x(stack[1]), weight(stack[2]);
  const int64_t *of_x = x.sizes(), *of_grad = grad.sizes(), *sizes = weight.sizes();
  Sizes s{of_x[0], {of_x[1], of_x[2], of_x[3]}, {of_grad[1], of_grad[2], of_grad[3]}};
  s.high = sizes[2], s.wide = sizes[3];
  s.above = stack[3], s.before = stack[4], s.threads = stack[5];
  Tensor of_weight = Tensor::empty(x, {sizes, sizes + 4}, weight.strides());
  Tensor of_bias = Tensor::empty(x, {s.y.channels});
  with_types({&x, &grad, &weight}, s.wide, [&](auto wide, auto number) {
    using Number = decltype(number);
    differentiate<wide(), Number>(s, Array<const Number>(x), Array<const Number>(grad),
                                  Array<Number>(of_weight), of_bias.data<Number>());
  });
  stack[0] = of_weight.release();
  stack[1] = of_bias.release();
}

}  // namespace

extern "C" int install() {
  return install({{"direct", forward},
                  {"direct_input_gradient", input_gradient},
                  {"direct_weight_gradient", weight_gradient}});
}
