"""SSH keys of every kind and signatures by them, made by hand, with every field open to a forger."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

APPLICATION = b"ssh:"
TOUCHED = 1
_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 512: hashes.SHA512(), 521: hashes.SHA512()}
_CURVES = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}
#: The order of Ed25519's group, little-endian in a signature's second half.
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def mpint(number: int, zeros: int = 0) -> bytes:
    """A positive number, with so many superfluous zeros in front."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return string(b"\0" * (zeros + (data[0] >> 7)) + data)


@dataclass(frozen=True)
class Key:
    """A key pair: its public blob, and how it signs some bytes (the inner signature)."""

    name: str
    blob: bytes
    sign: Callable[[bytes], bytes]

    @property
    def fingerprint(self) -> str:
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        size = int.from_bytes(self.blob[:4], "big")
        return f"{self.blob[4 : 4 + size].decode()} {base64.b64encode(self.blob).decode()}"


def ed25519_key() -> Key:
    private = ed25519.Ed25519PrivateKey.generate()
    blob = string(b"ssh-ed25519") + string(_raw(private))
    return Key("ed25519", blob, lambda data: string(b"ssh-ed25519") + string(private.sign(data)))


def ecdsa_key(bits: int, *, compressed: bool = False, zeros: int = 0) -> Key:
    private = ec.generate_private_key(_CURVES[bits])
    name = b"nistp%d" % bits
    form = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
    point = private.public_key().public_bytes(Encoding.X962, form)
    blob = string(b"ecdsa-sha2-" + name) + string(name) + string(point)

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(_HASHES[bits])))
        return string(b"ecdsa-sha2-" + name) + string(mpint(r, zeros) + mpint(s))

    return Key(f"ecdsa-{bits}", blob, sign)


def rsa_key(bits: int, sha: int = 512, *, exponent: int = 65537, algorithm: bytes | None = None) -> Key:
    private = rsa.generate_private_key(65537, bits)
    numbers = private.public_key().public_numbers()
    blob = string(b"ssh-rsa") + mpint(exponent) + mpint(numbers.n)
    digest = hashes.SHA1() if sha == 1 else _HASHES[sha]  # noqa: S303 - what must be refused

    def sign(data: bytes) -> bytes:
        value = private.sign(data, padding.PKCS1v15(), digest)
        return string(algorithm or b"rsa-sha2-%d" % sha) + string(value)

    return Key(f"rsa-{bits}-{sha}", blob, sign)


def sk_ed25519_key(flags: int = TOUCHED, counter: int = 7) -> Key:
    private = ed25519.Ed25519PrivateKey.generate()
    name = b"sk-ssh-ed25519@openssh.com"
    blob = string(name) + string(_raw(private)) + string(APPLICATION)

    def sign(data: bytes) -> bytes:
        return string(name) + string(private.sign(_told(data, flags, counter))) + _state(flags, counter)

    return Key(f"sk-ed25519-{flags}", blob, sign)


def sk_ecdsa_key(flags: int = TOUCHED, counter: int = 7) -> Key:
    private = ec.generate_private_key(ec.SECP256R1())
    name = b"sk-ecdsa-sha2-nistp256@openssh.com"
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    blob = string(name) + string(b"nistp256") + string(point) + string(APPLICATION)

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(_told(data, flags, counter), ec.ECDSA(hashes.SHA256())))
        return string(name) + string(mpint(r) + mpint(s)) + _state(flags, counter)

    return Key(f"sk-ecdsa-{flags}", blob, sign)


def _raw(private: ed25519.Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _state(flags: int, counter: int) -> bytes:
    return bytes([flags]) + counter.to_bytes(4, "big")


def _told(data: bytes, flags: int, counter: int) -> bytes:
    return hashlib.sha256(APPLICATION).digest() + _state(flags, counter) + hashlib.sha256(data).digest()


@dataclass(frozen=True)
class Fields:
    """The fields of a signature, of which a forger chooses those that differ from the usual ones.

    ``signed`` are the fields that are signed, where they differ from those that are shown.
    """

    key: Key
    magic: bytes = b"SSHSIG"
    version: int = 1
    namespace: bytes = b"git"
    reserved: bytes = b""
    hash_name: bytes = b"sha512"
    tail: bytes = b""
    blob: bytes | None = None
    inner: Callable[[bytes], bytes] = field(default=lambda inner: inner)
    signed: Fields | None = None

    def but(self, **changed: object) -> Fields:
        return replace(self, **changed)  # type: ignore[arg-type]

    def armored(self, message: bytes, width: int = 70) -> bytes:
        """The signature of a message, as OpenSSH armors it."""
        by = self.signed or self
        digest = hashlib.new(by.hash_name.decode(), message).digest()
        told = b"SSHSIG" + b"".join(map(string, (by.namespace, b"", by.hash_name, digest)))
        blob = (
            self.magic
            + self.version.to_bytes(4, "big")
            + string(self.key.blob if self.blob is None else self.blob)
            + string(self.namespace)
            + string(self.reserved)
            + string(self.hash_name)
            + string(self.inner(self.key.sign(told)))
            + self.tail
        )
        return armor(blob, width)


def armor(blob: bytes, width: int = 70) -> bytes:
    text = base64.b64encode(blob)
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    return b"\n".join([b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b""])


def dearmored(text: bytes) -> bytes:
    return base64.b64decode(b"".join(text.split(b"\n")[1:-2]))


def signed_commit(commit: bytes, signature: bytes, header: bytes = b"gpgsig") -> bytes:
    """A raw commit with its signature where git writes it, at the end of the head."""
    head, _, message = commit.partition(b"\n\n")
    told = signature.rstrip(b"\n").replace(b"\n", b"\n ")
    return head + b"\n" + header + b" " + told + b"\n\n" + message
