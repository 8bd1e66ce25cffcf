"""The errors of Railway's API, worded as it words them where that is known."""

from graphql import GraphQLError

INTERNAL = "INTERNAL_SERVER_ERROR"
PROBLEM = "Problem processing request"


def refusal(message: str) -> GraphQLError:
    """An error as nearly all are: only the message tells what it is."""
    return GraphQLError(message, extensions={"code": INTERNAL})


def not_authorized() -> GraphQLError:
    return refusal("Not Authorized")


def name_taken(name: str) -> GraphQLError:
    return refusal(f'A service named "{name}" already exists in this project')


def name_too_long() -> GraphQLError:
    return refusal("Service name must be at most 32 characters")


def no_instance() -> GraphQLError:
    """There is none, or none that can be seen yet."""
    return refusal("ServiceInstance not found")


def no_deployment() -> GraphQLError:
    return refusal("Deployment not found")


def no_domain_yet() -> GraphQLError:
    return refusal("Failed to create service domain, please try again")


def cannot_redeploy() -> GraphQLError:
    return refusal("Cannot redeploy yet, the previous deployment is still in progress")


def too_quickly(what: str) -> GraphQLError:
    return refusal(f"You are creating {what} too quickly. Please try again later.")


def volumes_used_up(number: int) -> GraphQLError:
    return refusal(f"Volume limit reached: your plan allows {number} volumes per project. Please upgrade your plan.")


def services_used_up(number: int) -> GraphQLError:
    return refusal(f"Service limit reached: your plan allows {number} services per project. Please upgrade your plan.")


def volume_taken() -> GraphQLError:
    return refusal("Service already has a volume attached")


def another_commit() -> GraphQLError:
    return refusal("Another change to this environment is being applied, please try again")


def invalid(message: str) -> GraphQLError:
    """The input makes no sense."""
    return GraphQLError(message, extensions={"code": "BAD_USER_INPUT"})
