"""What Schemathesis takes for a fault of the server and the contract means to be so.

It expects that a request which fits the schema succeeds. No check is turned off: a refusal is accepted where it is one of these,
by its status and its words, and each is said in the contract.
"""

import json

import schemathesis

NUL = "must not contain a NUL character"
MISSING = "is required"
NO_BOM = "is only for `format=csv`, because JSON has no byte order mark"
# The parameters of which the grant decides whether they are needed.
OF_GRANTS = {"username", "password", "refresh_token"}


def is_meant(case, response):
    """Whether a request that fits the schema is refused for a reason that a schema can't say."""
    error = json.loads(response.content)["error"]
    kind, detail = error["type"], error["detail"]
    match response.status_code:
        # "The schema is kept, but the request can't be carried out": no such week, an id of nobody, a wrong current password.
        case 422:
            return kind in ("unprocessable", "idempotency_mismatch")
        # An `If-Match` that is made up is no current version.
        case 412:
            return kind == "precondition_failed" and "If-Match" in (case.headers or {})
        case 400 if kind == "validation_error" and detail:
            # A cursor is only what the page before gave, and excludes `page`.
            if "cursor" in (case.query or {}) and detail.keys() <= {"cursor", "page"}:
                return True
            # RFC 6749, 5.2: a parameter that the grant needs and that is missing is 400.
            if case.operation.label == "POST /api/v1/auth/token" and detail.keys() <= OF_GRANTS:
                return all(messages == [MISSING] for messages in detail.values())
            # A rule between two parameters.
            if detail == {"bom": [NO_BOM]}:
                return True
            # A pattern on every text would be in everybody's way; the head of the contract says it once.
            return all(messages == [NUL] for messages in detail.values())
    return False


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """False drops the failure; the run says how many were."""
    return failure.code != "ST202" or not is_meant(case, response)
