// The convolutions of winograd.py: tiles of images are transformed, multiplied by windows or
// by each other, and transformed back.
//
// Images are in channels-last format: [images, height, width, channels]. Each thread processes one
// block of 36 tiles at a time, which fits in its cache: 36 matrices, one for each position in a
// tile, in panels of 16 channels, [channels / 16, 36 tiles, 16].

namespace {

#ifdef __AVX512F__
constexpr int rows = 12;
#else
constexpr int rows = 6;
#endif
constexpr int panel = 16;    // Channels of a panel.
constexpr int at_once = 36;  // Tiles of a block.
static_assert(at_once % rows == 0);

// The paper's transforms of one line of a tile, with stride `step`: of 6 pixels, of the gradients of
// results, and the inverse transform to results.

struct Pixels {
  static constexpr int from = 6, to = 6;

  template <int step, class T>
  static void line(const T* x, T* y) {
    const T a = x[4 * step] - 4 * x[2 * step], b = x[3 * step] - 4 * x[step];
    const T c = x[4 * step] - x[2 * step], d = 2 * (x[3 * step] - x[step]);
    y[0] = 4 * x[0] - 5 * x[2 * step] + x[4 * step];
    y[step] = a + b;
    y[2 * step] = a - b;
    y[3 * step] = c + d;
    y[4 * step] = c - d;
    y[5 * step] = 4 * x[step] - 5 * x[3 * step] + x[5 * step];
  }
};

template <int results>
struct Gradients;

template <int results>
struct Results;

// Windows of 3 x 3 pixels: 4 x 4 results per tile.

template <>
struct Gradients<4> {
  static constexpr int from = 4, to = 6;

  template <int step, class T>
  static void line(const T* x, T* y) {
    const T a = x[0] + x[2 * step], b = x[step] + x[3 * step];
    const T c = x[0] + 4 * x[2 * step], d = 2 * x[step] + 8 * x[3 * step];
    y[0] = x[0];
    y[step] = a + b;
    y[2 * step] = a - b;
    y[3 * step] = c + d;
    y[4 * step] = c - d;
    y[5 * step] = x[3 * step];
  }
};

template <>
struct Results<4> {
  static constexpr int from = 6, to = 4;

  template <int step, class T>
  static void line(const T* x, T* y) {
    const T a = x[step] + x[2 * step], b = x[step] - x[2 * step];
    const T c = x[3 * step] + x[4 * step], d = x[3 * step] - x[4 * step];
    y[0] = x[0] + a + c;
    y[step] = b + 2 * d;
    y[2 * step] = a + 4 * c;
    y[3 * step] = b + 8 * d + x[5 * step];
  }
};

// Windows of 5 x 5 pixels: 2 x 2 results per tile.

template <>
struct Gradients<2> {
  static constexpr int from = 2, to = 6;

  template <int step, class T>
  static void line(const T* x, T* y) {
    const T a = x[0], b = x[step];
    y[0] = a;
    y[step] = a + b;
    y[2 * step] = a - b;
    y[3 * step] = a + 2 * b;
    y[4 * step] = a - 2 * b;
    y[5 * step] = b;
  }
};

template <>
struct Results<2> {
  static constexpr int from = 6, to = 2;

  template <int step, class T>
  static void line(const T* x, T* y) {
    y[0] = x[0] + x[step] + x[2 * step] + x[3 * step] + x[4 * step];
    y[step] = x[step] - x[2 * step] + 2 * (x[3 * step] - x[4 * step]) + x[5 * step];
  }
};

// Transforms the upper left from x from numbers of a 6 x 6 tile, in place: columns, then rows.
template <class Transform, class T>
void transform(T (&tile)[36]) {
  T half[36];
#pragma GCC unroll 6
  for (int column = 0; column < Transform::from; ++column) {
    Transform::template line<6>(tile + column, half + column);
  }
#pragma GCC unroll 6
  for (int row = 0; row < Transform::to; ++row) {
    Transform::template line<1>(half + 6 * row, tile + 6 * row);
  }
}

struct Images {
  int64_t height, width, channels;
  int64_t above, before;  // Rows and columns of the first tile outside of the image.
};

struct Sizes {
  Images x, y;
  int64_t down, across;  // Rows and columns of the tiles of an image.
  int64_t tiles, threads;
};

// The distance in numbers from one of the 36 matrices to the next. It is not a power of two: that
// would cause cache misses, because all matrices would share a few cache sets.
int64_t pitch(int64_t channels) { return at_once * channels + panel; }

// The scratch memory of a thread, in numbers: for the tiles of x, then for those of y.
int64_t scratch_size(int64_t inputs, int64_t outputs) { return 36 * (pitch(inputs) + pitch(outputs)); }

// The position of a tile: the offset of its image in numbers, and its row and column in the image.
struct Place {
  int64_t image, top, left;
  bool exists;  // False beyond the last tile: the last block may be incomplete.

  Place(const Sizes& s, const Images& images, int64_t tile, int results) {
    const int64_t row = tile / s.across;
    image = row / s.down * images.height * images.width * images.channels;
    top = results * (row % s.down) - images.above;
    left = results * (tile % s.across) - images.before;
    exists = tile < s.tiles;
  }
};

// Transforms a block of tiles from `start` on; the pixel `zeros` is used outside of the images.
template <class Transform, int results, class Number>
void cut(const Sizes& s, const Images& images, const Number* pixels, const Number* zeros,
         int64_t start, Number* tiles) {
  const int64_t to_next = pitch(images.channels);
  for (int n = 0; n < at_once; ++n) {
    const Place at(s, images, start + n, results);
    const Number* pixel[36];
    for (int i = 0; i < 36; ++i) {
      const int64_t y = at.top + i / 6, x = at.left + i % 6;
      const bool inside = 0 <= y && y < images.height && 0 <= x && x < images.width && at.exists;
      pixel[i] = inside ? pixels + at.image + (y * images.width + x) * images.channels : zeros;
    }
    for (int64_t channel = 0; channel < images.channels; channel += Register<Number>::lanes) {
      Lanes<Number> tile[36];
#pragma GCC unroll 36
      for (int i = 0; i < 36; ++i) tile[i] = load(pixel[i] + channel);
      transform<Transform>(tile);
      Number* place = tiles + (channel / panel * at_once + n) * panel + channel % panel;
#pragma GCC unroll 36
      for (int i = 0; i < 36; ++i) store(place + i * to_next, tile[i]);
    }
  }
}

// Transforms a block of tiles from `start` on back to results, and adds the pixel `added` (bias).
template <int results, class Number>
void join(const Sizes& s, const Images& images, const Number* tiles, const Number* added,
          int64_t start, Number* pixels) {
  const int64_t to_next = pitch(images.channels);
  for (int n = 0; n < at_once && start + n < s.tiles; ++n) {
    const Place at(s, images, start + n, results);
    Number* pixel = pixels + at.image + (at.top * images.width + at.left) * images.channels;
    for (int64_t channel = 0; channel < images.channels; channel += Register<Number>::lanes) {
      Lanes<Number> tile[36];
      const Number* place = tiles + (channel / panel * at_once + n) * panel + channel % panel;
#pragma GCC unroll 36
      for (int i = 0; i < 36; ++i) tile[i] = load(place + i * to_next);
      transform<Results<results>>(tile);
      const Lanes<Number> bias = load(added + channel);
      for (int i = 0; i < results && at.top + i < images.height; ++i) {
        for (int j = 0; j < results && at.left + j < images.width; ++j) {
          const int64_t other = (i * images.width + j) * images.channels;
          store(pixel + other + channel, tile[6 * i + j] + bias);
        }
      }
    }
  }
}

// Accumulators in registers: `rows` rows of 16 sums of products.
template <class Number>
struct Sums {
  static constexpr int lanes = Register<Number>::lanes;
  Lanes<Number> of_row[rows][panel / lanes] = {};

  // In each of `steps` steps, adds the factor of each row times 16 numbers of y.
  template <class Factor>
  void add(int steps, const Factor& factor, const Number* y) {
    for (int step = 0; step < steps; ++step, y += panel) {
      Lanes<Number> numbers[panel / lanes];
#pragma GCC unroll 4
      for (int i = 0; i < panel / lanes; ++i) numbers[i] = load(y + i * lanes);
#pragma GCC unroll 12
      for (int row = 0; row < rows; ++row) {
        const Number x = factor(row, step);
#pragma GCC unroll 4
        for (int i = 0; i < panel / lanes; ++i) of_row[row][i] += x * numbers[i];
      }
    }
  }
};

// Multiplies tiles of x by windows [36, channels of y / 16, channels of x, 16].
template <class Number>
void multiply(const Sizes& s, const Number* x, const Number* windows, Number* y) {
  constexpr int lanes = Register<Number>::lanes;
  const int64_t inputs = s.x.channels, outputs = s.y.channels;
  for (int i = 0; i < 36; ++i, x += pitch(inputs), y += pitch(outputs)) {
    for (int64_t output = 0; output < outputs; output += panel, windows += inputs * panel) {
      for (int tile = 0; tile < at_once; tile += rows) {
        Sums<Number> sums;
        for (int64_t input = 0; input < inputs; input += panel) {
          const Number* some = x + input * at_once + tile * panel;
          const auto factor = [=](int row, int step) { return some[row * panel + step]; };
          sums.add(panel, factor, windows + input * panel);
        }
        Number* place = y + output * at_once + tile * panel;
        for (int row = 0; row < rows; ++row, place += panel) {
          for (int k = 0; k < panel / lanes; ++k) store(place + k * lanes, sums.of_row[row][k]);
        }
      }
    }
  }
}

// Adds the products of tiles of x and of y to products [36, channels of x, channels of y].
template <class Number>
void add_products(const Sizes& s, const Number* x, const Number* y, Number* products) {
  constexpr int lanes = Register<Number>::lanes;
  const int64_t inputs = s.x.channels, outputs = s.y.channels;
  for (int i = 0; i < 36; ++i, x += pitch(inputs), y += pitch(outputs)) {
    for (int64_t input = 0; input < inputs; input += rows) {
      const Number* row_of[rows];
      for (int row = 0; row < rows; ++row) {
        const int64_t channel = std::min(input + row, inputs - 1);
        row_of[row] = x + channel / panel * panel * at_once + channel % panel;
      }
      for (int64_t output = 0; output < outputs; output += panel) {
        Sums<Number> sums;
        const auto factor = [&](int row, int step) { return row_of[row][step * panel]; };
        sums.add(at_once, factor, y + output * at_once);
        Number* place = products + (i * inputs + input) * outputs + output;
        for (int row = 0; row < rows && input + row < inputs; ++row, place += outputs) {
          for (int k = 0; k < panel / lanes; ++k) {
            store(place + k * lanes, load(place + k * lanes) + sums.of_row[row][k]);
          }
        }
      }
    }
  }
}

// Calls `each` with a thread and the first tile of a block, for each block.
template <class Each>
void in_blocks(const Sizes& s, const Each& each) {
  in_threads((s.tiles + at_once - 1) / at_once, s.threads,
             [&](int64_t thread, int64_t begin, int64_t end) {
               for (int64_t block = begin; block < end; ++block) each(thread, block * at_once);
             });
}

template <int results, class Number>
void convolve(const Sizes& s, const Number* x, Number* y, const Number* zeros,
              const Number* windows, const Number* bias, Number* scratch) {
  in_blocks(s, [&](int64_t thread, int64_t start) {
    Number* tiles_x = scratch + thread * scratch_size(s.x.channels, s.y.channels);
    Number* tiles_y = tiles_x + 36 * pitch(s.x.channels);
    cut<Pixels, results>(s, s.x, x, zeros, start, tiles_x);
    multiply(s, tiles_x, windows, tiles_y);
    join<results>(s, s.y, tiles_y, bias, start, y);
  });
}

// Accumulates, per thread, the products [threads, 36, channels of x, channels of y], and the sums of
// y, [threads, channels of y].
template <int results, class Number>
void differentiate(const Sizes& s, const Number* x, const Number* y, const Number* zeros,
                   Number* products, Number* sums, Number* scratch) {
  const int64_t inputs = s.x.channels, outputs = s.y.channels;
  in_blocks(s, [&](int64_t thread, int64_t start) {
    Number* tiles_x = scratch + thread * scratch_size(inputs, outputs);
    Number* tiles_y = tiles_x + 36 * pitch(inputs);
    cut<Pixels, results>(s, s.x, x, zeros, start, tiles_x);
    cut<Gradients<results>, results>(s, s.y, y, zeros, start, tiles_y);
    add_products(s, tiles_x, tiles_y, products + thread * 36 * inputs * outputs);
    // The second number of a transformed line is the sum of the line.
    const Number* sums_y = tiles_y + 7 * pitch(outputs);
    for (int64_t i = 0; i < outputs * at_once; ++i) {
      sums[thread * outputs + i / (panel * at_once) * panel + i % panel] += sums_y[i];
    }
  });
}

}  // namespace

extern "C" int scratch(int inputs, int outputs) { return scratch_size(inputs, outputs); }

#define EXPORT(results, Number)                                                                   \
  extern "C" void convolve_##results##_##Number(                                                  \
      const Sizes& s, const Number* x, Number* y, const Number* zeros, const Number* windows,     \
      const Number* bias, Number* scratch) {                                                      \
    convolve<results>(s, x, y, zeros, windows, bias, scratch);                                    \
  }                                                                                               \
  extern "C" void differentiate_##results##_##Number(                                             \
      const Sizes& s, const Number* x, const Number* y, const Number* zeros, Number* products,    \
      Number* sums, Number* scratch) {                                                            \
    differentiate<results>(s, x, y, zeros, products, sums, scratch);                              \
  }

EXPORT(4, float)
EXPORT(2, float)
EXPORT(4, double)
EXPORT(2, double)
