-- When an order was called off: what a request may still be at work on is left alone until that can't be.
alter table orders add column cancelled_at text;
