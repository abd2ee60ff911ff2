"""The loops that the reader's speed depends on, compiled by numba: lines of text into numbers, and their spread."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

SKIP, GENE, SYMBOL = -1, -2, -3
# The powers of ten that are exact in float64.
POWERS = 10.0 ** np.arange(23)
# A signed position would be tested for being negative at every byte.
_ONE, _NONE = np.uint64(1), np.uint64(0)
# What is below '0' wraps around, so that one comparison tells a digit.
_ZERO = np.uint8(ord("0"))


def parse_rows(  # noqa: PLR0913 - numba compiles plain arguments
    buffer: Any,
    size: Any,
    separator: Any,
    point: Any,
    roles: Any,
    ahead: Any,
    behind: int,
    signed: bool,
    powers: Any,
    values: Any,
    texts: Any,
    places: Any,
    odd: Any,
) -> tuple[int, int, int]:
    """Parse lines of `buffer[:size]`, which ends with a line feed, until it ends or `values` is full.

    Returns how many lines were not empty, how many there were, and where the next one starts.

    A mantissa of at most 15 digits times or divided by an exact power of ten is rounded correctly (Clinger, PLDI
    1990), so numbers such as `12`, `0.31`, `2e-05` equal those of any correct parser. A line with anything else in a
    wanted column, or with more or fewer columns, is marked odd and left to the caller.

    Parameters
    ----------
    buffer
        uint8, one byte longer than `size` at least.
    size, separator, point
        uint64, uint8 and uint8: the bytes to parse, what ends a field, and the decimal mark.
    roles, ahead
        (wanted columns,) `GENE`, `SYMBOL`, or from 0 the place in `values`; columns to skip before each.
    behind
        Columns after the last wanted one.
    signed
        Whether a number may start with a minus.
    values
        (most lines, samples) float64, written.
    texts
        (most lines, 4) int64, written: start and end of the gene's id and of its symbol.
    places
        (most lines, 3) int64, written: the line's number in `buffer`, counted from 0, its start and end.
    odd
        (most lines,) bool, written.
    """
    row, line, position = 0, 0, _NONE
    last = len(roles) - 1
    while position < size and row < len(values):
        start, ended = position, False
        plain: Any = True
        for column in range(len(roles)):
            left = ahead[column]
            while left > 0 and buffer[position] != 10:
                # Counting without a branch: where a skipped value ends cannot be predicted.
                left -= buffer[position] == separator
                position += _ONE
            role = roles[column]
            first = position
            character = buffer[position]
            if role < 0:
                while character != separator and character != 10:
                    position += _ONE
                    character = buffer[position]
                texts[row, -2 * role - 4] = first
                texts[row, -2 * role - 3] = position
            else:
                mantissa, fraction, factor = np.int64(0), _NONE, 1.0
                if signed and character == 45:
                    factor = -1.0
                    position += _ONE
                    first = position
                    character = buffer[position]
                while np.uint8(character - _ZERO) < 10:
                    mantissa = mantissa * 10 + np.int64(character) - 48
                    position += _ONE
                    character = buffer[position]
                digits = position - first
                if character == point:
                    position += _ONE
                    first = position
                    character = buffer[position]
                    while np.uint8(character - _ZERO) < 10:
                        mantissa = mantissa * 10 + np.int64(character) - 48
                        position += _ONE
                        character = buffer[position]
                    fraction = position - first
                    digits += fraction
                plain = _NONE < digits <= 15
                if plain and character == separator:
                    values[row, role] = factor * mantissa / powers[fraction]
                    position += _ONE
                    continue
                power = -np.int64(fraction)
                if plain and (character == 101 or character == 69):
                    position += _ONE
                    sign: Any = 1
                    if buffer[position] == 43 or buffer[position] == 45:
                        sign = 44 - np.int64(buffer[position])
                        position += _ONE
                    character = buffer[position]
                    plain = np.uint8(character - _ZERO) < 10
                    exponent: Any = np.int64(0)
                    while np.uint8(character - _ZERO) < 10:
                        exponent = min(exponent * 10 + np.int64(character) - 48, 99)
                        position += _ONE
                        character = buffer[position]
                    power += sign * exponent
                if not plain or power < -22 or power > 22:
                    plain = False
                    break
                value = factor * mantissa
                values[row, role] = value * powers[power] if power > 0 else value / powers[-power]
                if character == 13 and buffer[position + _ONE] == 10:
                    position += _ONE
                    character = buffer[position]
            if character != separator:
                ended = character == 10 and column == last
                plain = ended
                break
            position += _ONE
        left = max(behind - 1, 0)
        while buffer[position] != 10:
            left -= buffer[position] == separator
            position += _ONE
        end = position
        if end > start and buffer[end - _ONE] == 13:
            end -= _ONE
        if end > start:
            places[row, 0], places[row, 1], places[row, 2] = line, start, end
            odd[row] = not plain or left != 0 or ended != (behind == 0)
            row += 1
        position += _ONE
        line += 1
    return row, line, int(position)


def spread_rows(log2: Any, samples: int, free: Any, figures: Any) -> None:
    """Write maximum, mean and standard deviation over the first `samples` columns of each row into `figures`.

    Parameters
    ----------
    log2
        (genes, samples or more) float64.
    free
        By what the sum of squares is divided.
    figures
        (genes, 3) float64, written.
    """
    for gene in range(len(log2)):
        highest, total, squares = log2[gene, 0], 0.0, 0.0
        for sample in range(samples):
            total += log2[gene, sample]
            highest = max(highest, log2[gene, sample])
        mean = total / samples
        for sample in range(samples):
            squares += (log2[gene, sample] - mean) ** 2
        figures[gene, 0], figures[gene, 1], figures[gene, 2] = highest, mean, np.sqrt(squares / free)


@cache
def compiled(function: Callable[..., Result], any_order: bool = False) -> Callable[..., Result]:
    """Return a function of this module as machine code, kept between processes where the file system allows.

    With `any_order` sums may be taken in any order, so that several numbers are added at once.
    """
    import numba

    fast = {"reassoc", "nnan", "nsz"} if any_order else False
    options: Any = {"error_model": "numpy", "nogil": True, "fastmath": fast}
    kernel: Callable[..., Result]
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        kernel = numba.njit(**options)(function)
    return kernel
