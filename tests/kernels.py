"""Kernels as functions with gradients, for tests that call them without a compiler."""

import torch


def differentiable(kernel):
    """Return `kernel.convolution(x, weight, bias, padding)`, whose gradient is its `backward`."""

    class Convolution(torch.autograd.Function):
        @staticmethod
        def forward(x, weight, bias, padding):
            return kernel.convolution(x, weight, bias, padding)

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, weight, bias, ctx.padding = inputs
            ctx.has_bias = bias is not None
            ctx.save_for_backward(x, weight)

        @staticmethod
        def backward(ctx, grad):
            *gradients, of_bias = kernel.backward(grad, *ctx.saved_tensors, ctx.padding)
            return *gradients, of_bias if ctx.has_bias else None, None

    return Convolution.apply
