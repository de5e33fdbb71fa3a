# mypy: ignore-errors
"""Boxes of detectors: those whose best class passes a threshold, and those that no better one overlaps.

Scores are compared as the integers that their bits are: of floats above 0 that is the same order, and integers need no care for NaN. A NaN
is above all of them; whoever reads the score sees it.
"""

import numpy as np

from alula.runtime.kernels.lang import device, f32, f32p, i32p, i64, i64p, kernel
from alula.runtime.kernels.memory import fetch_line, offset

AHEAD = 16  # rows: what lies so far apart, no processor fetches on its own
INFINITE = 0x7F800000  # the bits of infinity
BLOCK = 2048  # boxes whose best scores stay in the first-level cache


@device
def lift(best, group, a, b, c, d, number, n):
    """best = max(best, a, b, c, d), and in which group of rows it was first: four rows for each pass over the best."""
    for i in range(n):
        v, w = a[i] if a[i] > b[i] else b[i], c[i] if c[i] > d[i] else d[i]
        top, before = v if v > w else w, best[i]
        best[i] = top if top > before else before
        group[i] = number if top > before else group[i]


@device
def largest(x, n):
    """The maximum of n numbers."""
    top = x[0]
    for i in range(1, n):
        top = x[i] if x[i] > top else top
    return top


@device
def first_of(x, stride, value):
    """The first place of a value that is there."""
    k = 0
    while x[k * stride] != value:
        k += 1
    return k


@kernel(compact=True)
def best_of_columns(
    scores: i32p, classes: i64, n: i64, least: i64, best: i32p, centres: f32p, corners: i64, boxes: f32p, found: i64p,
    tid: i64, n_threads: i64
):  # fmt: skip
    """The columns of scores (classes, n) whose maximum is above `least`, and the first row that has it.

    least   : bits of a float from 0 on
    best    : scratch, 2 BLOCK elements
    centres : (4, n) of centre x, centre y, width, height
    corners : whether `boxes`, (n, 4), gets left, top, right, bottom of those that are found
    found : how many; then the columns, ascending; from place 1 + n on their rows, from 1 + 2 n on their maxima
    """
    count, last, group = 0, classes - 1, offset(best, BLOCK)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        for i in range(size):
            best[i] = scores[start + i]
            group[i] = 0
        for k in range(0, classes, 4):  # past the end the last row again
            a, b = offset(scores, k * n + start), offset(scores, min(k + 1, last) * n + start)
            c, d = offset(scores, min(k + 2, last) * n + start), offset(scores, min(k + 3, last) * n + start)
            lift(best, group, a, b, c, d, np.int32(k), size)
        for i in range(size):
            if best[i] > least:
                first = np.int64(group[i])
                count += 1
                found[count] = start + i
                found[n + count] = first + first_of(offset(scores, first * n + start + i), n, best[i])
                found[2 * n + count] = best[i]
                if corners != 0:
                    box = offset(boxes, 4 * (count - 1))
                    for axis in range(2):
                        middle, half = centres[axis * n + start + i], centres[(axis + 2) * n + start + i] * np.float32(0.5)
                        box[axis] = middle - half
                        box[axis + 2] = middle + half
    found[0] = count


@kernel(compact=True)
def best_of_rows(
    scores: i32p, n: i64, width: i64, first: i64, classes: i64, gate: i64, least: i64, found: i64p, tid: i64, n_threads: i64
):  # fmt: skip
    """The same of rows (n, width), whose classes begin at `first`. gate : a column that must be above `least` in their place, or -1"""
    count = 0
    for row in range(n):
        x = offset(scores, row * width)
        if gate >= 0:
            fetch_line(offset(x, AHEAD * width + gate))
        if gate < 0 or x[gate] > least:
            own = offset(x, first)
            top = largest(own, classes)
            if gate >= 0 or top > least:
                count += 1
                found[count] = row
                found[n + count] = first_of(own, 1, top)
                found[2 * n + count] = top
    found[0] = count


@device
def is_box(box):
    """Whether four edges are finite and in order: left, top, right, bottom."""
    finite = True
    for k in range(4):
        finite = finite and box[k] - box[k] == 0
    return finite and box[0] <= box[2] and box[1] <= box[3]


@device
def sort(keys, spare, n):
    """Sort n integers, ascending, by merging runs; the spare ones hold n too. Returns where they lie."""
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            i, middle = start, min(start + width, n)
            j, end = middle, min(start + 2 * width, n)
            for k in range(start, end):
                left = j >= end or (i < middle and keys[i] <= keys[j])
                spare[k] = keys[i] if left else keys[j]
                i, j = (i + 1, j) if left else (i, j + 1)
        keys, spare = spare, keys
        width += width
    return keys


@kernel(compact=True, fastmath=frozenset())
def keep_apart(
    boxes: f32p, scores: i32p, kinds: i64p, n: i64, n_kinds: i64, conf: i64, limit: f32, agnostic: i64, kept: i64p,
    tid: i64, n_threads: i64
):  # fmt: skip
    """The boxes that no better one that is kept, of the same kind, overlaps by more than the limit; of equal ones the first is better.

    boxes    : (n, 4) of left, top, right, bottom; what is not finite or ends before it begins is no box
    scores   : the bits of floats: those above conf count, if they are finite
    kinds    : those from 0 on and below n_kinds count
    limit    : of the intersection over the union; from 1 on nothing is dropped. A box without area overlaps nothing
    agnostic : boxes of other kinds count as of the same one
    kept     : how many; then which, best first; then scratch: 1 + 3 n + n_kinds elements
    """
    keys, spare = offset(kept, 1), offset(kept, 1 + n)
    before, last, count = offset(kept, 1 + 2 * n), offset(kept, 1 + 3 * n), 0  # lists of the kept boxes of each kind
    for i in range(n):
        kind = kinds[i]
        if scores[i] > conf and scores[i] < INFINITE and kind >= 0 and kind < n_kinds and is_box(offset(boxes, 4 * i)):
            keys[count] = ((INFINITE - np.int64(scores[i])) << 32) + i  # ascending: the best first, of equal ones the first
            count += 1
    order, places = sort(keys, spare, count), count
    for kind in range(n_kinds):
        last[kind] = -1
    count = 0
    for place in range(places):
        i = order[place] & 0xFFFFFFFF
        kind, box = 0 if agnostic != 0 else kinds[i], offset(boxes, 4 * i)
        left, top, right, bottom = box[0], box[1], box[2], box[3]
        area = (right - left) * (bottom - top)
        j = last[kind] if limit < 1 else -1
        while j >= 0:
            wide = min(right, boxes[4 * j + 2]) - max(left, boxes[4 * j])
            high = min(bottom, boxes[4 * j + 3]) - max(top, boxes[4 * j + 1])
            if wide > 0 and high > 0:
                shared = wide * high
                other = (boxes[4 * j + 2] - boxes[4 * j]) * (boxes[4 * j + 3] - boxes[4 * j + 1])
                if shared / (other + area - shared) > limit:
                    break
            j = before[j]
        if j < 0:
            before[i] = last[kind]
            last[kind] = i
            count += 1
            kept[count] = i
    kept[0] = count
