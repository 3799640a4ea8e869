"""fastslow: a persistent internal state at three rates around an autoregressive core."""
