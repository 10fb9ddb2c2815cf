"""Captions a folder of images with SGLang's offline engine; prints one line of JSON. Needs a GPU.

ENVIRONMENT/bin/python benchmarks/rival_programs/with_sglang.py offline INPUTS
"""

import json
import os
import sys
import time
from pathlib import Path

WARM_IMAGES = 64

if __name__ == "__main__":
    import sglang  # type: ignore[import-not-found]

    inputs = json.loads(Path(sys.argv[2]).read_text())
    settings = inputs["engine"]
    images = [str(file) for file in sorted(Path(inputs["images"]).iterdir())]
    start = time.time()
    engine = sglang.Engine(
        model_path=inputs["model"], dtype=settings["dtype"], context_length=settings["max_model_len"],
        max_running_requests=settings["max_num_seqs"], chunked_prefill_size=settings["max_num_batched_tokens"],
        enable_multimodal=True, disable_radix_cache=True, log_level="error",
    )  # fmt: skip
    start = time.time() - start
    sampling = {"max_new_tokens": inputs["max_tokens"], "temperature": 0, "ignore_eos": True}
    engine.generate([inputs["prompt"]] * len(images[:WARM_IMAGES]), sampling, image_data=images[:WARM_IMAGES])
    began = time.time()
    outputs = engine.generate([inputs["prompt"]] * len(images), sampling, image_data=images)
    took = time.time() - began
    tokens = sum(output["meta_info"]["completion_tokens"] for output in outputs)
    print(
        json.dumps({"took": took, "start": start, "tokens": tokens, "version": sglang.__version__}),
        flush=True,
    )
    engine.shutdown()
    os._exit(0)
