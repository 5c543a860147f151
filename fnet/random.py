"""PROVISIONAL (lead): to be replaced by the owner of this file.

Note for the owner: with the 20 rounds traced into the DaiNet7 step Inductor took 455 s to compile.
The block function must be ONE opaque node for the compiler: torch.library.custom_op with register_fake and
register_vmap, as here (keep that, make it good: few in-place ops, tests eager/compiled/vmap/grad)."""
import math
import torch
from torch import Tensor
M = 0xFFFFFFFF
def _rotl(x, r): return ((x << r) | (x >> (32 - r))) & M

@torch.library.custom_op("fnet::threefry2x32", mutates_args=())
def _threefry(k0: Tensor, k1: Tensor, x0: Tensor, x1: Tensor) -> list[Tensor]:
    ks = (k0, k1, k0 ^ k1 ^ 0x1BD11BDA)
    x0, x1 = (x0 + ks[0]) & M, (x1 + ks[1]) & M
    rot = ((13, 15, 26, 6), (17, 29, 16, 24))
    for i in range(5):
        for r in rot[i % 2]:
            x0.add_(x1).bitwise_and_(M)
            low = x1 >> (32 - r)
            x1.bitwise_left_shift_(r).bitwise_or_(low).bitwise_and_(M).bitwise_xor_(x0)
        x0.add_(ks[(i + 1) % 3]).bitwise_and_(M)
        x1.add_(ks[(i + 2) % 3] + (i + 1)).bitwise_and_(M)
    return [x0, x1]
@_threefry.register_fake
def _(k0, k1, x0, x1):
    return [torch.empty_like(x0), torch.empty_like(x1)]
@_threefry.register_vmap
def _(info, in_dims, *xs):
    xs = [x if d is None else x.movedim(d, 0) for x, d in zip(xs, in_dims)]
    n = max(x.ndim - (d is not None) for x, d in zip(xs, in_dims))
    xs = [x if d is None else x.reshape(x.shape[0], *[1] * (n - x.ndim + 1), *x.shape[1:]) for x, d in zip(xs, in_dims)]
    xs = [x.contiguous() for x in torch.broadcast_tensors(*xs)]
    return _threefry(*xs), [0, 0]
def _block(k0, k1, x0, x1):
    return _threefry(*[t.contiguous() for t in torch.broadcast_tensors(k0, k1, x0, x1)])
def key(seed, device=None): return torch.tensor([0, seed & M], device=device)
def _ctr(key, n): return torch.arange(n, device=key.device)
def split(key, num=2):
    c = _ctr(key, num)
    return torch.stack(_block(key[..., 0, None], key[..., 1, None], torch.zeros_like(c), c), -1)
def fold_in(key, data):
    d = torch.as_tensor(data, device=key.device) & M
    return torch.stack(_block(key[..., 0], key[..., 1], torch.zeros_like(d), d), -1)
def bits(key, shape):
    c = _ctr(key, math.prod(shape))
    a, b = _block(key[..., 0, None], key[..., 1, None], torch.zeros_like(c), c)
    return (a ^ b).reshape((*key.shape[:-1], *shape))
def uniform(key, shape, low=0.0, high=1.0, dtype=torch.float32):
    return (bits(key, shape) >> 9).to(dtype) * 2.0**-23 * (high - low) + low
def bernoulli(key, p, shape): return uniform(key, shape) < p
def normal(key, shape): return math.sqrt(2) * torch.erfinv(uniform(key, shape, -0.9999999, 1.0))
def randint(key, shape, low, high):
    k = split(key)
    span = high - low
    mult = ((2**16 % span) ** 2 & M) % span
    hi, lo = bits(k[..., 0, :], shape), bits(k[..., 1, :], shape)
    return low + (((hi % span * mult) & M) + lo % span) % M % span
def permutation(key, n):
    x = _ctr(key, n)
    for _ in range(math.ceil(3 * math.log(max(1, n)) / math.log(2**32 - 1))):
        key, sub = split(key)
        x = x[torch.sort(bits(sub, (n,)), stable=True).indices]
    return x
def fast_bits(key, shape):
    n = math.prod(shape)
    k0, k1 = (key[..., i, None].to(torch.int64) for i in (0, 1))
    k0, k1 = (k0 & 0x7FFFFFFF).to(torch.int32), (k1 & 0x7FFFFFFF).to(torch.int32)
    h = torch.arange(n, dtype=torch.int32, device=key.device) ^ k0
    for s, m in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        h = (h ^ ((h >> s) & 0x1FFFF)) * m ^ k1
    h = h ^ ((h >> 15) & 0x1FFFF)
    return (h & 0xFFFFFF).reshape((*key.shape[:-1], *shape))
def fast_bernoulli(key, p, shape):
    t = torch.as_tensor(p, dtype=torch.float32, device=key.device) * 2.0**24
    return fast_bits(key, shape).to(torch.float32) < t
