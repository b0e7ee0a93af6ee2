-- Legal holds: what nothing may destroy. An event is kept that meets all that is given.
create table holds (
    id         text    not null primary key,
    -- Id of a person, a service account or another actor.
    identity   text,
    session    text,
    -- Name of a resource, which may be gone by now.
    resource   text,
    -- Microseconds since 1970.
    from_us    integer,
    to_us      integer,
    reason     text    not null,
    created_us integer not null,
    created_by text
);
