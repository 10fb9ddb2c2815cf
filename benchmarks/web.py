"""Measures how many images per second 32 threads fetch over HTTP from a local server, and the memory that this takes.

    python -m benchmarks.web [--images 4000] [--bytes 100000] [--latency 0.02] [--against TREE ...]

Each TREE is a checkout to compare with. All run in turn against one server, `--rounds` times.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web as server

THREADS = 32


def fetch_all(address: str, images: int) -> None:
    from ray_jobs.sources.reading import web

    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        lengths = list(pool.map(lambda number: len(web.fetch(f"{address}/{number}")[0] or b""), range(images)))
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    growth = (after.ru_maxrss - before.ru_maxrss) / 1024
    speed = f"{images / seconds:.0f} images/s, {cpu / images * 1000:.2f} ms of CPU an image"
    memory = f"{after.ru_maxrss / 1024:.0f} MB at most, {growth:.0f} above the start"
    print(f"{speed}, {memory}, {lengths.count(0)} failed")


async def serve(arguments: argparse.Namespace) -> None:
    """Serve images on this machine, and run the clients one after the other."""

    async def answer(_: server.Request) -> server.Response:
        await asyncio.sleep(arguments.latency)
        return server.Response(body=bytes(arguments.bytes))

    application = server.Application()
    application.router.add_get("/{name}", answer)
    runner = server.AppRunner(application, access_log=None)
    await runner.setup()
    site = server.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = "http://{}:{}".format(*runner.addresses[0][:2])
    for _ in range(arguments.rounds):
        for tree in [*arguments.against, os.getcwd()]:
            command = [sys.executable, __file__, "--client", address, "--images", str(arguments.images)]
            environment = os.environ | {"PYTHONPATH": tree, "ASSAY_SOURCES": "127.0.0.1"}
            process = await asyncio.to_thread(
                subprocess.run, command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            print(f"{tree}: {process.stdout.strip()}", flush=True)
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--bytes", type=int, default=100_000)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds until the server answers")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--against", action="append", default=[])
    parser.add_argument("--client")
    arguments = parser.parse_args()
    if arguments.client:
        fetch_all(arguments.client, arguments.images)
    else:
        asyncio.run(serve(arguments))
