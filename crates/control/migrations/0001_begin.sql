-- The control database: who may come in, what can be reached, what is locked.
-- Times are microseconds since 1970 (UTC). Ids are TypeIDs in text form. Truth values are 0 and 1.

-- No name is given to two identities, of whatever kind: policies speak of people by name.
create table names (
    name     text not null primary key,
    identity text not null unique
);

create table people (
    id         text    not null primary key references names (identity),
    admin      integer not null check (admin in (0, 1)),
    disabled   integer not null default 0 check (disabled in (0, 1)),
    created_us integer not null
);

create table services (
    id         text    not null primary key references names (identity),
    -- SubjectPublicKeyInfo in PEM (RFC 7468).
    public_key text    not null,
    disabled   integer not null default 0 check (disabled in (0, 1)),
    created_us integer not null
);

create table groups (
    name text not null primary key
);

create table memberships (
    group_name text not null references groups (name) on delete cascade,
    identity   text not null references names (identity),
    primary key (group_name, identity)
);

-- What a person's login is checked against. Absent before enrolment.
create table verifiers (
    person        text    not null primary key references people (id),
    -- argon2id in PHC string format.
    password_hash text,
    -- Seed of RFC 6238 in base 32.
    totp_seed     text,
    -- The last time step whose code was used; that and earlier ones are spent.
    totp_step     integer
);

-- One-time codes of new people, as SHA-256 in lower-case hex.
create table enrolments (
    code_digest text    not null primary key,
    person      text    not null references people (id),
    expires_us  integer not null,
    used        integer not null default 0 check (used in (0, 1))
);
create index enrolments_of_person on enrolments (person);

create table credentials (
    id         text    not null primary key,
    -- SHA-256, lower-case hex, of an opaque token or of a certificate's public key info.
    digest     text    not null unique,
    actor      text    not null references names (identity),
    authn      text    not null,
    expires_us integer not null,
    revoked    integer not null default 0 check (revoked in (0, 1)),
    -- Index of the log entry that minted it.
    log_index  integer not null
);
create index credentials_of_actor on credentials (actor);
create index credentials_by_expiry on credentials (expires_us);

create table resources (
    id       text    not null primary key,
    name     text    not null unique,
    protocol text    not null,
    host     text    not null,
    port     integer not null,
    tls      text    not null,
    ca_file  text,
    "database" text,
    depth    text    not null
);

create table accounts (
    resource text    not null references resources (id) on delete cascade,
    -- The order of the declaration; the first is the default.
    place    integer not null,
    name     text    not null,
    -- Where the password is kept (env:… or file:…); never the password.
    password text,
    primary key (resource, name)
);

create table labels (
    resource text not null references resources (id) on delete cascade,
    name     text not null,
    value    text not null,
    primary key (resource, name)
);

create table policies (
    -- The name of the file it was declared in.
    name text not null primary key,
    text text not null
);

create table locks (
    id          text    not null primary key,
    -- person, service, group, resource or all; the target is an id, a name, or empty.
    target_type text    not null,
    target      text    not null,
    reason      text    not null,
    created_us  integer not null,
    expires_us  integer,
    created_by  text
);

-- The id of each config.change event whose change is in this database: written in the same
-- transaction as the change itself, so that a boot can tell which recorded changes never came.
create table changes (
    event      text    not null primary key,
    applied_us integer not null
);
