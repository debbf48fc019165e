-- What customers and staff write beside an order. An order without a row has no notes.
create table order_notes (
    order_id   text not null primary key references orders (id),
    gift       text,
    delivery   text,
    changed_at text not null
) strict, without rowid;
