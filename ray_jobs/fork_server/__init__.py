"""A fork server: a process with the heavy modules imported, from which new processes are forked in milliseconds.

Importing Ray, SciPy, transformers or vLLM takes seconds of a core, and each job, probe and engine would pay for it.

- A client (`client.py`) asks for a process: a module to run as `__main__`, with arguments, environment, folder and
  descriptors. `entrypoint.py` is the client of the stages: it waits, passes signals on, and ends as the process ended.
- The server (`server.py`) forks. It has one thread, no environment variable of a job, and no open connection. It never
  reads a request: the forked process does (`forked_process.py`), so no job's secrets stay in the server.
- A server serves only clients that agree with it in everything that a forked process cannot change (`server_key.py`).
  It ends when a file that it has loaded changes (`loaded_files.py`), when it is idle, and with Ray's raylet.
- Whatever goes wrong before the program begins, the client runs the program itself, as if there were no server. Each
  wait of a client has a bound. The kernel kills the forked process and its group when the client ends.

`ASSAY_FORK_SERVER=off` turns it off. Else a job of Ray starts the server that it misses, in the background, for the
jobs after it. With `ASSAY_FORK_SERVER=on` a stage that a person starts does so too. An idle server ends after
`ASSAY_FORK_SERVER_SECONDS` (900).
"""
