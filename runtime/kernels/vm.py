"""The virtual machine: runs a table of instructions on several threads.

A program is 4 words an instruction: kernel address, address of its argument words, address of the word that holds the
address of its flag (0: it always runs), and 1 if it runs where the flag is set, 0 if where it is not.

Each instruction is `n_threads` shares. A thread claims the share of its own number, so that it finds in its cache
what it made before, then any that nobody has claimed. Whoever finishes the last one opens the next instruction. So nobody
waits for a thread that has no core, only for shares that are being run. Threads with nothing to claim spin, then yield;
workers sleep on a futex between programs.

Instructions are numbered across programs, so a claim names exactly one: a share's word is the number of the last
instruction for which it was claimed. NOW is the number of the current instruction, doubled, plus 1 while it runs.
"""

from alula.runtime.kernels.lang import device, i64, i64p, kernel
from alula.runtime.kernels.memory import (
    address_of,
    atomic_add,
    atomic_exchange_if,
    atomic_load,
    atomic_store,
    call_kernel,
    futex,
    i64_at,
    offset,
    pause,
    yield_core,
)

# Words of the state that the threads share, a cache line apart; SHARES is the first of one word for each share
NOW, DONE, PROGRAM, LENGTH, BASE, FINISHED, WAKE, SLEEPERS, STOP, SHARES = (8 * i for i in range(10))
SPINS_BEFORE_YIELD = 1000  # some 15 us
SPINS_BEFORE_SLEEP = 20000


@device
def is_skipped(program, index):
    """Whether an instruction's flag says that it does not run."""
    place = program[4 * index + 2]
    return place != 0 and (i64_at(i64_at(place)[0])[0] != 0) != (program[4 * index + 3] != 0)


@device
def open_instruction(state, index, n_threads):
    """Offer the shares of the first instruction from `index` on that is not skipped, or finish the program."""
    program, length = i64_at(atomic_load(offset(state, PROGRAM))), atomic_load(offset(state, LENGTH))
    base = atomic_load(offset(state, BASE))
    while index < length and is_skipped(program, index):
        index += 1
    atomic_store(offset(state, DONE), 0)
    if index < length:
        atomic_store(offset(state, NOW), 2 * (base + index) + 1)
    else:
        atomic_store(offset(state, NOW), 2 * (base + length))
        atomic_store(offset(state, FINISHED), base + length)


@device
def run_share(state, tid, n_threads):
    """Claim a share and run it. Returns whether there was one."""
    now = atomic_load(offset(state, NOW))
    if now & 1 == 0:
        return False
    number, share, claimed = now >> 1, tid, 0
    for _ in range(n_threads):
        word = offset(state, SHARES + 8 * share)
        before = atomic_load(word)
        if before < number:
            claimed = atomic_exchange_if(word, before, number)
            if claimed != 0:
                break
        share = share + 1 if share + 1 < n_threads else 0
    if claimed == 0:
        return False
    # The instruction cannot end before this share does, so PROGRAM and BASE are those of the claim
    index = number - atomic_load(offset(state, BASE))
    program = i64_at(atomic_load(offset(state, PROGRAM)))
    call_kernel(program[4 * index], program[4 * index + 1], share, n_threads)
    if atomic_add(offset(state, DONE), 1) == n_threads - 1:
        open_instruction(state, index + 1, n_threads)
    return True


@kernel
def vm_run(program: i64p, length: i64, state: i64p, tid: i64, n_threads: i64):
    """Run a program, with whatever workers come to help."""
    if n_threads == 1:
        for i in range(length):
            if not is_skipped(program, i):
                call_kernel(program[4 * i], program[4 * i + 1], 0, 1)
        return
    base = atomic_load(offset(state, FINISHED)) + 1
    atomic_store(offset(state, PROGRAM), address_of(program))
    atomic_store(offset(state, LENGTH), length)
    atomic_store(offset(state, BASE), base)
    open_instruction(state, 0, n_threads)
    atomic_add(offset(state, WAKE), 1)
    if atomic_add(offset(state, SLEEPERS), 0) > 0:
        futex(offset(state, WAKE), 1, n_threads)
    spins = 0
    while atomic_load(offset(state, FINISHED)) != base + length:
        if run_share(state, tid, n_threads):
            spins = 0
        elif spins < SPINS_BEFORE_YIELD:
            spins += 1
            pause()
        else:
            yield_core()


@kernel
def vm_worker(state: i64p, tid: i64, n_threads: i64):
    """Help with programs until the stop flag is set."""
    wake, sleepers = offset(state, WAKE), offset(state, SLEEPERS)
    spins, seen = 0, atomic_load(wake)
    while atomic_load(offset(state, STOP)) == 0:
        if run_share(state, tid, n_threads):
            spins, seen = 0, atomic_load(wake)
            continue
        spins += 1
        idle = atomic_load(offset(state, FINISHED)) == atomic_load(offset(state, BASE)) + atomic_load(
            offset(state, LENGTH)
        )
        if spins < SPINS_BEFORE_YIELD or (idle and spins < SPINS_BEFORE_SLEEP):
            pause()
        elif not idle:
            yield_core()
        else:  # a program that began since `seen` was read changes WAKE, and the futex does not wait
            atomic_add(sleepers, 1)
            futex(wake, 0, seen)
            atomic_add(sleepers, -1)
            spins, seen = 0, atomic_load(wake)


@kernel
def vm_stop(state: i64p, tid: i64, n_threads: i64):
    """Make the workers leave."""
    atomic_store(offset(state, STOP), 1)
    atomic_add(offset(state, WAKE), 1)
    futex(offset(state, WAKE), 1, n_threads)
