"""Starts a decoder's processes, prints `ready` and holds them until it is killed."""

import time

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.decoder_process import Decoder

if __name__ == "__main__":
    decoder = Decoder(Preprocess())
    print("ready", flush=True)
    time.sleep(100)
