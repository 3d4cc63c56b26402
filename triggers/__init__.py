"""A stimulus on a wire: pulses, byte protocols, ports."""
