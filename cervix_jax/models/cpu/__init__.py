"""Forms of convolutions and pooling that XLA runs faster on the CPU; equal up to rounding."""
