-- The provider's events that had an effect, or could have had one. The provider sends an event again until it is answered, so the primary
-- key decides whether it is new.
create table provider_events (
    id          text not null primary key, -- the provider's own
    type        text not null,
    payment     text not null,
    received_at text not null
) strict, without rowid;
