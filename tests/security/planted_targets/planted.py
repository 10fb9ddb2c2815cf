"""A target with one fault that raises and one that ends the process, for the test of the fuzz runner."""

import os


def SEEDS() -> list[bytes]:
    return [b"good", b"bad", b"dead"]


def try_input(data: bytes) -> None:
    if data == b"bad":
        raise KeyError("planted")
    if data == b"dead":
        os.abort()
