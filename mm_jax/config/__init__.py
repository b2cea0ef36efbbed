"""Every choice as a frozen dataclass, the only home of defaults. Imports no jax."""
