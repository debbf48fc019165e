-- The bytes stand in a table of their own, so that no query of the rest reads them.
create table pictures (
    sku        text    not null primary key,
    media_type text    not null check (media_type in ('image/gif', 'image/jpeg', 'image/png', 'image/webp')),
    size       integer not null,
    width      integer not null,
    height     integer not null,
    digest     text    not null, -- SHA-256 of the bytes
    changed_at text    not null
) strict, without rowid;

create table picture_bytes (
    sku   text not null primary key references pictures (sku),
    bytes blob not null
) strict;
