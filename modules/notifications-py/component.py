"""The component: the contract's functions over the service, and nothing else."""

from wit_world import exports
from wit_world.exports import notifications as api
from wit_world.imports.types import InvalidField

from notifications.models.notification import Field, Record
from notifications.services.notifications import Conflict, Notice, NotificationService
from shop_common.fields import Invalid
from watertight_guest import contract, log, sql

log.install()
service = NotificationService(sql.connect())
errors = contract.Errors({
    Invalid: lambda error: api.Error_Invalid(InvalidField(error.field, error.reason)),
    Conflict: lambda error: api.Error_Conflict(str(error)),
    sql.SqlError: contract.database(api.Error_Unavailable, api.Error_Storage),
})


class Notifications(exports.Notifications):
    @errors
    def notify(self, notice: api.Notice, deduplication_key: str) -> api.Notification:
        fields = [Field(field.name, field.value) for field in notice.fields]
        return notification(service.notify(Notice(notice.recipient, notice.template, fields), deduplication_key))

    @errors
    def list_notifications(self, recipient: str, limit: int | None, after: str | None) -> api.NotificationPage:
        items, cursor = service.list(recipient, limit, after)
        return api.NotificationPage([notification(item) for item in items], cursor)


def notification(record: Record) -> api.Notification:
    """A record as callers see it."""
    return api.Notification(record.id, record.recipient, record.template, record.text, record.created_at)
