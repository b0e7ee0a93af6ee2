-- The target of the demonstration: a database that knows nothing of Loggia.
-- Run by PostgreSQL's superuser, directly, before Loggia is there.
\getenv app_password SHOP_APP_PASSWORD
\getenv readonly_password SHOP_READONLY_PASSWORD

CREATE ROLE app LOGIN PASSWORD :'app_password';
CREATE ROLE readonly LOGIN PASSWORD :'readonly_password';
CREATE DATABASE shop OWNER app;
\connect shop

CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL, city text NOT NULL);
CREATE TABLE purchase (
  id serial PRIMARY KEY,
  customer int NOT NULL REFERENCES customer,
  article text NOT NULL,
  cents int NOT NULL CHECK (cents > 0)
);
INSERT INTO customer VALUES (1, 'Ada', 'London'), (2, 'Grace', 'New York'), (3, 'Konrad', 'Berlin');
INSERT INTO purchase (customer, article, cents)
VALUES (1, 'punched cards', 1200), (2, 'nanosecond of wire', 99), (3, 'relay', 450);
ALTER TABLE customer OWNER TO app;
ALTER TABLE purchase OWNER TO app;
GRANT pg_read_all_data TO readonly;
