"""The native step: one call plays many steps of a rank over tables, without the interpreter.

The rank is one engine. Whenever it is free it first tries every letter that could be sent or taken (a send needs a free
place on its wire, a receive a letter), then runs the ready kernel segment that stands first in the plan, else it spins:
with `pause`, and after a while yielding the core and looking at the abort flag and the clock: the sooner the more ranks share
a core. Dependencies are counters that each step resets; the order is the plan's partial order and nothing else.

Stopping: ranks may be in different steps. Whoever wants all to stop writes `CHOOSING` for the step to stop at, so that nobody
begins another step; looks how many steps each has completed; and writes the largest of them + 1: no rank is further.

A wire lies in shared memory: counters of letters written and read, the bytes sent, then the letters, each under a header that
the receiver checks (what it is, of which step, how long). Every field stands on a cache line of its own.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt
from numba import carray

from runtime.native import (
    as_f32,
    call,
    call_plain,
    copy_bytes,
    fence,
    load,
    native,
    now_ns,
    pause,
    peek,
    peek_f32,
    poke,
    poke_f32,
    store,
)

Words = npt.NDArray[np.int64]

LINE = 64  # bytes of a cache line
READ, SENT, LETTERS = LINE, 2 * LINE, 3 * LINE  # offsets in a wire; letters written are counted at 0
HEADER = LINE  # of a letter: tag, step, bytes

DO, INPUT, SEND, RECV, RECV_ADD = range(5)  # kinds of actions
LOOK = 64  # empty rounds between two looks at flag and clock, for a rank that has a core to itself
LOOK_SHARED = 1  # and for one that shares it: whom it waits for may be waiting for the core
_PATIENCE = 16  # looks before the core is given away at each of them
CHOOSING = -1  # instead of a step to stop at


class Outcome(IntEnum):
    """How a call of `play` ended."""

    DONE = 0
    STOPPED = 1  # the step to stop at is reached
    ABORTED = 2  # the abort flag is up
    TIMED_OUT = 3  # nothing could go on for too long
    OUT_OF_STEP = 4  # a letter was not the expected one
    NO_INPUT = 5  # the input stage failed


_DONE, _STOPPED, _ABORTED, _TIMED_OUT, _OUT_OF_STEP, _NO_INPUT = (int(o) for o in Outcome)


class Word(IntEnum):
    """Meaning of the words of `play`: addresses and numbers that concern the whole call; the last two are results."""

    ABORT = 0  # address of the abort flag
    STOP_AT = 1  # address of the step to stop at
    PROGRESS = 2  # address of the count of completed steps
    LOSSES = 3  # address of f32[steps, losses of a step]
    LOSSES_PER_STEP = 4
    ENDS = 5  # address of i64[steps]: when each step ended
    ORIGIN = 6  # the step to which the first of losses and ends belongs
    STEP = 7  # address of the counter "step" in the arena, or 0
    TIMERS = 8  # address of i64[steps of this call, actions, (ready, start, end)], or 0
    TIMEOUT_NS = 9
    SLOTS = 10  # letters that a wire holds
    FILLED = 11  # input ring: address of the count of batches filled (-1: failed)
    USED = 12  # address of the count of batches used
    RING = 13  # address of the first batch
    RING_SLOTS = 14
    RING_STRIDE = 15  # bytes from batch to batch
    CLOCK = 16  # address of clock_gettime
    YIELD = 17  # address of sched_yield
    LOOK = 18  # empty rounds between two looks at flag and clock
    AT_STEP = 19  # result: the step that ended early
    AT_ACTION = 20  # result: the action that it hung on, or -1


WORDS = len(Word)
(
    _ABORT, _STOP_AT, _PROGRESS, _LOSSES, _LOSSES_PER_STEP, _ENDS, _ORIGIN, _STEP, _TIMERS, _TIMEOUT_NS,
    _SLOTS, _FILLED, _USED, _RING, _RING_SLOTS, _RING_STRIDE, _CLOCK, _YIELD, _LOOK, _AT_STEP, _AT_ACTION,
) = (int(w) for w in Word)  # fmt: skip


@native
def _insert(ready: Words, count: int, action: int) -> None:
    """Put an action into a list that is kept in ascending order; the caller counts."""
    i = count
    while i > 0 and ready[i - 1] > action:
        ready[i] = ready[i - 1]
        i -= 1
    ready[i] = action


@native
def _remove(ready: Words, count: int, place: int) -> None:
    for i in range(place, count - 1):
        ready[i] = ready[i + 1]


@native
def _open(action: int, kind: Words, letters: Words, runs: Words, counts: Words, now: int, timer: int) -> None:
    """An action is ready: put it on its list."""
    if kind[action] >= SEND:
        _insert(letters, counts[0], action)
        counts[0] += 1
    else:
        _insert(runs, counts[1], action)
        counts[1] += 1
    if timer:
        poke(timer + 24 * action, now)


@native
def _move(action: int, step: int, slots: int, kind: Words, place: Words, nbytes: Words, wire: Words, stride: Words, tag: Words,
          clock: int, timer: int) -> int:  # fmt: skip
    """Try to send or take a letter: 1 done, 0 not possible now, -1 the letter is not the expected one."""
    at, size = wire[action], nbytes[action]
    if kind[action] == SEND:
        written = peek(at)
        if written - load(at + READ) >= slots:
            return 0
        if timer:
            poke(timer + 24 * action + 8, now_ns(clock))
        letter = at + LETTERS + (written % slots) * stride[action]
        poke(letter, tag[action])
        poke(letter + 8, step)
        poke(letter + 16, size)
        copy_bytes(letter + HEADER, place[action], size)
        poke(at + SENT, peek(at + SENT) + size)
        store(at, written + 1)
        return 1
    taken = peek(at + READ)
    if load(at) == taken:
        return 0
    if timer:
        poke(timer + 24 * action + 8, now_ns(clock))
    letter = at + LETTERS + (taken % slots) * stride[action]
    if peek(letter) != tag[action] or peek(letter + 8) != step or peek(letter + 16) != size:
        return -1
    own, letter = place[action], letter + HEADER
    if kind[action] == RECV_ADD:
        mine, other = carray(as_f32(own), (size // 4,)), carray(as_f32(letter), (size // 4,))
        for i in range(size // 4):
            mine[i] = mine[i] + other[i]
    else:
        copy_bytes(own, letter, size)
    store(at + READ, taken + 1)
    return 1


@native
def play(
    first: int, last: int, words: Words, kind: Words, needs: Words, then_first: Words, then: Words, row_first: Words,
    function: Words, argument: Words, place: Words, nbytes: Words, wire: Words, stride: Words, tag: Words, loss: Words,
    loss_index: Words, left: Words, letters: Words, runs: Words, counts: Words,
) -> int:  # fmt: skip
    """Play the steps ``first <= step < last``; returns an `Outcome`.

    Parameters
    ----------
    words : see `Word`.
    kind, place, nbytes, wire, stride, tag, loss, loss_index : i64[actions], see `runtime.table.Table`.
    needs : i64[actions], how many actions must end before each.
    then_first, then : the actions that wait for each: ``then[then_first[a] : then_first[a + 1]]``.
    row_first : i64[actions + 1], the rows of each action in `function` and `argument`.
    left, letters, runs, counts : i64[actions] and i64[2], scratch.
    """
    n, clock, slots, timer, look = kind.size, words[_CLOCK], words[_SLOTS], words[_TIMERS], max(words[_LOOK], 1)
    for step in range(first, last):
        words[_AT_STEP], words[_AT_ACTION] = step, -1
        fence()  # whoever chooses a step to stop at sees how far I am, or I see that it is choosing
        while load(words[_STOP_AT]) == CHOOSING and load(words[_ABORT]) == 0:
            call_plain(words[_YIELD])
        if load(words[_ABORT]) != 0:
            return _ABORTED
        if load(words[_STOP_AT]) <= step:
            return _STOPPED
        if words[_STEP]:
            poke(words[_STEP], step)
        now = now_ns(clock) if timer else 0
        counts[0] = counts[1] = 0
        for a in range(n):
            left[a] = needs[a]
            if needs[a] == 0:
                _open(a, kind, letters, runs, counts, now, timer)
        done, idle, since = 0, 0, 0
        while done < n:
            ended = -1  # one action at a time: after each, letters have the first word again
            for i in range(counts[0]):
                a = letters[i]
                moved = _move(a, step, slots, kind, place, nbytes, wire, stride, tag, clock, timer)
                if moved < 0:
                    words[_AT_ACTION] = a
                    return _OUT_OF_STEP
                if moved:
                    _remove(letters, counts[0], i)
                    counts[0] -= 1
                    ended = a
                    break
            if ended < 0:
                for i in range(counts[1]):
                    a = runs[i]
                    if kind[a] == INPUT:
                        filled, used = load(words[_FILLED]), peek(words[_USED])
                        if filled < 0:
                            words[_AT_ACTION] = a
                            return _NO_INPUT
                        if filled == used:
                            continue
                        if timer:
                            poke(timer + 24 * a + 8, now_ns(clock))
                        batch = words[_RING] + (used % words[_RING_SLOTS]) * words[_RING_STRIDE]
                        copy_bytes(place[a], batch, nbytes[a])
                        store(words[_USED], used + 1)
                    else:
                        if timer:
                            poke(timer + 24 * a + 8, now_ns(clock))
                        for row in range(row_first[a], row_first[a + 1]):
                            call(function[row], argument[row])
                        if loss[a]:
                            at = words[_LOSSES] + 4 * ((step - words[_ORIGIN]) * words[_LOSSES_PER_STEP] + loss_index[a])
                            poke_f32(at, peek_f32(loss[a]))
                    _remove(runs, counts[1], i)
                    counts[1] -= 1
                    ended = a
                    break
            if ended >= 0:
                done, idle, since = done + 1, 0, 0
                if timer:
                    now = now_ns(clock)
                    poke(timer + 24 * ended + 16, now)
                for k in range(then_first[ended], then_first[ended + 1]):
                    a = then[k]
                    left[a] -= 1
                    if left[a] == 0:
                        _open(a, kind, letters, runs, counts, now, timer)
                continue
            idle += 1
            pause()
            if idle % look == 0:
                if load(words[_ABORT]) != 0:
                    return _ABORTED
                if idle > _PATIENCE * look:
                    call_plain(words[_YIELD])
                    now = now_ns(clock)
                    if since == 0:
                        since = now
                    elif now - since > words[_TIMEOUT_NS]:
                        words[_AT_ACTION] = letters[0] if counts[0] else (runs[0] if counts[1] else -1)
                        return _TIMED_OUT
        poke(words[_ENDS] + 8 * (step - words[_ORIGIN]), now_ns(clock))
        store(words[_PROGRESS], step + 1)
        if timer:
            timer += 24 * n
    return _DONE


@native
def barrier(mine: int, others: Words, turn: int, words: Words) -> int:
    """Arrive at a meeting and wait for all: `mine` and `others` are addresses of counters; returns an `Outcome`."""
    store(mine, turn)
    idle, since, look = 0, 0, max(words[_LOOK], 1)
    for k in range(others.size):
        while load(others[k]) < turn:
            idle += 1
            pause()
            if idle % look == 0:
                if load(words[_ABORT]) != 0:
                    return _ABORTED
                if idle > _PATIENCE * look:
                    call_plain(words[_YIELD])
                    now = now_ns(words[_CLOCK])
                    if since == 0:
                        since = now
                    elif now - since > words[_TIMEOUT_NS]:
                        return _TIMED_OUT
    return _DONE


@native
def meetings(mine: int, others: Words, first: int, times: int, words: Words) -> int:
    """Many barriers, one right after the other: what is left to time is how long a word takes from core to core."""
    for turn in range(first, first + times):
        outcome = barrier(mine, others, turn, words)
        if outcome != _DONE:
            return outcome
    return _DONE
