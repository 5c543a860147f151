"""fnet: pure-functional, JAX-style training of image classifiers in PyTorch."""
