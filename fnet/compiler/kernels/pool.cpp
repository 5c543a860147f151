// The max pooling of pool.py: tiles of 2 x 2 pixels of contiguous images.

namespace {

// Loads every second number, from the first on.
template <class Number>
Lanes<Number> load_every_other(const Number* x) {
  Lanes<Number> numbers;
#pragma GCC unroll 16
  for (int i = 0; i < Register<Number>::lanes; ++i) numbers[i] = x[2 * i];
  return numbers;
}

// Stores the numbers of two registers interleaved.
template <class Number>
void store_both(Number* x, Lanes<Number> first, Lanes<Number> second) {
#pragma GCC unroll 16
  for (int i = 0; i < Register<Number>::lanes; ++i) x[2 * i] = first[i], x[2 * i + 1] = second[i];
}

// Computes the maxima of the tiles in two rows of pixels, and their places; one tile per SIMD lane.
template <class Number>
void find(const Number* above, const Number* below, Number* y, Number* places) {
  Lanes<Number> maximum = load_every_other(above), place = {};
  const Number* others[] = {above + 1, below, below + 1};
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    const Lanes<Number> other = load_every_other(others[i]);
    // NaN counts as the largest number.
    const auto larger = (other > maximum) | (other != other);
    maximum = larger ? other : maximum;
    place = larger ? Lanes<Number>{} + Number(i + 1) : place;
  }
  store(y, maximum);
  store(places, place);
}

// Writes the gradient of each maximum to its place in the tile, and zeros to the other places.
template <class Number>
void spread(const Number* grad, const Number* places, Number* above, Number* below) {
  const Lanes<Number> number = load(grad), place = load(places), zero = {};
  store_both<Number>(above, place == zero ? number : zero, place == zero + 1 ? number : zero);
  store_both<Number>(below, place == zero + 2 ? number : zero, place == zero + 3 ? number : zero);
}

// Access to the rows of images: a pointer to the row itself; or to a copy, if the row is too short
// for a register or not contiguous.
template <class Number>
class Rows {
  const Array<Number> images;
  const int64_t size;
  const bool copied;
  std::vector<std::remove_const_t<Number>> copy;
  Number* row = nullptr;

 public:
  Rows(const Tensor& tensor, int64_t shortest)
      : images(tensor),
        size(tensor.sizes()[3]),
        copied(size < shortest || images.strides[3] != 1),
        copy(copied ? std::max(size, shortest) : 0) {}

  Number* at(int64_t image, int64_t channel, int64_t place) {
    row = images.row(image, channel, place);
    if (!copied) return row;
    images.copy_row(image, channel, place, size, copy.data());
    return copy.data();
  }
  // Writes a changed copy back to the image.
  void keep() {
    for (int64_t i = 0; copied && i < size; ++i) row[i * images.strides[3]] = copy[i];
  }
};

// Calls `each` with the first tile of each register. The last register overlaps the previous one.
template <class Number, class Each>
void in_registers(int64_t width, const Each& each) {
  constexpr int64_t lanes = Register<Number>::lanes;
  for (int64_t i = 0; i < width; i += lanes) each(std::max<int64_t>(std::min(i, width - lanes), 0));
}

// Calls `each` with an image, a channel and a row of tiles. Each thread has its own copy of `each`.
template <class Each>
void in_channels(const int64_t* tiles, int64_t threads, const Each& each) {
  in_threads(tiles[0] * tiles[1], threads, [&](int64_t, int64_t begin, int64_t end) {
    auto own = each;
    for (int64_t channel = begin; channel < end; ++channel) {
      for (int64_t row = 0; row < tiles[2]; ++row) own(channel / tiles[1], channel % tiles[1], row);
    }
  });
}

// (x, threads) -> (maxima, places)
void forward(StableIValue* stack, uint64_t, uint64_t) {
  const Tensor x(stack[0]);
  const int64_t* s = x.sizes();
  const int64_t tiles[4] = {s[0], s[1], s[2] / 2, s[3] / 2};
  Tensor y = Tensor::empty(x, {tiles, tiles + 4}), places = Tensor::empty(x, {tiles, tiles + 4});
  with_number({&x}, [&](auto number) {
    using Number = decltype(number);
    constexpr int lanes = Register<Number>::lanes;
    const Rows<const Number> pixels(x, 2 * lanes);
    const Rows<Number> of_y(y, lanes), of_places(places, lanes);
    in_channels(tiles, stack[1], [&, above = pixels, below = pixels, to = of_y, at = of_places](
                                     int64_t image, int64_t channel, int64_t row) mutable {
      const Number* first = above.at(image, channel, 2 * row);
      const Number* second = below.at(image, channel, 2 * row + 1);
      Number *maxima = to.at(image, channel, row), *found = at.at(image, channel, row);
      in_registers<Number>(tiles[3], [&](int64_t i) {
        find(first + 2 * i, second + 2 * i, maxima + i, found + i);
      });
      to.keep();
      at.keep();
    });
  });
  stack[0] = y.release();
  stack[1] = places.release();
}

// (grad, places, threads) -> grad_x
void backward(StableIValue* stack, uint64_t, uint64_t) {
  const Tensor grad(stack[0]), places(stack[1]);
  const int64_t* tiles = grad.sizes();
  Tensor grad_x = Tensor::empty(grad, {tiles[0], tiles[1], 2 * tiles[2], 2 * tiles[3]});
  with_number({&grad, &places}, [&](auto number) {
    using Number = decltype(number);
    constexpr int lanes = Register<Number>::lanes;
    const Rows<const Number> of_grad(grad, lanes), of_places(places, lanes);
    const Rows<Number> pixels(grad_x, 2 * lanes);
    in_channels(tiles, stack[2], [&, from = of_grad, at = of_places, above = pixels, below = pixels](
                                     int64_t image, int64_t channel, int64_t row) mutable {
      const Number *numbers = from.at(image, channel, row), *found = at.at(image, channel, row);
      Number* first = above.at(image, channel, 2 * row);
      Number* second = below.at(image, channel, 2 * row + 1);
      in_registers<Number>(tiles[3], [&](int64_t i) {
        spread(numbers + i, found + i, first + 2 * i, second + 2 * i);
      });
      above.keep();
      below.keep();
    });
  });
  stack[0] = grad_x.release();
}

}  // namespace

extern "C" int install() { return install({{"pool", forward}, {"pool_backward", backward}}); }
