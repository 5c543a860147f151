"""Keyed replacements of attention and recurrent functions, called by `KeyedDraws`.

Without dropout, PyTorch's own function is called. With dropout, the results differ from PyTorch's
only in the mask.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fnet.nn.draws import Instead, KeyedDraws
from fnet.nn.functional_dropout import is_zero, keyed_dropout


def _attention(
    draws: KeyedDraws,
    func: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: Any = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if is_zero(dropout_p):
        options = {"scale": scale, "enable_gqa": enable_gqa}
        return func(query, key, value, attn_mask, dropout_p, is_causal, **options)
    if is_causal and attn_mask is not None:
        raise ValueError("attention takes a mask or is_causal=True, not both")
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ key.transpose(-2, -1) * scale
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = torch.softmax(scores, -1)
    if attn_mask is not None:
        # As in PyTorch: a query whose keys are all masked gets zeros.
        weights = weights.masked_fill((scores == -torch.inf).all(-1, keepdim=True), 0.0)
    return keyed_dropout(draws, weights, dropout_p) @ value


def _multi_head_attention(
    draws: KeyedDraws,
    func: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: Any,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    drops = training and not is_zero(dropout_p)
    output, weights = func(
        query,
        key,
        value,
        embed_dim_to_check,
        num_heads,
        in_proj_weight,
        in_proj_bias,
        bias_k,
        bias_v,
        add_zero_attn,
        0.0,
        out_proj_weight,
        out_proj_bias,
        training,
        key_padding_mask,
        need_weights or drops,
        attn_mask,
        use_separate_proj_weight,
        q_proj_weight,
        k_proj_weight,
        v_proj_weight,
        static_k,
        static_v,
        average_attn_weights and not drops,
        is_causal,
    )
    if not drops:
        return output, weights
    # Apply dropout to PyTorch's attention weights `[N, heads, L, S]`, and multiply by the values.
    batched = query.dim() == 3
    weights = keyed_dropout(draws, weights if batched else weights.unsqueeze(0), dropout_p)
    size = embed_dim_to_check // num_heads
    samples = weights.shape[0]
    if static_v is not None:
        values = static_v
    else:
        values = value if batched else value.unsqueeze(1)
        weight = v_proj_weight if use_separate_proj_weight else _last_third(in_proj_weight)
        values = F.linear(values, weight, _last_third(in_proj_bias))  # type: ignore[arg-type]
        if bias_v is not None:
            values = torch.cat([values, bias_v.expand(1, samples, -1)])
        values = values.reshape(len(values), samples * num_heads, size).transpose(0, 1)
    if add_zero_attn:
        values = F.pad(values, (0, 0, 0, 1))
    mixed = weights @ values.reshape(samples, num_heads, -1, size)
    output = F.linear(mixed.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    weights = weights.mean(1) if average_attn_weights else weights
    if not batched:
        output, weights = output.squeeze(1), weights.squeeze(0)
    return output, weights if need_weights else None


def _last_third(packed: Tensor | None) -> Tensor | None:
    """Return the part for the values of a packed weight or bias of queries, keys and values."""
    return None if packed is None else packed[packed.shape[0] // 3 * 2 :]


def _recurrent(draws: KeyedDraws, func: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """Call a recurrent function layer by layer, with keyed dropout between the layers."""
    packed = isinstance(args[3], list | tuple)
    if packed:
        x, sizes, state, weights, biases, layers, rate, train, both_ways = args
        batch_first = False
    else:
        x, state, weights, biases, layers, rate, train, both_ways, batch_first = args
    if not train or is_zero(rate) or layers == 1:
        return func(*args, **kwargs)
    directions = 2 if both_ways else 1
    each = len(weights) // layers
    states = state if isinstance(state, list | tuple) else (state,)
    finals = []
    for layer in range(layers):
        if layer and (packed or batch_first or x.dim() == 2):
            x = keyed_dropout(draws, x, rate)
        elif layer:
            x = keyed_dropout(draws, x.transpose(0, 1), rate).transpose(0, 1)
        rows = slice(layer * directions, (layer + 1) * directions)
        own = tuple([it[rows] for it in states])
        own_state = own if isinstance(state, list | tuple) else own[0]
        own_weights = weights[layer * each : (layer + 1) * each]
        options = (own_weights, biases, 1, 0.0, train, both_ways)
        if packed:
            x, *final = func(x, sizes, own_state, *options)
        else:
            x, *final = func(x, own_state, *options, batch_first)
        finals.append(final)
    return (x, *[torch.cat(parts) for parts in zip(*finals, strict=True)])


FUNCTIONS: dict[Any, Instead] = {
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head_attention,
    torch.lstm: _recurrent,
    torch.gru: _recurrent,
    torch.rnn_tanh: _recurrent,
    torch.rnn_relu: _recurrent,
}
