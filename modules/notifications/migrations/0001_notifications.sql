-- Every notice that was rendered. Its deduplication key names it for good.
create table notifications (
    id                text not null primary key, -- a ULID
    recipient         text not null,
    template          text not null,
    fields            text not null, -- what the places were filled with: `name=value` lines, sorted
    text              text not null, -- as rendered then; templates may change later
    created_at        text not null,
    deduplication_key text not null unique
) strict, without rowid;

create index notifications_by_recipient on notifications (recipient, id);
