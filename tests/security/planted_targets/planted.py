"""A target with a fault that raises and a fault that ends the process, for the test of the fuzz runner."""

import os


def SEEDS() -> list[bytes]:
    return [b"good", b"bad", b"dead"]


def try_input(data: bytes) -> None:
    if data == b"bad":
        raise KeyError("planted")
    if data == b"dead":
        os.abort()
