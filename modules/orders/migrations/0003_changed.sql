-- The number of the order's latest change. Numbers ascend over all orders, so whoever reads orders in this order misses none.
-- 0: nothing changed since this column exists.
alter table orders add column changed integer not null default 0;

create index orders_by_change on orders (changed);
