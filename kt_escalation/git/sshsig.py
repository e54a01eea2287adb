"""SSH signatures (OpenSSH, PROTOCOL.sshsig), verified in this process; the only module that imports `cryptography`.

A signature is valid by OpenSSH's rules and by these, which are stricter:

- The armor is exactly what OpenSSH writes: canonical base64, no carriage returns, nothing after it.
- The version is 1, the namespace `git`, the reserved field empty, the hash SHA-256 or SHA-512. No structure
  has anything after its last field, and numbers have no superfluous leading zeros.
- RSA keys have 2,048 to 8,192 bits (OpenSSH: 1,024 to 16,384) and sign with SHA-2 only.
- A signature of a security key must show that somebody touched it.
- A certificate is refused, because its principals and its validity would have to be trusted as well.

Everything has a size limit before it is parsed, and unknown values are refused. See docs/signatures.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn, TypeVar

from ..frozen import dataclass
from .commit_signature import SSH_BEGINS

_T = TypeVar("_T")

#: The types of keys that can sign (PROTOCOL, PROTOCOL.u2f, RFC 4253, 5656 and 8709).
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)

# The largest allowed RSA key and its signature take 4 KiB with their armor.
_MAX_ARMOR = 16 * 1024
_ARMOR = re.compile(SSH_BEGINS + rb"\n((?:[A-Za-z0-9+/=]+\n)+)-----END SSH SIGNATURE-----\n{0,2}")
_MAGIC, _VERSION, _NAMESPACE = b"SSHSIG", 1, b"git"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_CERTIFICATE = b"-cert-v01@openssh.com"

_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
# In practice, exponents are at most 65537. A large one would make verification slow.
_MAX_RSA_EXPONENT = (1 << 32) - 1
_ED25519_KEY_BYTES, _ED25519_SIGNATURE_BYTES = 32, 64
# The curve, and the size of a coordinate in bytes.
_CURVES = {b"nistp256": 32, b"nistp384": 48, b"nistp521": 66}
_UNCOMPRESSED_POINT = 4
# A security key's flags (WebAuthn, authenticator data).
_USER_PRESENT = 1


class SignatureRefused(ValueError):
    """The signature is not valid. The message says why, in our own words only."""


@dataclass(frozen=True)
class SshKey:
    """A public key, as the bytes that SSH sends (RFC 4253, section 6.6)."""

    key_type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """The fingerprint, as `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """Type and base64, as in a public key's file, without the comment."""
        return f"{self.key_type} {base64.b64encode(self.blob).decode()}"


def verify(armored: bytes, message: bytes) -> SshKey:
    """Verify a signature of a message, and return its key. Raises SignatureRefused."""
    outer = _SshFields(_dearmored(armored), "the signature")
    if outer.take(len(_MAGIC)) != _MAGIC or outer.number() != _VERSION:
        raise SignatureRefused("it is not a version 1 SSH signature")
    blob = outer.string()
    if outer.string() != _NAMESPACE:
        raise SignatureRefused("it was not made for the namespace `git`")
    if outer.string():
        raise SignatureRefused("its reserved field is not empty")
    hash_name = outer.string()
    inner = outer.string()
    outer.end()
    if hash_name not in _HASHES:
        raise SignatureRefused("its hash is neither sha256 nor sha512")
    digest = _HASHES[hash_name](message).digest()
    signed = _MAGIC + b"".join(map(_string, (_NAMESPACE, b"", hash_name, digest)))
    key_type, check = _public_key(blob)
    check(inner, signed)
    return SshKey(key_type, blob)


def _dearmored(armored: bytes) -> bytes:
    if len(armored) > _MAX_ARMOR:
        raise SignatureRefused(f"it is larger than {_MAX_ARMOR // 1024} KiB")
    found = _ARMOR.fullmatch(armored)
    if not found:
        raise SignatureRefused("it is not armored as OpenSSH does it")
    text = found[1].replace(b"\n", b"")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        data = b""
    # Unused bits and padding in the middle decode too, but only one text is canonical.
    if base64.b64encode(data) != text:
        raise SignatureRefused("its base64 is not canonical")
    return data


# --- keys -----------------------------------------------------------------------------------------

#: Verifies a signature (type and value) of a message. Raises SignatureRefused.
_Check = Callable[[bytes, bytes], None]
#: Verifies a signature's value. Raises `cryptography`'s InvalidSignature, or ValueError.
_Raw = Callable[[bytes, bytes], None]


@lru_cache(maxsize=64)
def _public_key(blob: bytes) -> tuple[str, _Check]:
    """A key's type, and the function that verifies its signatures. Raises SignatureRefused."""
    reader = _SshFields(blob, "the key")
    name = reader.string()
    if name.endswith(_CERTIFICATE):
        raise SignatureRefused("it was made with a certificate; sign with the key itself")
    key_type = name.decode(errors="replace")
    if key_type == "ssh-ed25519":
        check = _plain(key_type, _ed25519(reader))
    elif key_type == "ssh-rsa":
        check = _rsa(reader)
    elif key_type.startswith("ecdsa-sha2-") and key_type in KEY_TYPES:
        check = _plain(key_type, _ecdsa(reader, name.removeprefix(b"ecdsa-sha2-")))
    elif key_type == "sk-ssh-ed25519@openssh.com":
        raw = _ed25519(reader)
        check = _security_key(key_type, raw, reader.string())
    elif key_type == "sk-ecdsa-sha2-nistp256@openssh.com":
        raw = _ecdsa(reader, b"nistp256")
        check = _security_key(key_type, raw, reader.string())
    else:
        raise SignatureRefused("its key is of a type that is not accepted")
    reader.end()
    return key_type, check


def _plain(key_type: str, raw: _Raw) -> _Check:
    """For signatures that have the key's own type, and only a value."""

    def check(signature: bytes, message: bytes) -> None:
        reader = _SshFields(signature, "the signature")
        _expect(reader.string(), key_type)
        value = reader.string()
        reader.end()
        _checked(raw, value, message)

    return check


def _security_key(key_type: str, raw: _Raw, application: bytes) -> _Check:
    """For signatures of a security key, which say that it was touched, and count (PROTOCOL.u2f)."""

    def check(signature: bytes, message: bytes) -> None:
        reader = _SshFields(signature, "the signature")
        _expect(reader.string(), key_type)
        value = reader.string()
        flags = reader.take(1)
        counter = reader.take(4)
        reader.end()
        told = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(message).digest()
        _checked(raw, value, told)
        if not flags[0] & _USER_PRESENT:
            raise SignatureRefused("nobody touched the security key that made it")

    return check


def _ed25519(reader: _SshFields) -> _Raw:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    data = reader.string()
    if len(data) != _ED25519_KEY_BYTES:
        raise SignatureRefused("its key is malformed")
    key = _loaded(lambda: Ed25519PublicKey.from_public_bytes(data))

    def check(value: bytes, message: bytes) -> None:
        if len(value) != _ED25519_SIGNATURE_BYTES:
            raise ValueError
        key.verify(value, message)

    return check


def _ecdsa(reader: _SshFields, curve: bytes) -> _Raw:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    kinds: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
        b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
        b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
        b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
    }
    kind, digest = kinds[curve]
    if reader.string() != curve:
        raise SignatureRefused("its key is malformed")
    point = reader.string()
    if len(point) != 1 + 2 * _CURVES[curve] or point[0] != _UNCOMPRESSED_POINT:
        raise SignatureRefused("its key is malformed")
    key = _loaded(lambda: ec.EllipticCurvePublicKey.from_encoded_point(kind, point))

    def check(value: bytes, message: bytes) -> None:
        numbers = _SshFields(value, "the signature")
        r, s = (numbers.positive(_CURVES[curve]) for _ in range(2))
        numbers.end()
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))

    return check


def _rsa(reader: _SshFields) -> _Check:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    digests: dict[bytes, hashes.HashAlgorithm] = {
        b"rsa-sha2-256": hashes.SHA256(),
        b"rsa-sha2-512": hashes.SHA512(),
    }
    exponent = reader.positive(_MAX_RSA_BITS // 8)
    modulus = reader.positive(_MAX_RSA_BITS // 8)
    bits = modulus.bit_length()
    if bits < _MIN_RSA_BITS:
        raise SignatureRefused(f"its RSA key has fewer than {_MIN_RSA_BITS} bits")
    if exponent > _MAX_RSA_EXPONENT or not exponent & modulus & 1 or exponent == 1:
        raise SignatureRefused("its key is malformed")
    key = _loaded(RSAPublicNumbers(exponent, modulus).public_key)
    size = (bits + 7) // 8

    def check(signature: bytes, message: bytes) -> None:
        inner = _SshFields(signature, "the signature")
        digest = digests.get(inner.string())
        value = inner.string()
        inner.end()
        if digest is None:
            raise SignatureRefused("its RSA key signed with neither rsa-sha2-256 nor rsa-sha2-512")
        if not 0 < len(value) <= size:
            raise SignatureRefused("it does not fit the commit")
        # Some agents leave out leading zeros, and OpenSSH restores them.
        _checked(lambda v, m: key.verify(v, m, PKCS1v15(), digest), value.rjust(size, b"\0"), message)

    return check


def _loaded(load: Callable[[], _T]) -> _T:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureRefused("its key is malformed") from None


def _checked(raw: _Raw, value: bytes, message: bytes) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        raw(value, message)
    except SignatureRefused:
        raise
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        raise SignatureRefused("it does not fit the commit") from None


def _expect(found: bytes, key_type: str) -> None:
    if found != key_type.encode():
        raise SignatureRefused("its algorithm is not that of its key")


# --- SSH's encoding (RFC 4251, section 5) ---------------------------------------------------------


class _SshFields:
    """Reads fields from the front of some bytes, and never past their end."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def take(self, count: int) -> bytes:
        """Read exactly this many bytes."""
        end = self._at + count
        if end > len(self._data):
            self._fail("is cut off")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self) -> int:
        """Read a uint32."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """Read a string: its length, and its bytes."""
        return self.take(self.number())

    def positive(self, most: int) -> int:
        """Read a positive mpint of at most this many bytes, without superfluous leading zeros."""
        data = self.string()
        if not data or data[0] & 0x80:
            self._fail("holds a number that is not positive")
        if data[0] == 0 and not (len(data) > 1 and data[1] & 0x80):
            self._fail("holds a number with superfluous zeros")
        if len(data) - (data[0] == 0) > most:
            self._fail("holds a number that is too large")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        """Check that nothing follows."""
        if self._at != len(self._data):
            self._fail("has data after its end")

    def _fail(self, words: str) -> NoReturn:
        raise SignatureRefused(f"{self._what} in it {words}")


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
