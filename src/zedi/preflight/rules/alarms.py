"""Whether an alarm reaches anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from zedi.preflight.rule import ERROR, INFO, Problem, offline
from zedi.preflight.subject import Resource, Subject

_SNS: Final = "https://docs.aws.amazon.com/sns/latest/dg/sns-email-notifications.html"
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def _subscribed(topic: Resource) -> bool:
    return bool(topic.get("Subscription")) or any(
        topic in each.targets("TopicArn") for each in topic.subject.of_type("AWS::SNS::Subscription")
    )


@offline(
    "Z701",
    "alarms that nobody hears",
    INFO,
    why="The topic has no subscription: an alarm changes its colour in the console and nothing else.",
    fix="Set monitoring.email.",
    source=_SNS,
)
def unheard(subject: Subject) -> Iterator[Problem]:
    if not subject.on_aws:
        return
    for topic in subject.of_type("AWS::SNS::Topic"):
        if not _subscribed(topic):
            key = "monitoring.email" if subject.settings else None
            yield Problem("nobody has subscribed", topic, "Subscription", key=key)


@offline(
    "Z702",
    "e-mail address that is none",
    ERROR,
    why="SNS refuses a subscription by e-mail to anything but an address.",
    fix="Correct monitoring.email.",
    source=_SNS,
    says=(r"Invalid parameter: Email address",),
)
def address(subject: Subject) -> Iterator[Problem]:
    for topic in subject.of_type("AWS::SNS::Topic"):
        for index, subscription in enumerate(topic.get("Subscription") or ()):
            at = f"Subscription.{index}.Endpoint"
            if isinstance(subscription, dict) and subscription.get("Protocol") == "email":
                for text in map(str, topic.literals(at)):
                    if not _ADDRESS.fullmatch(text):
                        yield Problem(f"{text!r} is no address", topic, at)
