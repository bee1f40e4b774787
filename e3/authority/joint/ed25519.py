"""The prime-order group of Ed25519, by libsodium: canonical encodings, and no other point.

A point and a scalar are 32 bytes, as RFC 8032 (5.1.2, 5.1.3) encodes them. What a holder received
passes `point` or `scalar` first. Scalars that are secret are only ever given to libsodium, whose
time does not depend on them; Python cannot erase them from memory.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import NewType

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError

Point = NewType("Point", bytes)
Scalar = NewType("Scalar", bytes)

SIZE = 32
ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY = Point(b"\x01" + bytes(31))
ZERO, ONE = Scalar(bytes(SIZE)), Scalar(b"\x01" + bytes(31))


class GroupError(ValueError):
    """Bytes that are no canonical scalar, or no point of prime order."""


def point(data: bytes) -> Point:
    """Return ``data`` if it encodes a point of prime order; the identity is none.

    libsodium refuses what is not canonical, not on the curve, or not in the main subgroup.
    """
    if len(data) != SIZE or not bindings.crypto_core_ed25519_is_valid_point(data):
        raise GroupError("these bytes are no point of prime order")
    return Point(bytes(data))


def scalar(data: bytes) -> Scalar:
    """Return ``data`` if it encodes a scalar below the group's order."""
    if len(data) != SIZE or int.from_bytes(data, "little") >= ORDER:
        raise GroupError("these bytes are no reduced scalar")
    return Scalar(bytes(data))


def scalar_of(number: int) -> Scalar:
    """Return a public number modulo the group's order."""
    return Scalar((number % ORDER).to_bytes(SIZE, "little"))


def random_scalar() -> Scalar:
    """Return a scalar other than 0 from the system's random numbers."""
    while (drawn := hash_to_scalar(os.urandom(64))) == ZERO:
        pass
    return drawn


def hash_to_scalar(*parts: bytes) -> Scalar:
    """Return SHA-512 of the parts, read little-endian and reduced (RFC 8032, 5.1.6)."""
    digest = hashlib.sha512(b"".join(parts)).digest()
    return Scalar(bindings.crypto_core_ed25519_scalar_reduce(digest))


def plus(*terms: Scalar) -> Scalar:
    """Return the sum of scalars."""
    total: bytes = ZERO
    for term in terms:
        total = bindings.crypto_core_ed25519_scalar_add(total, term)
    return Scalar(total)


def times(one: Scalar, other: Scalar) -> Scalar:
    """Return the product of two scalars."""
    return Scalar(bindings.crypto_core_ed25519_scalar_mul(one, other))


def base_times(factor: Scalar) -> Point:
    """Return the base point times ``factor``."""
    if factor == ZERO:
        return IDENTITY
    return Point(bindings.crypto_scalarmult_ed25519_base_noclamp(factor))


def point_times(factor: Scalar, base: Point) -> Point:
    """Return ``base``, which is of prime order or the identity, times ``factor``."""
    if factor == ZERO or base == IDENTITY:
        return IDENTITY
    return checked_times(factor, base)


def checked_times(factor: Scalar, data: bytes) -> Point:
    """Return ``data`` times ``factor``; raise `GroupError` if it is no point of prime order.

    libsodium's multiplication refuses what `point` refuses, so that this is one check, not two.
    """
    if len(data) != SIZE or factor == ZERO:
        return point_times(factor, point(data))
    try:
        return Point(bindings.crypto_scalarmult_ed25519_noclamp(factor, data))
    except (CryptoError, SodiumError) as error:
        raise GroupError("these bytes are no point of prime order") from error


def points_plus(points: Iterable[Point]) -> Point:
    """Return the sum of points; that of one is itself."""
    rest = iter(points)
    total: bytes = next(rest, IDENTITY)
    for one in rest:
        try:
            total = bindings.crypto_core_ed25519_add(total, one)
        except (CryptoError, SodiumError) as error:
            raise GroupError("these bytes are no point of the curve") from error
    return Point(total)


def interpolation(identifier: int, identifiers: Sequence[int]) -> Scalar:
    """Return Lagrange's coefficient of ``identifier`` among ``identifiers`` for the value at 0.

    Identifiers are public whole numbers from 1, each once.
    """
    numerator = denominator = 1
    for other in identifiers:
        if other != identifier:
            numerator = numerator * -other % ORDER
            denominator = denominator * (identifier - other) % ORDER
    return scalar_of(numerator * pow(denominator, -1, ORDER))
