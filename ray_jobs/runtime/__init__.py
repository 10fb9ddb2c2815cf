"""Tools of every process: progress, waiting, prefetching, confinement, a private cache, Ray Data."""
