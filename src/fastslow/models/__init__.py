"""Models to train from scratch: a decoder with any memory in each block."""
