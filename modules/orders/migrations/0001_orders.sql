-- Orders. What is left to do for one is a function of its columns, so that any start can pick it up:
--   status = 'pending'                    charge it
--   status = 'paid', notice = 'pending'   tell the customer
--   refund_due = 1                        give back what was taken, if anything was
create table orders (
    id              text    not null primary key, -- a ULID
    customer        text    not null,
    status          text    not null check (status in ('pending', 'paid', 'declined', 'cancelled')),
    method          text    not null check (method in ('card', 'wallet', 'invoice')),
    token           text    check ((token is null) = (method = 'invoice')),
    currency        text    not null,
    total           integer not null check (total >= 0), -- in the currency's smallest unit
    payment_id      text,
    decline_reason  text    check ((decline_reason is null) = (status <> 'declined')),
    notice          text    not null default 'pending' check (notice in ('pending', 'sent')),
    refund_due      integer not null default 0 check (refund_due in (0, 1) and (refund_due = 0 or status = 'cancelled')),
    attempts        integer not null default 0, -- how often a start has tried to finish it
    created_at      text    not null,
    idempotency_key text    unique
) strict, without rowid;

create table order_lines (
    order_id   text    not null references orders (id),
    position   integer not null,
    sku        text    not null,
    quantity   integer not null check (quantity > 0),
    unit_price integer not null check (unit_price >= 0), -- in the order's currency
    primary key (order_id, position)
) strict, without rowid;

create index orders_by_customer on orders (customer, id);

-- Small: an order leaves it once it is finished.
create index orders_unfinished on orders (attempts, id)
    where status = 'pending' or refund_due = 1 or (status = 'paid' and notice = 'pending');
