"""The program: one file per command, put together in `main`."""
