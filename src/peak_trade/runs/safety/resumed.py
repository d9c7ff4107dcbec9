"""Which accounts were resumed a short time ago, so that they are watched more closely than others."""

from datetime import datetime, timedelta

from peak_trade.compose import Parts
from peak_trade.runs.acts import done

#: The act of lifting an account's holds.
RESUME = "resume"
#: How long a session that was begun again is to be watched closely.
WATCHED = timedelta(hours=4)


def watched_until(parts: Parts, now: datetime) -> dict[str, datetime]:
    """Return each account that is to be watched closely, with until when.

    Raises:
        CheckFailed: the journal of acts does not verify.
    """
    found = {str(act.begun.body["account"]): act.at + WATCHED for act in done(parts) if act.action == RESUME and act.went_well}
    return {account: until for account, until in found.items() if until > now}
