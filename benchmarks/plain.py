"""Read some files once and write the first anew: what a merge cannot do without.

python benchmarks/plain.py THREADS OUT FILE ...
"""

import os
import sys
import threading

BLOCK = 1 << 20


def copy(files: list[int], out: int, size: int, first: int, step: int) -> None:
    """Every step-th block of all files, through two buffers that are used again and again."""
    kept, passing = memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))
    for start in range(first * BLOCK, size, step * BLOCK):
        count = os.preadv(files[0], [kept], start)
        for file in files[1:]:
            os.preadv(file, [passing], start)
        os.pwrite(out, kept[:count], start)


if __name__ == "__main__":
    num_threads, target, *names = int(sys.argv[1]), *sys.argv[2:]
    opened = [os.open(name, os.O_RDONLY) for name in names]
    for file in opened:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    written = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    length = os.fstat(opened[0]).st_size
    workers = [
        threading.Thread(target=copy, args=(opened, written, length, i, num_threads))
        for i in range(num_threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    os.fsync(written)
