-- SSH: how the gateway signs in on targets, how it knows them, and the keys of people and services.

-- Where the private key is kept (env:… or file:…); never the key.
alter table accounts add column private_key text;
-- Whether a certificate is minted for each session.
alter table accounts add column certificate integer not null default 0
    check (certificate in (0, 1));

create table host_keys (
    resource text    not null references resources (id) on delete cascade,
    -- The order of the declaration.
    place    integer not null,
    -- TYPE BASE64, or @cert-authority TYPE BASE64.
    host_key text    not null,
    primary key (resource, place)
);

create table ssh_keys (
    -- SHA-256 of the key's blob, lower-case hex.
    digest      text    not null primary key,
    identity    text    not null references names (identity),
    -- TYPE BASE64.
    public_key  text    not null,
    comment     text    not null,
    created_us  integer not null
);
create index ssh_keys_of_identity on ssh_keys (identity);
