"""The folder of a repository: where its files lie, what its roles say, and in which order that is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, StorageError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from edgeface import Bundle, EdgeFaceError
from edgeface.store import Envelope, TrustedKeys
from edgeface.store.admission import check_content, version_order
from edgeface.store.release import parse_envelope
from edgeface.update.offers import Offer, parse_releases

from .signing import PublishError, make_key, signer, write_whole

__all__ = ["Days", "Repository"]

_ROLES = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
_LIST, _KEYS = "releases.json", "keys.json"
_SERIALIZER = JSONSerializer(compact=False)  # read by people, too


@dataclass(frozen=True, slots=True)
class Days:
    """For how many days a role's word holds. A stick must be copied anew within ``timestamp`` days."""

    root: int = 730
    targets: int = 365
    snapshot: int = 60
    timestamp: int = 30


class Repository:
    """A repository's folder and the keys that are at hand; what is not needed may be elsewhere.

    Args:
        folder: The repository.
        keys: Folder of the private keys.
        days: For how long what is signed holds.
    """

    def __init__(self, folder: Path, keys: Path, days: Days = Days()) -> None:
        self._metadata = folder / "metadata"
        self._targets = folder / "targets"
        self._folder, self._keys, self._days = folder, keys, days

    def begin(self, roots: int = 1, threshold: int = 1) -> Path:
        """Make the keys and an empty repository; returns the first root, which goes onto the devices.

        Args:
            roots: How many root keys there are.
            threshold: How many of them must agree to change anybody's key.

        Raises:
            PublishError: there is one already, or the threshold cannot be met.
        """
        if self._metadata.exists():
            raise PublishError(f"{self._folder}: there is a repository already")
        if not 1 <= threshold <= roots:
            raise PublishError(f"{threshold} of {roots} root keys cannot be; say 1 to {roots}")
        root = Root(version=1, expires=self._until(Root.type), consistent_snapshot=True)
        for number in range(1, roots + 1):
            make_key(self._keys / f"root-{number}.pem")
            root.add_key(signer(self._keys / f"root-{number}.pem").public_key, Root.type)
        root.roles[Root.type].threshold = threshold
        for role in _ROLES[1:]:
            make_key(self._keys / f"{role}.pem")
            root.add_key(signer(self._keys / f"{role}.pem").public_key, role)
        out = self._put_root(root)
        self._publish({_LIST: _listed(())})
        return out

    def releases(self) -> tuple[Offer, ...]:
        """What devices are offered."""
        return parse_releases(self._content(_LIST))

    def trust(self, keys: Mapping[str, str], threshold: int) -> None:
        """Tell the devices whose releases to believe from now on.

        Args:
            keys: Name of an owner -> public key in hexadecimal.
            threshold: How many of them must have signed.

        Raises:
            PublishError: these are no such keys.
        """
        told = {"schema": "edgeface.keys/1", "threshold": threshold, "keys": dict(keys)}
        data = json.dumps(told, indent=1).encode()
        try:
            TrustedKeys.from_bytes(data)
        except EdgeFaceError as error:
            raise PublishError(str(error)) from error
        self._publish({_KEYS: data})

    def add(self, path: Path, rings: Sequence[str] = (), share: float = 1.0) -> Offer:
        """Offer a bundle, with the release beside it, to the devices of ``rings``, a ``share`` of them first.

        Raises:
            PublishError: its release is missing or not signed by enough of those whom devices believe, or
                this version is offered already.
            BundleError: the bundle is damaged, or its release speaks of another.
        """
        beside = path.with_name(f"{path.name}.release")
        if not beside.is_file():
            raise PublishError(f"{beside}: there is no release beside the bundle; sign it (`publish sign`)")
        data, envelope = path.read_bytes(), parse_envelope(beside.read_bytes())
        bundle = Bundle.from_bytes(data, source=str(path))
        check_content(envelope.release, data, bundle)
        self._believed(envelope)
        order = version_order(bundle.version)
        known = self.releases()
        if any(version_order(offer.version) == order for offer in known):
            raise PublishError(f"{path}: version {bundle.version} is offered already; raise it")
        name = f"{bundle.name}-{bundle.version}.bundle"
        offer = Offer(name, bundle.version, bundle.digest, envelope.release.boards, tuple(rings), share)
        self._publish({name: data, f"{name}.release": beside.read_bytes(), _LIST: _listed((*known, offer))})
        return offer

    def stage(self, version: str, share: float) -> Offer:
        """Let the rollout of a version reach another share of the devices; 0 halts it.

        Raises:
            PublishError: no such version is offered.
        """
        known = self.releases()
        found = next((offer for offer in known if offer.version == version), None)
        if found is None:
            told = ", ".join(offer.version for offer in known) or "none"
            raise PublishError(f"version {version}: is not offered; there are: {told}")
        staged = replace(found, share=share)
        self._publish({_LIST: _listed([staged if offer is found else offer for offer in known])})
        return staged

    def refresh(self) -> None:
        """Say again that this is the newest there is; needs the snapshot's and the timestamp's keys alone."""
        self._signed(Timestamp)  # there must be one
        self._publish()

    def rotate(self, role: str) -> Path:
        """Give a role a new key: the old one is put aside and counts no more. Returns the new root.

        Of ``root`` the first key is replaced; the new root is signed by old and new keys, as the
        specification's section 6.1 tells.

        Raises:
            PublishError: there is no such role, or keys are missing.
        """
        if role not in _ROLES:
            raise PublishError(f"role {role}: there are {', '.join(_ROLES)}")
        root = self._next(Root)
        path = self._keys / ("root-1.pem" if role == Root.type else f"{role}.pem")
        old = signer(path)
        path.rename(path.with_name(f"{path.stem}.before-root-{root.version}.pem"))
        make_key(path)
        root.revoke_key(old.public_key.keyid, role)
        root.add_key(signer(path).public_key, role)
        new = self._put_root(root, also=(old,) if role == Root.type else ())
        if role != Root.type:
            self._publish({} if role == Targets.type else None)
        return new

    def _publish(self, files: Mapping[str, bytes] | None = None) -> None:
        """Put files there, and then say so: targets (but for None), snapshot, timestamp, in this order."""
        self._targets.mkdir(parents=True, exist_ok=True)
        snapshot, timestamp = self._next(Snapshot), self._next(Timestamp)
        if files is not None:
            targets = self._next(Targets)
            for name, data in files.items():
                target = TargetFile.from_data(name, data, ["sha256"])
                write_whole(self._targets / f"{target.hashes['sha256']}.{name}", data)
                targets.targets[name] = target
            self._put(targets)
            snapshot.meta["targets.json"] = MetaFile(targets.version)
        self._put(snapshot)
        timestamp.snapshot_meta = MetaFile(snapshot.version)
        self._put(timestamp)

    def _put(self, role: Targets | Snapshot | Timestamp) -> None:
        role.expires = self._until(role.type)
        signed: Metadata[Any] = Metadata(role)
        signed.sign(signer(self._keys / f"{role.type}.pem"))
        prefix = "" if role.type == Timestamp.type else f"{role.version}."
        write_whole(self._metadata / f"{prefix}{role.type}.json", signed.to_bytes(_SERIALIZER))

    def _put_root(self, root: Root, also: Sequence[CryptoSigner] = ()) -> Path:
        """Signs a root by all its keys that are at hand, and by those that it replaces."""
        self._metadata.mkdir(parents=True, exist_ok=True)
        root.expires = self._until(Root.type)
        signed = Metadata(root)
        needed = root.roles[Root.type]
        signers = [signer(path) for path in sorted(self._keys.glob("root-?.pem"))]
        mine = [one for one in signers if one.public_key.keyid in needed.keyids]
        if len(mine) < needed.threshold:
            raise PublishError(
                f"{self._keys}: {needed.threshold} root keys must sign; bring the others there"
            )
        for one in (*mine, *also):
            signed.sign(one, append=True)
        out = self._metadata / f"{root.version}.root.json"
        write_whole(out, signed.to_bytes(_SERIALIZER))
        return out

    def _next(self, kind: Any) -> Any:
        """What a role's next word begins with: its newest one, a version later."""
        if self._newest(kind.type) is None:
            return kind()
        role = self._signed(kind)
        role.version += 1
        return role

    def _signed(self, kind: Any) -> Any:
        """A role's newest word."""
        path = self._newest(kind.type)
        try:
            if path is None:
                raise StorageError(f"there is no {kind.type}.json")
            return Metadata[Any].from_file(str(path)).signed
        except (RepositoryError, StorageError) as error:
            raise PublishError(
                f"{self._folder}: is no repository ({error}); begin one with `publish begin`"
            ) from error

    def _newest(self, role: str) -> Path | None:
        if role == Timestamp.type:
            path = self._metadata / "timestamp.json"
            return path if path.exists() else None
        found = self._metadata.glob(f"*.{role}.json")
        return max(found, key=lambda path: int(path.name.partition(".")[0]), default=None)

    def _content(self, name: str) -> bytes:
        target = self._signed(Targets).targets.get(name)
        if target is None:
            raise PublishError(f"{self._folder}: has no {name}; tell it with `publish trust`")
        return (self._targets / f"{target.hashes['sha256']}.{name}").read_bytes()

    def _believed(self, envelope: Envelope) -> None:
        keys = TrustedKeys.from_bytes(self._content(_KEYS))
        try:
            keys.signers(envelope)
        except EdgeFaceError as error:
            raise PublishError(str(error)) from error

    def _until(self, role: str) -> datetime:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        return now + timedelta(days=getattr(self._days, role))


def _listed(offers: Sequence[Offer]) -> bytes:
    rows = [asdict(offer) for offer in offers]
    return json.dumps({"schema": "edgeface.releases/1", "releases": rows}, indent=1).encode()
