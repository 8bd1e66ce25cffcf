"""The API server's refusals, sorted into the controller's errors."""

import os

import aiohttp
import orjson

from controller.errors import AgentpoolError, Conflict, Missing, Refused, Transient

NOT_ACCEPTED = "the API server does not accept the operator's credentials: renew the kubeconfig or token"


def error_for(status: int, content: bytes, retry_after: str | None) -> AgentpoolError:
    """The error that an answer of 400 or more means."""
    reason, message = _status(content)
    message = message or f"the API server answered with HTTP status {status}"
    if status == 404:
        return Missing(message)
    if status == 409:
        return Conflict(message)
    if status == 401:
        return Transient(NOT_ACCEPTED)
    if status in {408, 410, 429} or status >= 500:
        return Transient(message, _seconds(retry_after))
    return Refused(reason or "Refused", message)


def no_answer(server: str, error: Exception) -> Transient:
    """The error for a request that got no answer, or half of one."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Transient(
                f"the certificate of the API server at {server} is not trusted: the kubeconfig holds the authority of "
                "another server, renew it"
            )
        case aiohttp.ClientConnectorError(errno=int(number)) if number > 0:
            why = os.strerror(number)
        case aiohttp.ClientConnectorError(strerror=str(text)):
            why = text
        case aiohttp.ClientConnectorError():
            why = "it does not speak TLS as expected"
        case TimeoutError():
            why = "it did not answer in time"
        case _:
            why = str(error) or type(error).__name__
    return Transient(
        f"the API server at {server} cannot be reached ({why}): start it, or correct its address in the kubeconfig"
    )


def _status(content: bytes) -> tuple[str, str]:
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    return str(answer.get("reason") or ""), str(answer.get("message") or "")


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None
