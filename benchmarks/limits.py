"""What this machine can do at most: arithmetic, memory, small files; measured, not looked up.

    python benchmarks/limits.py [--write docs/performance.md]

* FMA: chains of fused multiply-adds on the widest vectors of the processor, all in registers, as
  many chains as it takes to hide their latency. The loop is written in LLVM's language, so that it
  does not depend on what a compiler makes of it.
* Divisions: the same of those, which occupy a part of the processor of their own.
* Memory: an array larger than every cache, read once (exclusive or of all words) and written once.
  A write is counted once, though the processor reads a line before it writes it.
* Files: a file of 4 kB is created, written and closed; and the same and renamed, which is what a
  store does at least that never shows half a file. Nothing waits for the disk.

Other programs import the functions; each returns one rate per turn.
"""

import ctypes
import functools
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import llvmlite.binding as llvm
import numba
import numpy as np

WORDS = 1 << 27  # 1 GiB
FILES = 2000
FILE_BYTES = 4096

LOOP = """
declare {vector} @llvm.fma.v{lanes}f64({vector}, {vector}, {vector})
define void @chains(i64 %n, ptr %out) "prefer-vector-width"="512" "min-legal-vector-width"="512" {{
entry:
  %c = load {vector}, ptr %out, align 8
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %next, %loop ]
{begin}
{step}
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %end
end:
{sums}
  store {vector} %s{last}, ptr %out, align 8
  ret void
}}
"""
FMA = "call {vector} @llvm.fma.v{lanes}f64({vector} %x{k}, {vector} %c, {vector} %c)"
DIVISION = "fdiv {vector} %c, %x{k}"
CHAINS = 16
ROUNDS = {FMA: 10**7, DIVISION: 10**7 // 32}


def lanes() -> int:
    """Return how many float64 the widest vector of this processor holds."""
    return 8 if llvm.get_host_cpu_features().get("avx512f") else 4


def _loop(instruction: str) -> str:
    """Return a loop of independent chains of an instruction in LLVM's language."""
    vector = f"<{lanes()} x double>"
    begin = [f"  %x{k} = phi {vector} [ %c, %entry ], [ %y{k}, %loop ]" for k in range(CHAINS)]
    step = [
        f"  %y{k} = " + instruction.format(vector=vector, lanes=lanes(), k=k) for k in range(CHAINS)
    ]
    sums = [f"  %s0 = fadd {vector} %y0, %y1"]
    sums += [f"  %s{k - 1} = fadd {vector} %s{k - 2}, %y{k}" for k in range(2, CHAINS)]
    parts = {"begin": begin, "step": step, "sums": sums}
    joined = {name: "\n".join(lines) for name, lines in parts.items()}
    return LOOP.format(vector=vector, lanes=lanes(), last=CHAINS - 2, **joined)


@functools.cache
def _compiled(instruction: str) -> tuple[llvm.ExecutionEngine, Callable[[int, int], None]]:
    """Return a loop as machine code; the engine owns it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_loop(instruction)), target)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)
    return engine, kind(engine.get_function_address("chains"))


def operations(instruction: str, rounds: int) -> int:
    """Run an instruction (FMA or DIVISION) for some rounds; return how many numbers it made."""
    numbers = np.full(lanes(), 0.5)
    _compiled(instruction)[1](rounds, numbers.ctypes.data)
    return rounds * CHAINS * lanes()


def fma_rate(cores: int = 1, repeats: int = harness.TURNS) -> np.ndarray:
    """Return float64 operations per second in fused multiply-adds (two each), turn by turn."""
    return 2.0 * _arithmetic_rate(FMA, cores, repeats)


def division_rate(cores: int = 1, repeats: int = harness.TURNS) -> np.ndarray:
    """Return float64 divisions per second, turn by turn."""
    return _arithmetic_rate(DIVISION, cores, repeats)


def loops() -> dict[str, Callable[[], object]]:
    """Return the loops of FMA and DIVISION, to measure in the turns of a kernel they limit."""
    return {loop: functools.partial(operations, loop, n) for loop, n in ROUNDS.items()}


def least(times: Mapping[str, harness.Times], count: float, divisions: float) -> np.ndarray:
    """Return the seconds that arithmetic takes at least, turn by turn.

    A processor divides beside its other operations, so the longer of the two counts.

    Args:
        times: Times of :func:`loops`.
        count: Operations on numbers, whatever they are.
        divisions: Divisions of numbers.
    """
    one = {loop: times[loop].seconds / (n * CHAINS * lanes()) for loop, n in ROUNDS.items()}
    return np.maximum(count * one[FMA], divisions * one[DIVISION])


def _arithmetic_rate(instruction: str, cores: int, repeats: int) -> np.ndarray:
    rounds = ROUNDS[instruction]
    work = operations(instruction, 1) * rounds * cores
    return _rates(lambda _: operations(instruction, rounds), work, cores, repeats)


@numba.njit(nogil=True)
def read(words: np.ndarray) -> int:
    """Read all words of an array once."""
    found = 0
    for i in range(words.size):
        found ^= words[i]
    return found


@numba.njit(nogil=True)
def write(words: np.ndarray) -> None:
    """Write all words of an array once."""
    for i in range(words.size):
        words[i] = i


def read_rate(cores: int = 1, repeats: int = harness.TURNS) -> np.ndarray:
    """Return bytes per second read from memory, turn by turn."""
    return _memory_rate(read, cores, repeats)


def write_rate(cores: int = 1, repeats: int = harness.TURNS) -> np.ndarray:
    """Return bytes per second written to memory, turn by turn."""
    return _memory_rate(write, cores, repeats)


def _memory_rate(function: Callable[[np.ndarray], object], cores: int, repeats: int) -> np.ndarray:
    parts = np.array_split(np.ones(WORDS, np.int64), cores)
    function(parts[0][:8])
    return _rates(lambda core: function(parts[core]), 8.0 * WORDS, cores, repeats)


def file_rate(repeats: int = harness.TURNS, *, rename: bool = False) -> np.ndarray:
    """Return small files per second created, written and closed (and renamed), turn by turn."""
    return np.array([FILES / _write_files(rename) for _ in range(repeats)])


def _write_files(rename: bool) -> float:
    """Return the seconds that FILES small files took, in a new folder below the current one."""
    data = bytes(FILE_BYTES)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        began = time.perf_counter()
        for k in range(FILES):
            path = Path(folder, f"{k}.partial")
            with path.open("wb", buffering=0) as file:
                file.write(data)
            if rename:
                path.rename(Path(folder, str(k)))
        return time.perf_counter() - began


def _rates(work: Callable[[int], object], amount: float, cores: int, repeats: int) -> np.ndarray:
    """Return amount per second of work that each core does at the same time, turn by turn."""
    return np.array([amount / _seconds(work, cores) for _ in range(repeats)])


def _seconds(work: Callable[[int], object], cores: int) -> float:
    """Return the seconds that some cores need for work that each does once."""
    if cores == 1:
        began = time.perf_counter()
        work(0)
        return time.perf_counter() - began
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(time.sleep, [0.01] * cores))  # starts the threads
        began = time.perf_counter()
        list(pool.map(work, range(cores)))
        return time.perf_counter() - began


TEXT = """\
Arithmetic in float64 ({lanes} numbers a vector; a fused multiply-add counts as two), an array of
1 GiB read and written once, and files of {bytes} bytes that are created, written and closed, or
then renamed too, in the folder where the program runs; nothing waits for the disk. Written by

    python benchmarks/limits.py --write docs/performance.md

Medians of {turns} turns, and in brackets the least and the largest.
{machine}

{rows}
"""


def section(_options: harness.Options) -> str:
    """Measure, and return the section."""
    rows = [
        ["fused multiply-adds [Gflop/s]", *(harness.spread(fma_rate(n) / 1e9) for n in (1, 2))],
        ["divisions [Gflop/s]", *(harness.spread(division_rate(n) / 1e9) for n in (1, 2))],
        ["memory, read [GB/s]", *(harness.spread(read_rate(n) / 1e9) for n in (1, 2))],
        ["memory, written [GB/s]", *(harness.spread(write_rate(n) / 1e9) for n in (1, 2))],
        ["a small file [µs]", harness.spread(1e6 / file_rate()), ""],
        ["a small file, renamed [µs]", harness.spread(1e6 / file_rate(rename=True)), ""],
    ]
    return TEXT.format(
        lanes=lanes(),
        bytes=FILE_BYTES,
        turns=harness.TURNS,
        machine=harness.machine(),
        rows=harness.table(["", "one core", "both cores"], *rows),
    )


if __name__ == "__main__":
    harness.run(__doc__, "Limits of the machine", section)
