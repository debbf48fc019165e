-- Every charge that was tried. A declined one stays too, so that its key answers the same for ever.
-- A key of `authorize` names one charge: the unique column decides between requests that race. The other steps' keys are compared
-- within their payment only, so that nobody can use up the key of another payment's step.
create table payments (
    id            text    not null primary key, -- a ULID
    reference     text    not null,
    currency      text    not null,
    amount        integer not null check (amount >= 0), -- in the currency's smallest unit
    method        text    not null check (method in ('card', 'wallet', 'invoice')),
    token         text    check ((token is null) = (method = 'invoice')),
    status        text    not null check (status in ('declined', 'authorized', 'captured', 'refunded')),
    reason        text    check ((reason is null) = (status <> 'declined')),
    created_at    text    not null,
    authorize_key text    not null unique,
    capture_key   text,
    refund_key    text
) strict, without rowid;
