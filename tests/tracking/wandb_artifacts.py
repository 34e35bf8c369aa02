"""What W&B's server keeps of artifacts, for the stand-in: versions with their files, collections, registries.

The questions are those that the client's Python (`wandb/sdk/artifacts/_generated/operations.py`) and its service send.
"""

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

TIME = "2026-01-01T00:00:00"
PREFIX = "wandb-registry-"
ORGANIZATION, ORGANIZATION_ENTITY = "Our Lab", "our-lab_registry"  # what people read; what paths hold


class Refused(Exception):
    """What the server says no to; the client gets its text."""


@dataclass
class Version:
    """A version of an artifact.

    Attributes:
        files: bytes by name, as they came; `manifest` the same.
        committed: whether all has come.
    """

    id: str
    home: "Collection"
    index: int
    digest: str
    metadata: str
    run: str | None
    files: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b""
    committed: bool = False


@dataclass
class Collection:
    """Versions of one name: an artifact's own, or a registry's, to which they are linked.

    Attributes:
        aliases: by alias the place of its version among `versions`.
    """

    entity: str
    project: str
    name: str
    type: str
    versions: list[Version] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)

    def find(self, alias: str) -> int | None:
        number = alias.removeprefix("v")
        if alias.startswith("v") and number.isdigit() and int(number) < len(self.versions):
            return int(number)
        return self.aliases.get(alias)

    def add(self, version: Version, aliases: list[str]) -> int:
        """The place of `version`, which is given `aliases` and is the latest."""
        if version not in self.versions:
            self.versions.append(version)
        place = self.versions.index(version)
        self.aliases |= dict.fromkeys(["latest", *aliases], place)
        return place


class Artifacts:
    """Attributes:
    registries: the types that each takes, by name; links elsewhere are refused.
    collections: by entity, project and name.
    """

    def __init__(self) -> None:
        self.registries = {"model": ["model"]}
        self.collections: dict[tuple[str, str, str], Collection] = {}
        self.versions: dict[str, Version] = {}
        self.url = ""
        self._numbers = itertools.count()

    def find_link(self, name: str, alias: str = "latest", registry: str = "model") -> Version:
        """The version that a registry has under a name."""
        found = self.collections[ORGANIZATION_ENTITY, PREFIX + registry, name]
        return found.versions[found.aliases[alias]]

    def put(self, path: str, content: bytes) -> None:
        """Take what a client uploads to an address that it was given: /artifact/ID/manifest, /artifact/ID/file/NAME."""
        match path.strip("/").split("/", 3):
            case ["artifact", id, "manifest"]:
                self.versions[id].manifest = content
            case ["artifact", id, "file", name]:
                self.versions[id].files[name] = content

    def get(self, path: str) -> bytes | None:
        """What lies at such an address."""
        match path.strip("/").split("/", 3):
            case ["artifact", id, "manifest"]:
                return self.versions[id].manifest
            case ["artifact", id, "file", name]:
                return self.versions[id].files.get(name)
        return None

    def _GetDefaultEntity(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "u", "entity": "me"}}

    def _FetchOrgInfoFromEntity(self, asked: dict[str, Any]) -> dict[str, Any]:
        ours = {"name": ORGANIZATION, "orgEntity": {"name": ORGANIZATION_ENTITY}}
        if asked["entity"] == ORGANIZATION_ENTITY:
            return {"entity": {"organization": ours, "user": None}}
        return {"entity": {"organization": None, "user": {"organizations": [ours]}}}

    def _ArtifactType(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self.collections.get((asked["entity"], asked["project"], asked["name"].partition(":")[0]))
        return {"project": {"artifact": found and {"artifactType": {"name": found.type}}}}

    def _CreateArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        told = asked["input"]
        key = (told["entityName"], told["projectName"], told["artifactCollectionName"])
        home = self.collections.setdefault(key, Collection(*key, told["artifactTypeName"]))
        version = next((one for one in home.versions if one.digest == told["digest"]), None)
        before = home.versions[-1].id if home.versions else None
        if version is None:
            id = f"a{next(self._numbers)}"
            metadata = told["metadata"] or "{}"
            version = Version(id, home, len(home.versions), told["digest"], metadata, told["runName"])
            self.versions[id] = version
        home.add(version, [one["alias"] for one in told["aliases"]])
        made = {"id": version.id, "state": "COMMITTED" if version.committed else "PENDING"}
        sequence = {"id": f"s-{home.name}", "latestArtifact": before and {"id": before, "versionIndex": 0}}
        return {"createArtifact": {"artifact": {**made, "artifactSequence": sequence}}}

    def _CreateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"createArtifactManifest": {"artifactManifest": self._manifest(asked["artifactID"])}}

    def _UpdateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(asked["artifactManifestID"])}}

    def _manifest(self, id: str) -> dict[str, Any]:
        file = {"id": f"m-{id}", "uploadUrl": f"{self.url}/artifact/{id}/manifest", "uploadHeaders": []}
        return {"id": id, "file": file}

    def _CreateArtifactFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "storagePath": f"artifact/{one['artifactID']}/{one['name']}",
                "uploadUrl": f"{self.url}/artifact/{one['artifactID']}/file/{one['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": one["artifactID"]},
            }
            for one in asked["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _CommitArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self.versions[asked["artifactID"]]
        version.committed = True
        return {"commitArtifact": {"artifact": {"id": version.id, "digest": version.digest}}}

    def _UseArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"useArtifact": {"artifact": self._artifact(self.versions[asked["artifactID"]])}}

    def _LinkArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        told = asked["input"]
        registry, version = told["projectName"].removeprefix(PREFIX), self.versions[told["artifactID"]]
        if registry not in self.registries or told["entityName"] != ORGANIZATION_ENTITY:
            raise Refused("project not found")
        if version.home.type not in self.registries[registry]:
            raise Refused("artifact type is not allowed in this registry")
        key = (told["entityName"], told["projectName"], told["artifactPortfolioName"])
        linked = self.collections.setdefault(key, Collection(*key, version.home.type))
        place = linked.add(version, [one["alias"] for one in told["aliases"]])
        return {"result": {"versionIndex": place, "artifactMembership": self._membership(linked, place)}}

    def _ArtifactByID(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": self._artifact(self.versions[asked["id"]])}

    def _ArtifactMembershipByName(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["project"].startswith(PREFIX) and asked["project"].removeprefix(PREFIX) not in self.registries:
            return {"project": None}
        name, _, alias = asked["name"].partition(":")
        found = self.collections.get((asked["entity"], asked["project"], name))
        place = found.find(alias or "latest") if found else None
        return {"project": {"artifactCollectionMembership": None if place is None else self._membership(found, place)}}

    def _FetchArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        address = f"{self.url}/artifact/{asked['id']}/manifest"
        return {"artifact": {"currentManifest": {"file": {"directUrl": address}}}}

    def _GetArtifactMembershipFileUrls(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self.collections[asked["entity"], asked["project"], asked["collection"]]
        version = found.versions[found.find(asked["alias"])]
        edges = [
            {"node": {"__typename": "File", "name": name, "directUrl": f"{self.url}/artifact/{version.id}/file/{name}"}}
            for name in version.files
        ]
        files = {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": edges}
        collection = {"__typename": "ArtifactPortfolio", "artifactMembership": {"files": files}}
        return {"project": {"artifactCollection": collection}}

    def _ArtifactTypeArtifactCollections(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [
            one
            for one in self.collections.values()
            if (one.entity, one.project, one.type) == (asked["entity"], asked["project"], asked["type"])
        ]
        edges = [{"node": self._whole(one)} for one in found]
        page = {"endCursor": None, "hasNextPage": False}
        listed = {"totalCount": len(edges), "pageInfo": page, "edges": edges}
        return {"project": {"artifactType": {"artifactCollections": listed}}}

    def _ProjectArtifactCollection(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self.collections.get((asked["entity"], asked["project"], asked["name"]))
        return {"project": {"artifactType": {"artifactCollection": found and self._whole(found)}}}

    def _ArtifactCollectionAliases(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self.collections[tuple(json.loads(asked["id"]))]
        edges = [{"node": _alias(alias)} for alias in found.aliases]
        listed = {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": edges}
        return {"artifactCollection": {"__typename": "ArtifactPortfolio", "aliases": listed}}

    def _membership(self, collection: Collection, place: int) -> dict[str, Any]:
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"{collection.name}-{place}",
            "versionIndex": place,
            "createdAt": TIME,
            "aliases": [_alias(alias) for alias, its in collection.aliases.items() if its == place],
            "artifactCollection": self._collection(collection),
            "artifact": self._artifact(collection.versions[place]),
        }

    def _artifact(self, version: Version) -> dict[str, Any]:
        return {
            "__typename": "Artifact",
            "id": version.id,
            "artifactSequence": self._collection(version.home) | {"__typename": "ArtifactSequence"},
            "versionIndex": version.index,
            "artifactType": {"name": version.home.type},
            "description": None,
            "metadata": version.metadata,
            "ttlDurationSeconds": -2,
            "ttlIsInherited": False,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": sum(map(len, version.files.values())),
            "digest": version.digest,
            "commitHash": None,
            "fileCount": len(version.files),
            "createdAt": TIME,
            "updatedAt": TIME,
            "aliases": [
                _alias(alias) | {"artifactCollection": self._collection(version.home)}
                for alias, place in version.home.aliases.items()
                if place == version.index
            ],
        }

    def _whole(self, collection: Collection) -> dict[str, Any]:
        id = json.dumps([collection.entity, collection.project, collection.name])
        told = {"id": id, "description": None, "createdAt": TIME, "updatedAt": TIME, "tags": {"edges": []}}
        return {**self._collection(collection), **told, "type": {"name": collection.type}}

    def _collection(self, collection: Collection) -> dict[str, Any]:
        project = {"id": "p", "internalId": "p", "name": collection.project, "entity": {"name": collection.entity}}
        return {"__typename": "ArtifactPortfolio", "name": collection.name, "project": project}


def _alias(alias: str) -> dict[str, Any]:
    return {"__typename": "ArtifactAlias", "id": alias, "alias": alias}
