"""The component: the contract's functions over the service, and nothing else."""

from wit_world import exports
from wit_world.exports import payments as api
from wit_world.exports import webhooks as events
from wit_world.imports import store
from wit_world.imports.types import InvalidField
from wit_world.imports.types import Money as ContractMoney

from payments.models.payment import Charge, Method, Row
from payments.services.payments import Conflict, NotFound, PaymentService
from payments.services.provider import Declined, Silent
from payments.services.webhooks import KEY, BadSignature, Malformed, NoKey, TooEarly, WebhookService
from shop_common.fields import Invalid
from shop_common.money import Money
from watertight_guest import contract, log, sql

log.install()
service = PaymentService(sql.connect())
errors = contract.Errors({
    NotFound: lambda error: api.Error_NotFound(str(error)),
    Invalid: lambda error: api.Error_Invalid(InvalidField(error.field, error.reason)),
    Declined: lambda error: api.Error_Declined(str(error)),
    Conflict: lambda error: api.Error_Conflict(str(error)),
    Silent: lambda error: api.Error_Unavailable(str(error)),
    sql.SqlError: contract.database(api.Error_Unavailable, api.Error_Storage),
})
webhooks = WebhookService(sql.connect())
webhook_errors = contract.Errors({
    BadSignature: lambda error: events.Error_BadSignature(str(error)),
    Malformed: lambda error: events.Error_Malformed(str(error)),
    TooEarly: lambda error: events.Error_TooEarly(str(error)),
    NoKey: lambda error: events.Error_Unavailable(str(error)),
    sql.SqlError: contract.database(events.Error_Unavailable, events.Error_Storage),
})


class Webhooks(exports.Webhooks):
    @webhook_errors
    def receive(self, body: bytes, signature: str) -> events.Outcome:
        return events.Outcome[webhooks.receive(store.get(KEY), body, signature).name]


class Payments(exports.Payments):
    @errors
    def authorize(self, charge: api.Charge, idempotency_key: str) -> api.Payment:
        amount = Money(charge.amount.currency, charge.amount.minor)
        match charge.method:
            case api.Method_Card(token):
                method = Method.CARD
            case api.Method_Wallet(token):
                method = Method.WALLET
            case api.Method_Invoice():
                method, token = Method.INVOICE, None
        return payment(service.authorize(Charge(amount, method, token, charge.reference), idempotency_key))

    @errors
    def capture(self, id: str, idempotency_key: str) -> api.Payment:
        return payment(service.capture(id, idempotency_key))

    @errors
    def refund(self, id: str, idempotency_key: str) -> api.Payment:
        return payment(service.refund(id, idempotency_key))

    @errors
    def get_payment(self, id: str) -> api.Payment:
        return payment(service.get(id))


def payment(row: Row) -> api.Payment:
    """A payment as callers see it."""
    match row.method:
        case Method.CARD:
            method = api.Method_Card(row.token)
        case Method.WALLET:
            method = api.Method_Wallet(row.token)
        case Method.INVOICE:
            method = api.Method_Invoice()
    amount = ContractMoney(row.currency, row.amount)
    return api.Payment(row.id, row.reference, amount, method, api.Status[row.status.name], row.created_at)
