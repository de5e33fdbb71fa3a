"""The virtual machine: runs a table of instructions on several threads, with a barrier after each.

A program is 4 words an instruction: kernel address, address of its argument words, address of a skip flag (0: none),
unused. Every thread runs the whole table and takes its share of each kernel. Waiting threads spin, then yield; the
workers spin a little between two programs, then sleep on a futex.
"""

from alula.runtime.kernels.lang import device, i64, i64p, kernel
from alula.runtime.kernels.memory import (
    address_of,
    atomic_add,
    atomic_load,
    atomic_store,
    call_kernel,
    futex,
    i64_at,
    offset,
    pause,
    yield_core,
)

# Words of the state that the threads share, a cache line apart
GENERATION, STOP, PROGRAM, LENGTH, ARRIVED, ROUND, SLEEPERS = 0, 8, 16, 24, 32, 40, 48
STATE_WORDS = 64
SPINS_BEFORE_YIELD = 4000  # about 50 us: longer than any thread that has a core waits for another
SPINS_BEFORE_SLEEP = 20000


@device
def barrier(state, n_threads):
    """Wait until all threads are here."""
    if n_threads > 1:
        arrived, round_ = offset(state, ARRIVED), offset(state, ROUND)
        current = atomic_load(round_)
        if atomic_add(arrived, 1) == n_threads - 1:
            atomic_store(arrived, 0)
            atomic_store(round_, current + 1)
        else:
            spins = 0
            while atomic_load(round_) == current:
                spins += 1
                if spins > SPINS_BEFORE_YIELD:
                    yield_core()
                else:
                    pause()


@device
def run_program(program, length, state, tid, n_threads):
    """Run every instruction whose skip flag is clear."""
    for i in range(length):
        skip = program[4 * i + 2]
        if skip == 0 or i64_at(skip)[0] == 0:
            call_kernel(program[4 * i], program[4 * i + 1], tid, n_threads)
            barrier(state, n_threads)


@kernel
def vm_run(program: i64p, length: i64, state: i64p, tid: i64, n_threads: i64):
    """Run a program as thread 0, after waking the workers."""
    if n_threads > 1:
        atomic_store(offset(state, PROGRAM), address_of(program))
        atomic_store(offset(state, LENGTH), length)
        atomic_add(offset(state, GENERATION), 1)
        if atomic_add(offset(state, SLEEPERS), 0) > 0:
            futex(offset(state, GENERATION), 1, n_threads)
    run_program(program, length, state, 0, n_threads)


@kernel
def vm_worker(state: i64p, seen: i64, tid: i64, n_threads: i64):
    """Serve programs as thread `tid` until the stop flag is set. `seen` is the generation at the start."""
    generation, sleepers = offset(state, GENERATION), offset(state, SLEEPERS)
    while True:
        spins = 0
        while atomic_load(generation) == seen:
            spins += 1
            if spins < SPINS_BEFORE_SLEEP:
                pause()
            else:
                atomic_add(sleepers, 1)
                futex(generation, 0, seen)
                atomic_add(sleepers, -1)
        seen += 1
        if atomic_load(offset(state, STOP)) != 0:
            return
        program = i64_at(atomic_load(offset(state, PROGRAM)))
        run_program(program, atomic_load(offset(state, LENGTH)), state, tid, n_threads)


@kernel
def vm_stop(state: i64p, tid: i64, n_threads: i64):
    """Make the workers leave."""
    atomic_store(offset(state, STOP), 1)
    atomic_add(offset(state, GENERATION), 1)
    futex(offset(state, GENERATION), 1, n_threads)
