"""The stand-in of DigitalOcean's API, version 2: it serves an account over HTTP.

https://docs.digitalocean.com/reference/api/ is the source of paths, statuses and bodies;
https://github.com/digitalocean/openapi has the same as files, named below where it matters.
"""

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from flask import Flask, Response, jsonify, request

from tests.cloud.account import CLOSED_REGION, REGIONS, SIZES, STOCK, Account, ApiError, Row

RETRY_AFTER_SECONDS = 1
PAGE = 20


def application(account: Account) -> Flask:
    """Return the API of this account."""
    app = Flask(__name__)
    app.before_request(lambda: _turned_away(account))
    app.register_error_handler(ApiError, _as_answer)
    app.register_error_handler(KeyError, lambda _: _as_answer(_nothing()))
    _describe(app, account)
    _droplets(app, account)
    _images(app, account)
    _keys(app, account)
    _tags(app, account)
    _firewalls(app, account)
    _domains(app, account)
    return app


def _turned_away(account: Account) -> Response | None:
    """Check the token, then be busy or broken if asked to.

    specification/description.yml, "Rate Limit": 429 with ``retry-after``; "Statuses": 401, 5xx.
    """
    if request.headers.get("Authorization") != f"Bearer {account.token}":
        return _as_answer(ApiError(401, "unauthorized", "Unable to authenticate you"))
    status = account.faults.next_answer()
    if status == 429:
        answer = _as_answer(ApiError(429, "too_many_requests", "API rate limit exceeded."))
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return answer
    if status:
        return _as_answer(ApiError(status, "server_error", "Unexpected server-side error"))
    return None


def _describe(app: Flask, account: Account) -> None:
    @app.get("/v2/account")
    def get_account() -> Row:
        return {"account": {"droplet_limit": account.droplet_limit, "status": "active"}}

    @app.get("/v2/regions")
    def get_regions() -> Row:
        offered = [{"slug": slug, "available": True, "sizes": list(SIZES)} for slug in REGIONS]
        closed = {"slug": CLOSED_REGION, "available": False, "sizes": []}
        return _page("regions", [*offered, closed])

    @app.get("/v2/sizes")
    def get_sizes() -> Row:
        rows = [
            {
                "slug": slug,
                "vcpus": vcpus,
                "memory": memory,
                "disk": disk,
                "price_hourly": hourly,
                "regions": list(REGIONS),
                "available": True,
            }
            for slug, (vcpus, memory, disk, hourly) in SIZES.items()
        ]
        return _page("sizes", rows)


def _droplets(app: Flask, account: Account) -> None:
    @app.get("/v2/droplets")
    def list_droplets() -> Row:
        return _page("droplets", _tagged(account.droplets.values()))

    @app.post("/v2/droplets")
    def create_droplet() -> tuple[Row, int]:
        return {"droplet": account.create_droplet(request.get_json())}, 202

    @app.get("/v2/droplets/<int:id_>")
    def get_droplet(id_: int) -> Row:
        return {"droplet": account.droplets[id_]}

    @app.delete("/v2/droplets/<int:id_>")
    def delete_droplet(id_: int) -> tuple[str, int]:
        account.delete_droplet(id_)
        return "", 204


def _images(app: Flask, account: Account) -> None:
    @app.get("/v2/images")
    def list_images() -> Row:
        kept = [image for image in account.images.values() if image["status"] != "deleted"]
        return _page("images", _tagged(kept))

    @app.post("/v2/images")
    def create_image() -> tuple[Row, int]:
        return {"image": account.create_image(request.get_json())}, 202

    @app.get("/v2/images/<id_>")
    def get_image(id_: str) -> Row:
        if id_ in STOCK:
            return {"image": {"slug": id_, "regions": [*STOCK[id_]], "status": "available"}}
        if not id_.isdigit():
            raise _nothing()
        return {"image": account.images[int(id_)]}

    @app.delete("/v2/images/<int:id_>")
    def delete_image(id_: int) -> tuple[str, int]:
        del account.images[id_]
        return "", 204

    @app.post("/v2/images/<int:id_>/actions")
    def act(id_: int) -> tuple[Row, int]:
        return {"action": account.transfer_image(id_, request.get_json()["region"])}, 201

    @app.get("/v2/actions/<int:id_>")
    def get_action(id_: int) -> Row:
        return {"action": account.actions[id_]}


def _keys(app: Flask, account: Account) -> None:
    @app.get("/v2/account/keys")
    def list_keys() -> Row:
        return _page("ssh_keys", [*account.keys.values()])

    @app.post("/v2/account/keys")
    def create_key() -> tuple[Row, int]:
        wanted = request.get_json()
        blob = base64.b64decode(wanted["public_key"].split()[1])
        digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        fingerprint = ":".join(digest[i : i + 2] for i in range(0, 32, 2))
        if any(key["fingerprint"] == fingerprint for key in account.keys.values()):
            raise ApiError(422, "unprocessable_entity", "SSH Key is already in use on your account")
        key = {"id": account.next_id(), "fingerprint": fingerprint, **wanted}
        account.keys[key["id"]] = key
        return {"ssh_key": key}, 201

    @app.get("/v2/account/keys/<int:id_>")
    def get_key(id_: int) -> Row:
        return {"ssh_key": account.keys[id_]}

    @app.delete("/v2/account/keys/<int:id_>")
    def delete_key(id_: int) -> tuple[str, int]:
        del account.keys[id_]
        return "", 204


def _tags(app: Flask, account: Account) -> None:
    @app.get("/v2/tags")
    def list_tags() -> Row:
        return _page("tags", [{"name": name} for name in sorted(account.tags)])

    @app.post("/v2/tags")
    def create_tag() -> tuple[Row, int]:
        account.tags.add(request.get_json()["name"])
        return {"tag": request.get_json()}, 201

    @app.get("/v2/tags/<name>")
    def get_tag(name: str) -> Row:
        if name not in account.tags:
            raise _nothing()
        return {"tag": {"name": name}}

    @app.delete("/v2/tags/<name>")
    def delete_tag(name: str) -> tuple[str, int]:
        account.tags.remove(name)
        for row in (*account.droplets.values(), *account.images.values()):
            row["tags"] = [tag for tag in row["tags"] if tag != name]
        return "", 204

    @app.post("/v2/tags/<name>/resources")
    def tag_resources(name: str) -> tuple[str, int]:
        if name not in account.tags:
            raise _nothing()
        for resource in request.get_json()["resources"]:
            rows = {"droplet": account.droplets, "image": account.images}
            row = rows[resource["resource_type"]][int(resource["resource_id"])]
            row["tags"] = sorted({*row["tags"], name})
        return "", 204


def _firewalls(app: Flask, account: Account) -> None:
    @app.get("/v2/firewalls")
    def list_firewalls() -> Row:
        return _page("firewalls", [*account.firewalls.values()])

    @app.post("/v2/firewalls")
    def create_firewall() -> tuple[Row, int]:
        firewall = {"droplet_ids": [], "tags": [], **request.get_json(), "status": "succeeded"}
        if any(known["name"] == firewall["name"] for known in account.firewalls.values()):
            raise ApiError(409, "conflict", "duplicate name")
        if not set(firewall["tags"]) <= account.tags:
            raise ApiError(422, "unprocessable_entity", "tag does not exist")
        firewall["id"] = f"bb4b2611-3d72-467b-8602-{account.next_id():012d}"
        account.firewalls[firewall["id"]] = firewall
        account.filter()
        return {"firewall": firewall}, 202

    @app.get("/v2/firewalls/<id_>")
    def get_firewall(id_: str) -> Row:
        return {"firewall": account.firewalls[id_]}

    @app.put("/v2/firewalls/<id_>")
    def put_firewall(id_: str) -> Row:
        fresh = {"droplet_ids": [], "tags": [], **request.get_json()}
        account.firewalls[id_] = {**account.firewalls[id_], **fresh}
        account.filter()
        return {"firewall": account.firewalls[id_]}

    @app.delete("/v2/firewalls/<id_>")
    def delete_firewall(id_: str) -> tuple[str, int]:
        del account.firewalls[id_]
        account.filter()
        return "", 204


def _domains(app: Flask, account: Account) -> None:
    @app.get("/v2/domains")
    def list_domains() -> Row:
        return _page("domains", [{"name": name} for name in sorted(account.domains)])

    @app.get("/v2/domains/<domain>")
    def get_domain(domain: str) -> Row:
        _own(domain)
        return {"domain": {"name": domain}}

    @app.get("/v2/domains/<domain>/records")
    def list_records(domain: str) -> Row:
        _own(domain)
        rows = [row for row in account.records.values() if row["domain"] == domain]
        return _page("domain_records", rows)

    @app.post("/v2/domains/<domain>/records")
    def create_record(domain: str) -> tuple[Row, int]:
        _own(domain)
        record = {**request.get_json(), "id": account.next_id(), "domain": domain}
        account.records[record["id"]] = record
        return {"domain_record": record}, 201

    @app.get("/v2/domains/<domain>/records/<int:id_>")
    def get_record(domain: str, id_: int) -> Row:
        _own(domain)
        return {"domain_record": account.records[id_]}

    @app.put("/v2/domains/<domain>/records/<int:id_>")
    def put_record(domain: str, id_: int) -> Row:
        _own(domain)
        account.records[id_] |= request.get_json()
        return {"domain_record": account.records[id_]}

    @app.delete("/v2/domains/<domain>/records/<int:id_>")
    def delete_record(domain: str, id_: int) -> tuple[str, int]:
        _own(domain)
        del account.records[id_]
        return "", 204

    def _own(domain: str) -> None:
        if domain not in account.domains:
            raise _nothing()


def _tagged(rows: Iterable[Row]) -> list[Row]:
    tag = request.args.get("tag_name")
    return [row for row in rows if tag is None or tag in row["tags"]]


def _page(name: str, rows: list[Any]) -> Row:
    """Return one page, and the way to the next (description.yml, "Links & Pagination")."""
    page, size = int(request.args.get("page", 1)), int(request.args.get("per_page", PAGE))
    links = {}
    if page * size < len(rows):
        links = {"pages": {"next": f"{request.base_url}?page={page + 1}&per_page={size}"}}
    return {
        name: rows[(page - 1) * size : page * size],
        "links": links,
        "meta": {"total": len(rows)},
    }


def _nothing() -> ApiError:
    return ApiError(404, "not_found", "The resource you requested could not be found.")


def _as_answer(error: ApiError) -> Response:
    answer = jsonify({"id": error.id_, "message": error.message})
    answer.status_code = error.status
    return answer
